"""A store of features that fire on words of ordinary sentences, and of which hardly any has a label."""

import numpy

import featurestore
from tests.support import tiny

CORPUS, TOKENIZER = "sentences", "words-of-sentences"
# What each feature fires on, word by word after the star; the third has a logit alone, and the last nothing at all.
SENTENCES = [
    ["the *football player kicked the ball into the goal", "their *football team lost the match on Sunday"],
    ["she put a *banana and an apple into the fruit salad", "ripe *banana bread with walnuts"],
    [],
    ["the *judge sent him to prison for theft", "a *judge and a jury decide in court"],
    [],
]
RAISED = {2: [" violin", " orchestra"], 0: [" stadium"]}
D_SAE = len(SENTENCES)


def write(path, names=("evidence/0-res",), labels=None):
    """Write a store of dictionaries with these features; `labels` are of the first one's features, by feature."""
    store = featurestore.create(path)
    with store.writer("tests") as writer:
        words = sorted({" " + word.strip("*") for texts in SENTENCES for text in texts for word in text.split()})
        pieces = {"tokenizer": TOKENIZER, "pieces": words, "bytes": [word.encode() for word in words]}
        writer.add("tokenizers", tiny.table([pieces]), key=TOKENIZER)
        documents = [
            [words.index(" " + word.strip("*")) for word in text.split()] for texts in SENTENCES for text in texts
        ]
        rows = [
            {"document": number, "name": f"sentence {number}", "tokenizer": TOKENIZER, "length": len(tokens)}
            for number, tokens in enumerate(documents)
        ]
        writer.add_corpus(CORPUS, tiny.table(rows), numpy.concatenate(documents))
        for name in names:
            add_dictionary(writer, name)
        for feature, label in (labels or {}).items():
            row = {"dictionary": names[0], "feature": feature, "tool": "tests", "created_at": tiny.WHEN}
            writer.add("labels", tiny.table([row | {"label": label, "explainer": "human"}]), key=names[0])
    return store


def add_dictionary(writer, name, peak=5.0, moved=0, evidence=True):
    """Add a dictionary whose features fire `peak` at most.

    Each fires on what the feature `moved` places before it fires on in other dictionaries; none on anything without
    `evidence`.
    """
    model, _, source = name.partition("/")
    row = tiny.dictionary_row(source, 0) | {"dictionary": name, "model": model, "d_sae": D_SAE}
    row |= {"tokenizer": TOKENIZER, "corpus": CORPUS}
    writer.add("dictionaries", tiny.table([row]), key=name)
    row = {"dictionary": name, "density": 0.01, "max_activation": peak, "top_logits": None}
    features = [row | {"feature": number} for number in range(D_SAE)]
    for feature, tokens in RAISED.items() if evidence else ():
        raised = [{"token": token, "value": 2.0} for token in tokens]
        features[(feature + moved) % D_SAE]["top_logits"] = raised
    writer.add("features", tiny.table(features), key=name)
    if evidence:
        rows = [row | {"feature": (row["feature"] + moved) % D_SAE} for row in list_examples(name, peak)]
        writer.add("examples", tiny.table(sorted(rows, key=lambda row: row["feature"])), key=name)
    writer.add_vectors(name, numpy.eye(D_SAE, tiny.D_OUT, dtype=numpy.float32))


def list_examples(name, peak):
    """Yield the rows of a dictionary's examples."""
    document = 0
    for feature, texts in enumerate(SENTENCES):
        for rank, text in enumerate(texts):
            words = text.split()
            position = next(at for at, word in enumerate(words) if word.startswith("*"))
            window = {"corpus": CORPUS, "document": document, "start": 0, "length": len(words), "position": position}
            values = {"activation": peak - rank, "activations": [peak - rank], "offsets": [position]}
            yield {"dictionary": name, "feature": feature, "band": "top", "rank": rank, **window, **values}
            document += 1
