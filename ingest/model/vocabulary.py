"""The tokens of a tokenizer: their bytes, which of them are special, and an id equal for equal vocabularies."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy


def tokenizer_id(pieces: list[bytes]) -> str:
    """Returns the id of a tokenizer with these tokens, 16 hex digits: see stored.tokenizers."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(4, "little") + piece)
    return digest.hexdigest()[:16]


def special_ids(tokenizer: Any) -> numpy.ndarray:
    """Returns the ids of tokens that stand for no text (BOS, turns of a chat), (n,) int32 ascending."""
    marked = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return numpy.array(sorted(marked | set(tokenizer.all_special_ids)), dtype=numpy.int32)


def token_bytes(tokenizer: Any) -> list[bytes]:
    """Returns the UTF-8 bytes of every token id; special tokens are spelled by their names.

    Byte-level vocabularies (GPT-2's) write bytes as characters; SentencePiece-like ones write a space as U+2581 and
    lone bytes as <0xAB>.
    """
    count = 1 + max(tokenizer.get_vocab().values())  # ids may have gaps
    pieces = tokenizer.convert_ids_to_tokens(list(range(count)))
    special = set(tokenizer.all_special_ids)
    # Tokens added to a vocabulary are written as they are, whatever its alphabet.
    added = set(tokenizer.added_tokens_decoder)
    byte_level = "ByteLevel" in str(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", ""))
    out = []
    for id, piece in enumerate(pieces):
        if piece is None:
            out.append(b"")
        elif id in special or (byte_level and id in added):
            out.append(piece.encode())
        elif byte_level and all(character in _BYTE_OF for character in piece):
            out.append(bytes(_BYTE_OF[character] for character in piece))
        elif not byte_level and re.fullmatch("<0x[0-9A-Fa-f]{2}>", piece):
            out.append(bytes([int(piece[3:5], 16)]))
        else:
            out.append(piece.replace("\u2581", " ").encode())
    return out


def _byte_of() -> dict[str, int]:
    # GPT-2's byte alphabet: printable Latin-1 stands for itself, the other bytes for the characters from U+0100 on.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_of()
