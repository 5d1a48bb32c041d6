"""Documents of every kind to tokens, contexts, and what is counted and refused on the way."""

import hashlib
import json
import tracemalloc

import numpy
import pytest

from featurestore import BadRequest, Unavailable
from ingest.corpus import token_file
from ingest.corpus.corpus import join_documents, tokenise
from ingest.corpus.faults import Faults
from ingest.corpus.readers import Tokens
from ingest.model.vocabulary import special_ids, token_bytes
from tests.support import small_models

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'robot' %}{{ raise_exception('no robots') }}{% endif %}"
    "<turn>{{ m.role }}: {{ m.content }}\n{% endfor %}"
)


def chatting():
    """The small tokenizer with a chat template, whose turns begin with a special token."""
    made = small_models.tokenizer()
    made.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    made.chat_template = TEMPLATE
    return made


def ids(text):
    return small_models.tokenizer()(text)["input_ids"]


def listed(corpus):
    return [(name, corpus.document(n).tolist()) for n, name in enumerate(corpus.names)]


def test_empty_documents_are_counted():
    corpus = tokenise(small_models.tokenizer(), [("a", "x"), ("b", ""), ("c", "y"), ("d", " \n")])
    assert (corpus.names, corpus.empty, corpus.duplicates) == (["a", "c"], 2, 0)


def test_duplicates_are_counted_and_left_out_when_asked():
    texts = [("a", "x"), ("b", "y"), ("c", "x"), ("d", "x")]
    kept = tokenise(small_models.tokenizer(), texts)
    assert (kept.names, kept.duplicates) == (["a", "b", "c", "d"], 2)
    dropped = tokenise(small_models.tokenizer(), texts, drop_duplicates=True)
    assert (dropped.names, dropped.duplicates) == (["a", "b"], 2)


def test_documents_keep_their_order_whatever_they_are(monkeypatch):
    """However many are tokenised at a time, texts, chats and tokens come out as each alone would."""
    tokens = Tokens(numpy.array(ids("zz")), "model")
    chat = [{"role": "user", "content": "hi"}]
    given = [("a", "x"), ("b", tokens), ("c", chat), ("d", "yy"), ("e", "w"), ("f", tokens)]
    tokenizer = chatting()
    alone = [listed(tokenise(tokenizer, [one]))[0] for one in given]
    for together, characters in ((64, 100), (2, 100), (64, 1)):
        monkeypatch.setattr("ingest.corpus.tokenize.DOCUMENTS", together)
        monkeypatch.setattr("ingest.corpus.tokenize.CHARACTERS", characters)
        assert listed(tokenise(tokenizer, given)) == alone


def test_chats_are_rendered_and_their_bos_is_not_said_twice():
    tokenizer = chatting()
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    corpus = tokenise(tokenizer, [("a", turns)])
    (turn,) = tokenizer.convert_tokens_to_ids(["<turn>"])
    assert corpus.document(0).tolist() == [turn, *ids("user: hi\n"), turn, *ids("assistant: ho\n")]
    # What a harvest may leave out: the turns' marks are special, their words are not.
    assert special_ids(tokenizer).tolist() == [0, turn]
    assert numpy.isin(corpus.data, special_ids(tokenizer)).sum() == 2


def test_chats_without_a_template_or_against_it():
    with pytest.raises(BadRequest, match="x.jsonl:1 is a chat, but the model's tokenizer has no chat template"):
        tokenise(small_models.tokenizer(), [("x.jsonl:1", [{"role": "user", "content": "hi"}])])
    with pytest.raises(BadRequest, match="x.jsonl:1: the tokenizer's chat template refuses it: no robots"):
        tokenise(chatting(), [("x.jsonl:1", [{"role": "robot", "content": "hi"}])])


def test_a_text_that_begins_with_bos_gets_no_second_one():
    assert tokenise(small_models.tokenizer(), [("a", "<bos>x")]).document(0).tolist() == ids("x")
    assert tokenise(small_models.tokenizer(), [("a", "<bos><bos>x<bos>y")]).document(0).tolist() == [
        *ids("x"),
        0,
        *ids("y"),
    ]


def test_no_context_begins_with_a_second_bos():
    packed = Tokens(numpy.array([5, 6, 7, 0, 8, 9, 0, 0, 4]), "model")
    corpus = tokenise(small_models.tokenizer(), [("row", packed), ("ends", Tokens(numpy.array([3, 4, 5, 0]), "model"))])
    runs = sorted(corpus.run(context).tolist() for context in corpus.contexts(3, bos=0))
    assert runs == [[3, 4, 5], [4], [5, 6, 7], [8, 9]]


def test_pad_tokens_that_nobody_hid_are_pointed_out():
    tokenizer = small_models.tokenizer()
    tokenizer.pad_token = "a"
    pad = tokenizer.pad_token_id
    rows = [Tokens(numpy.array(row), "model") for row in ([5, 6, pad, pad], [pad, pad, 5, 6], [5, 6, 7, pad])]
    notes = tokenise(tokenizer, [(str(n), row) for n, row in enumerate(rows)]).notes
    assert len(notes) == 1 and notes[0].startswith("2 documents of token ids begin or end in runs of the pad token")


CLOCK = "{% for m in messages %}{{ strftime_now('%Y') }}/{{ day or '-' }}/{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("variables", "text"), [({}, "2025/-/x"), ({"now": "2031-02-03"}, "2031/-/x"), ({"day": "Monday"}, "2025/Monday/x")]
)
def test_templates_have_a_clock_that_stands_still(variables, text):
    tokenizer = small_models.tokenizer()
    tokenizer.chat_template = CLOCK
    corpus = tokenise(tokenizer, [("chat", [{"role": "user", "content": "x"}])], variables=variables)
    assert tokenizer.decode(corpus.document(0)) == text
    assert "asks for the time" in corpus.notes[0]


def test_documents_that_cannot_be_read(tmp_path):
    documents = [("good", "abc"), ("half", "x\ud83dy")]
    with pytest.raises(BadRequest, match="half: character 1 is half of a pair"):
        tokenise(small_models.tokenizer(), documents)
    rejects = tmp_path / "rejects.jsonl"
    left_out = tokenise(small_models.tokenizer(), documents, faults=Faults("skip", rejects))
    assert left_out.names == ["good"] and "left out 1 document that cannot be read" in left_out.notes[0]
    assert json.loads(rejects.read_text())["where"] == "half"
    mended = tokenise(small_models.tokenizer(), documents, faults=Faults("replace"))
    assert small_models.tokenizer().decode(mended.document(1)) == "x\ufffdy"


@pytest.mark.parametrize("scanned", [1, 2, 3, 1000])
def test_streams_are_parted_at_separators(monkeypatch, scanned):
    monkeypatch.setattr("ingest.corpus.tokenize.SCANNED", scanned)
    stream = Tokens(numpy.array([0, 0, 5, 6, 0, 7, 0, 0, 8, 9, 0], dtype=numpy.uint16), "model", stream=True)
    corpus = tokenise(small_models.tokenizer(), [("s", stream)])
    assert listed(corpus) == [("s:1", [5, 6]), ("s:2", [7]), ("s:3", [8, 9])]
    assert corpus.empty == 0
    whole = Tokens(numpy.array([5, 6, 7]), "model", stream=True)
    assert listed(tokenise(small_models.tokenizer(), [("s", whole)])) == [("s", [5, 6, 7])]


def test_rows_of_tokens_lose_only_their_bos():
    row = Tokens(numpy.array([0, 5, 0, 6]), "model")
    assert listed(tokenise(small_models.tokenizer(), [("r", row)])) == [("r", [5, 0, 6])]


@pytest.mark.parametrize(("wrong", "dtype"), [(257, "uint16"), (-1, "int64")])
def test_tokens_beyond_the_vocabulary_are_refused_with_their_place(monkeypatch, wrong, dtype):
    monkeypatch.setattr("ingest.corpus.tokenize.SCANNED", 4)
    found = numpy.arange(1, 11).astype(dtype)
    found[6] = wrong
    with pytest.raises(
        BadRequest, match=rf"s: token 6 \(counted from 0\) is {wrong}, but the tokenizer has 257 tokens"
    ):
        tokenise(small_models.tokenizer(), [("s", Tokens(found, "model", stream=True))])


def test_tokens_are_refused_when_another_tokenizer_made_them(tmp_path):
    small_models.tokenizer().save_pretrained(tmp_path / "same")
    chatting().save_pretrained(tmp_path / "other")
    made = numpy.array([5, 6])
    assert tokenise(small_models.tokenizer(), [("s", Tokens(made, str(tmp_path / "same")))]).size == 2
    with pytest.raises(BadRequest, match=r"s: its tokens were made by .*other, whose vocabulary is not the model's"):
        tokenise(small_models.tokenizer(), [("s", Tokens(made, str(tmp_path / "other")))])
    with pytest.raises(BadRequest, match=r"s: the tokenizer .*none that made its tokens cannot be loaded: "):
        tokenise(small_models.tokenizer(), [("s", Tokens(made, str(tmp_path / "none")))])


@pytest.mark.parametrize("size", [1, 2, 5, 8, 100])
def test_packing_is_cutting_all_documents_joined(size):
    texts = [("a", "one"), ("b", ""), ("c", "three and more"), ("d", "x")]
    joined = [0 if letter == "|" else ids(letter)[0] for letter in "one|three and more|x"]
    corpus = tokenise(small_models.tokenizer(), texts, pack=size)
    runs = [joined[first : first + size] for first in range(0, len(joined), size)]
    assert [corpus.document(n).tolist() for n in range(len(corpus.names))] == runs
    assert corpus.empty == 1
    assert corpus.names[0] == "run 1 from a"


def test_packed_runs_are_named_by_the_document_they_begin_in():
    documents = [(name, numpy.full(4, n)) for n, name in enumerate("ab", 1)]
    assert [name for name, _ in join_documents(iter(documents), 3, 0)] == [
        "run 1 from a",
        "run 2 from a",
        "run 3 from b",
    ]


def test_packing_needs_a_separator():
    tokenizer = small_models.tokenizer()
    tokenizer.bos_token = tokenizer.eos_token = None
    with pytest.raises(BadRequest, match="the tokenizer has neither an end-of-text token nor BOS"):
        tokenise(tokenizer, small_models.TEXTS, pack=8)


def test_documents_are_taken_as_they_come_and_no_more_than_needed():
    asked = []

    def endless():
        while True:
            asked.append(1)
            yield str(len(asked)), "ab"

    assert tokenise(small_models.tokenizer(), endless(), max_tokens=130).size == 130
    assert len(asked) == 128  # two batches


def test_an_empty_corpus():
    with pytest.raises(BadRequest, match="the corpus is empty: no document has any text"):
        tokenise(small_models.tokenizer(), [("a", " "), ("b", "")])


def test_no_space_for_the_tokens(monkeypatch):
    class Full:
        def write(self, raw):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(token_file.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(Unavailable, match="no space left in .* set TMPDIR"):
        tokenise(small_models.tokenizer(), small_models.TEXTS)


def test_contexts_cover_every_token_once():
    corpus = tokenise(small_models.tokenizer(), small_models.TEXTS)
    seen = [set() for _ in small_models.TEXTS]
    for context in corpus.contexts(11):
        run = set(range(context.start, context.start + context.length))
        assert not run & seen[context.document]
        seen[context.document] |= run
    assert [len(one) for one in seen] == [len(text.encode()) for _, text in small_models.TEXTS]


def test_max_tokens_cuts_the_last_document():
    corpus = tokenise(small_models.tokenizer(), small_models.TEXTS, max_tokens=50)
    assert corpus.size == 50
    assert numpy.diff(corpus.offsets).tolist() == [len(small_models.TEXTS[0][1]), 50 - len(small_models.TEXTS[0][1])]


def test_ids_are_hashes_of_what_they_name():
    one, other = (tokenise(small_models.tokenizer(), texts) for texts in (small_models.TEXTS, small_models.TEXTS[:2]))
    assert one.id == tokenise(small_models.tokenizer(), small_models.TEXTS).id != other.id
    digest = hashlib.sha256(b"".join(len(b).to_bytes(4, "little") + b for b in token_bytes(small_models.tokenizer())))
    assert one.tokenizer_id == other.tokenizer_id == digest.hexdigest()[:16]


def test_document_table_gives_the_texts_back():
    corpus = tokenise(small_models.tokenizer(), small_models.TEXTS)
    pieces = corpus.tokenizer_table()["bytes"].to_pylist()[0]
    rows = corpus.document_table().to_pylist()
    for row, tokens, (name, text) in zip(rows, map(corpus.document, range(len(rows))), small_models.TEXTS, strict=True):
        assert (row["name"], row["length"]) == (name, len(tokens))
        assert b"".join(pieces[id] for id in tokens).decode() == text
    assert numpy.issubdtype(corpus.data.dtype, numpy.int32)


def test_memory_does_not_grow_with_tokens():
    """With a hundred times the tokens only what is kept of each document is more; see docs/corpora.md."""

    def made(documents, length):
        rng = numpy.random.default_rng(0)
        return ((f"document {n}", Tokens(rng.integers(1, 257, length), "model")) for n in range(documents))

    def peak(documents, length):
        tracemalloc.start()
        corpus = tokenise(small_models.tokenizer(), made(documents, length))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (corpus.size, corpus.duplicates) == (documents * length, 0)
        return found

    peak(1, 10)  # what is loaded once
    few = peak(2, 1000)
    assert peak(200, 1000) - few < 200 * 300
    assert peak(20, 100_000) - peak(2, 100_000) < 100_000  # bytes: less than a quarter of one document
    assert peak(3000, 10) - few < 3000 * 300
