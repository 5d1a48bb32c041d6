"""Tokens that are parts of characters: their text, their bytes where they are none, and the marks of whole characters.

Byte-level vocabularies split characters. A character belongs to all its tokens: its text is that of the first, the
others are empty, and it is marked with the largest activation among them.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST = 16  # tokens that may share characters in a row


def decode_piece(piece: bytes) -> str | None:
    """Return the text of a token; None where it is a part of a character."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return None


def show_bytes(piece: bytes) -> str:
    """Return the text of a token alone, with bytes that are no text as <0xE2>."""
    text = decode_piece(piece)
    return _escape(piece) if text is None else text


def _escape(piece: bytes) -> str:
    text, at = "", 0
    while at < len(piece):
        size = next((n for n in range(1, 5) if decode_piece(piece[at : at + n]) is not None), 0)
        text += piece[at : at + size].decode("utf-8") if size else f"<0x{piece[at]:02X}>"
        at += size or 1
    return text


def join_pieces(pieces: Sequence[bytes]) -> tuple[str, ...]:
    """Return the text of each token where some are parts of characters; bytes that are no text are shown as such."""
    texts: list[str] = []
    at = 0
    while at < len(pieces):
        for size in range(1, min(MOST, len(pieces) - at) + 1):
            text = decode_piece(b"".join(pieces[at : at + size]))
            if text is not None:
                texts += [text] + [""] * (size - 1)
                at += size
                break
        else:
            texts.append(show_bytes(pieces[at]))
            at += 1
    return tuple(texts)


def find_character(pieces: Sequence[bytes], at: int) -> tuple[int, int]:
    """Return first and last + 1 of the tokens that share characters with token `at`."""
    begin = 0
    while begin < len(pieces):
        sizes = range(1, min(MOST, len(pieces) - begin) + 1)
        size = next((n for n in sizes if decode_piece(b"".join(pieces[begin : begin + n])) is not None), 1)
        if begin <= at < begin + size:
            return begin, begin + size
        begin += size
    return at, at + 1


def merge_activations(tokens: Sequence[str], activations: Sequence[float]) -> list[float]:
    """Return the activations of whole characters, at their first tokens: the largest by magnitude among theirs.

    Tokens that are empty go on with the character before them, and get 0.
    """
    merged = list(activations)
    first = 0
    for at, token in enumerate(tokens):
        if token or not at:
            first = at
        elif merged[at]:
            merged[first], merged[at] = max(merged[first], merged[at], key=abs), 0.0
    return merged


def find_first(tokens: Sequence[str], at: int) -> int:
    """Return the place of the token that has the text of the character that token `at` belongs to."""
    while at > 0 and not tokens[at]:
        at -= 1
    return at
