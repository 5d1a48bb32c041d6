"""Tokens, contexts and text files."""

import hashlib

import numpy
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from featurestore import BadRequest, NotFound
from ingest.corpus import read_texts, token_bytes, tokenise
from tests import small


def test_token_bytes_of_a_byte_level_vocabulary():
    tokenizer = small.tokenizer()
    text = "naïve – 日本\n\t'x'"
    ids = tokenizer.encode(text)
    assert b"".join(token_bytes(tokenizer)[id] for id in ids) == text.encode()


def test_token_bytes_of_a_sentencepiece_vocabulary():
    vocabulary = {"<unk>": 0, "▁the": 1, "<0xE6>": 2, "s": 3}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")
    assert token_bytes(tokenizer) == [b"<unk>", b" the", b"\xe6", b"s"]


def test_token_bytes_of_added_tokens_and_gaps():
    tokenizer = small.tokenizer()
    tokenizer.add_tokens(["\u00e9t\u00e9", "  "])
    assert token_bytes(tokenizer)[257:] == ["\u00e9t\u00e9".encode(), b"  "]  # as they are, not in the byte alphabet
    gapped = Tokenizer(models.WordLevel({"a": 0, "b": 5}, unk_token="a"))
    assert token_bytes(PreTrainedTokenizerFast(tokenizer_object=gapped)) == [b"a", b"", b"", b"", b"", b"b"]


def test_empty_documents_are_counted():
    corpus = tokenise(small.tokenizer(), [("a", "x"), ("b", ""), ("c", "y")])
    assert (corpus.names, corpus.empty) == (["a", "c"], 1)


def test_contexts_cover_every_token_once():
    corpus = tokenise(small.tokenizer(), small.TEXTS)
    seen = [set() for _ in small.TEXTS]
    for context in corpus.contexts(11):
        run = set(range(context.start, context.start + context.length))
        assert not run & seen[context.document]
        seen[context.document] |= run
    assert [len(one) for one in seen] == [len(text.encode()) for _, text in small.TEXTS]


def test_max_tokens_cuts_the_last_document():
    corpus = tokenise(small.tokenizer(), small.TEXTS, max_tokens=50)
    assert corpus.size == 50
    assert [len(ids) for ids in corpus.tokens] == [len(small.TEXTS[0][1]), 50 - len(small.TEXTS[0][1])]


def test_ids_are_hashes_of_what_they_name():
    one, other = (tokenise(small.tokenizer(), texts) for texts in (small.TEXTS, small.TEXTS[:2]))
    assert one.id == tokenise(small.tokenizer(), small.TEXTS).id != other.id
    digest = hashlib.sha256(b"".join(len(b).to_bytes(4, "little") + b for b in token_bytes(small.tokenizer())))
    assert one.tokenizer_id == other.tokenizer_id == digest.hexdigest()[:16]


def test_document_table_gives_the_texts_back():
    corpus = tokenise(small.tokenizer(), small.TEXTS)
    pieces = corpus.tokenizer_table()["bytes"].to_pylist()[0]
    rows = corpus.document_table().to_pylist()
    for row, tokens, (name, text) in zip(rows, corpus.tokens, small.TEXTS, strict=True):
        assert (row["name"], row["length"]) == (name, len(tokens))
        assert b"".join(pieces[id] for id in tokens).decode() == text
    assert numpy.issubdtype(corpus.tokens[0].dtype, numpy.int32)


def test_directories_are_read_in_order(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.txt", "a.txt", "sub/c.txt"):
        (tmp_path / name).write_text(name)
    assert [name for name, _ in read_texts([tmp_path])] == ["a.txt", "b.txt", "sub/c.txt"]


def test_patterns_stand_for_the_files_they_match(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.txt", "a.md", "sub/c.txt"):
        (tmp_path / name).write_text(name)
    assert [name for name, _ in read_texts([f"{tmp_path}/**/*.txt"])] == ["b.txt", "c.txt"]
    with pytest.raises(NotFound, match=r"no text at .*\*\.rst"):
        read_texts([f"{tmp_path}/*.rst"])


@pytest.mark.parametrize(
    ("content", "words"), [(b"abc\xff", "byte 3 is 0xff"), (b"ab\0c", "byte 2 is zero"), (b"  \n", "corpus is empty")]
)
def test_files_that_are_no_text(tmp_path, content, words):
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(BadRequest, match=words):
        read_texts([tmp_path / "x.txt"])


def test_missing_file(tmp_path):
    with pytest.raises(NotFound, match=r"no text at .*none\.txt"):
        read_texts([tmp_path / "none.txt"])
