"""A small store whose every number is known: two dictionaries of one model, 24 features each, labels by two explainers.

Decoder vector of feature i points along axis i % 8, tilted a little by i, so nearest neighbours can be told by hand.
"""

from __future__ import annotations

import atexit
import datetime
import functools
import shutil
import tempfile
from pathlib import Path

import numpy
import pyarrow

import featurestore

D_SAE, D_OUT = 24, 8
MODEL = "tiny"
SOURCES = ("0-res", "1-res")
CORPUS, TOKENIZER = "corpus-of-tests", "tokenizer-of-tests"
PIECES = ["def", " self", "(", ")", ":", "\n", " raise", " ValueError", " return", " x", " caf", "\u00c3", "\u00a9"]
BYTES = [piece.encode() for piece in PIECES[:11]] + [b"\xc3", b"\xa9"]
DOCUMENTS = [[0, 9, 2, 1, 3, 4, 5, 8, 9], [6, 7, 2, 3, 5], [10, 11, 12, 0]]
WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
TEXTS = [
    "exception handling: raise and except",
    "closing brackets at the end of a call",
    "the word self in a method signature",
    "import statements",
    "numbers after a colon",
    "docstring prose",
    "names of exceptions such as ValueError",
    "string formatting",
]


def vectors(layer: int) -> numpy.ndarray:
    """Decoder vectors of a dictionary, (24, 8) float32."""
    out = numpy.zeros((D_SAE, D_OUT), dtype=numpy.float32)
    for i in range(D_SAE):
        out[i, i % D_OUT] = 1 + i / 8
        out[i, (i + 1) % D_OUT] = 0.1 * (i // D_OUT) + 0.05 * layer
    return out


def dictionary_row(source: str, layer: int) -> dict:
    return {
        "dictionary": f"{MODEL}/{source}",
        "model": MODEL,
        "source": source,
        "kind": "sae",
        "architecture": "jumprelu",
        "hook_point": f"blocks.{layer}.hook_resid_post",
        "layer": layer,
        "site": "resid_post",
        "d_in": D_OUT,
        "d_out": D_OUT,
        "d_sae": D_SAE,
        "space": MODEL,
        "tokenizer": TOKENIZER,
        "corpus": CORPUS,
        "context_size": 16,
        "tokens_counted": 18,
        "tokens_excluded": 3,
        "tool": "tests",
        "created_at": WHEN,
    }


def feature_rows(dictionary: str) -> list[dict]:
    """Feature 22 is dead, feature 23 fires on half the tokens; the others on i + 1 of 1,000."""
    rows = []
    for i in range(D_SAE):
        dead = i == 22
        active = 0 if dead else 500 if i == 23 else i + 1
        histogram = [0] * featurestore.HISTOGRAM_BINS
        if not dead:
            histogram[32] = active
        rows.append(
            {
                "dictionary": dictionary,
                "feature": i,
                "density": active / 1000,
                "active_tokens": active,
                "active_contexts": min(active, 3),
                "mean_activation": None if dead else 1.0,
                "std_activation": None if dead else 0.0,
                "max_activation": None if dead else 1.0 + i,
                "histogram": histogram,
                "decoder_norm": 1.0,
                "encoder_norm": 2.0,
                "encoder_decoder_cosine": 0.5,
                "top_logits": [{"token": " ValueError", "value": 2.5}, {"token": ")", "value": 1.5}],
                "bottom_logits": [{"token": "\n", "value": -2.0}],
            }
        )
    return rows


def example_rows(dictionary: str) -> list[dict]:
    rows = []
    for i in range(D_SAE):
        if i == 22:
            continue
        for rank, document in enumerate((0, 2)):
            common = {"dictionary": dictionary, "feature": i, "corpus": CORPUS, "document": document, "start": 0}
            window = {"length": len(DOCUMENTS[document]), "position": 1, "offsets": [1, 3]}
            values = {"activation": 2.0 - rank, "activations": [2.0 - rank, 0.5]}
            rows.append(common | window | values | {"band": "top", "rank": rank})
            sampled = {"band": "[1, 2)", "band_low": 1.0, "band_high": 2.0, "rank": rank, "weight": 1.5}
            rows.append(common | window | values | sampled)
    return rows


def label_rows(dictionary: str) -> list[dict]:
    rows = []
    for i in range(D_SAE - 2):
        base = {"dictionary": dictionary, "feature": i, "tool": "tests", "created_at": WHEN}
        rows.append(base | {"label": f"{TEXTS[i % 8]} {i}", "explainer": "tokens", "prompt": "tokens/1"})
        if i % 4 == 0:
            rows.append(base | {"label": f"{TEXTS[i % 8]}, said a model", "explainer": "gpt-x", "prompt": "pairs/1"})
    return rows


def write_tiny_store(path: Path | str, index: bool = True) -> featurestore.FeatureStore:
    """Write the store to `path`, which must not be there; the opened store.

    In a directory it is a copy of one that each process writes once, since that takes a fifth of the time.
    """
    if "://" in str(path):
        return build_tiny_store(path, index)
    shutil.copytree(_template(index), path, dirs_exist_ok=True)
    return featurestore.connect(path)


@functools.cache
def _template(index: bool) -> Path:
    folder = tempfile.TemporaryDirectory(prefix="tiny-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "tiny.features"
    build_tiny_store(path, index).close()
    return path


def build_tiny_store(path: Path | str, index: bool = True) -> featurestore.FeatureStore:
    """Write the store itself, with the rows that this module then has; the opened store."""
    store = featurestore.create(path)
    with store.writer("tests") as writer:
        add_corpus(writer)
        for layer, source in enumerate(SOURCES):
            add_dictionary(writer, source, layer)
    if index:
        store.index()
    return store


def replace_and_remove(store) -> None:
    """Replace the first dictionary by that of another layer, remove the second; their old files are still there."""
    with store.writer("tests") as writer:
        writer.remove_dictionary(f"{MODEL}/{SOURCES[0]}")
        add_dictionary(writer, SOURCES[0], 2)
    store.remove(f"{MODEL}/{SOURCES[1]}")


def add_tokenizer(writer) -> None:
    """Add the tokenizer of the corpus."""
    writer.add("tokenizers", table([{"tokenizer": TOKENIZER, "pieces": PIECES, "bytes": BYTES}]), key=TOKENIZER)


def add_corpus(writer) -> None:
    """Add the corpus of the examples, and its tokenizer."""
    add_tokenizer(writer)
    documents = [
        {"document": i, "name": f"document {i}", "tokenizer": TOKENIZER, "length": len(tokens)}
        for i, tokens in enumerate(DOCUMENTS)
    ]
    writer.add_corpus(CORPUS, table(documents), numpy.concatenate(DOCUMENTS))


def add_dictionary(writer, source: str, layer: int) -> None:
    """Add one dictionary with everything that belongs to it, and the corpus where neither writer nor store has it."""
    if writer._contents._look_up(writer._contents._lengths, "documents", CORPUS) is None:
        add_corpus(writer)
    name = f"{MODEL}/{source}"
    writer.add("dictionaries", table([dictionary_row(source, layer)]), key=name)
    writer.add("features", table(feature_rows(name)), key=name)
    writer.add("examples", table(example_rows(name)), key=name)
    writer.add("labels", table(label_rows(name)), key=name)
    writer.add_vectors(name, vectors(layer))


def table(rows: list[dict]) -> pyarrow.Table:
    return pyarrow.Table.from_pylist(rows)
