"""Bytes of tokens in vocabularies of every alphabet, and special tokens."""

from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from ingest.model.vocabulary import special_ids, token_bytes, tokenizer_id
from tests.support import small_models


def test_token_bytes_of_a_byte_level_vocabulary():
    tokenizer = small_models.tokenizer()
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
    tokenizer = small_models.tokenizer()
    tokenizer.add_tokens(["\u00e9t\u00e9", "  "])
    assert token_bytes(tokenizer)[257:] == ["\u00e9t\u00e9".encode(), b"  "]  # as they are, not in the byte alphabet
    gapped = Tokenizer(models.WordLevel({"a": 0, "b": 5}, unk_token="a"))
    assert token_bytes(PreTrainedTokenizerFast(tokenizer_object=gapped)) == [b"a", b"", b"", b"", b"", b"b"]


def test_special_ids_are_ascending_and_without_text():
    tokenizer = small_models.tokenizer()
    before = special_ids(tokenizer).tolist()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.add_tokens(["plain"])
    assert special_ids(tokenizer).tolist() == sorted([*before, tokenizer.convert_tokens_to_ids("<turn>")])


def test_a_tokenizer_id_depends_on_where_pieces_end():
    assert tokenizer_id([b"ab", b"c"]) == tokenizer_id([b"ab", b"c"]) != tokenizer_id([b"a", b"bc"])
