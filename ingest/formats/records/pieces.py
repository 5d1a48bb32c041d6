"""Texts of tokens as tools write them, as the bytes they stand for."""

from __future__ import annotations

import functools

import pyarrow
import pyarrow.compute

MOST_PIECE = 4096  # bytes of one token


@functools.cache
def byte_alphabet() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for, as GPT-2's vocabulary writes them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + number): byte for number, byte in enumerate(others)}


def find_style(pieces: list[str]) -> str:
    """Return how tokens are written: bytes (Ġ for a space), cleaned (bytes, of which white space alone was put back, as
    SAEDashboard does), sentencepiece (▁ for a space) or plain."""
    joined = "\n".join(("", *pieces, ""))
    if "\n " in joined and any(piece.startswith(" ") for piece in pieces):
        return "cleaned" if "âĢ" in joined else "plain"  # the first two bytes of ’, “ and –
    if "Ġ" in joined:
        return "bytes"
    return "sentencepiece" if "▁" in joined else "plain"


@functools.lru_cache(1 << 17)
def to_bytes(piece: str, style: str) -> bytes:
    """Return the bytes of a token written in a style."""
    if style in ("bytes", "cleaned"):
        letters = byte_alphabet() | ({" ": 32, "\n": 10, "\t": 9} if style == "cleaned" else {})
        if all(letter in letters for letter in piece):
            return bytes(letters[letter] for letter in piece)
    if style == "sentencepiece":
        piece = piece.replace("▁", " ")
    return piece.encode("utf-8", errors="replace")


def plain(tokens: pyarrow.DictionaryArray) -> pyarrow.DictionaryArray:
    """Return tokens whose texts are the bytes they stand for. Two texts of one token may then be two of its numbers."""
    texts = tokens.dictionary.to_pylist()
    style = find_style(texts)
    if style == "plain":
        return tokens.cast(pyarrow.dictionary(tokens.type.index_type, pyarrow.binary()))
    pieces = [to_bytes(text, style) for text in texts]
    return pyarrow.DictionaryArray.from_arrays(tokens.indices, pyarrow.array(pieces, pyarrow.binary()))


def plain_text(piece: str) -> str:
    """Return the text of a token that stands alone, as in a table of logits."""
    return piece.replace("▁", " ")
