"""The tokens of a tokenizer as text, also where a character is split over several of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy


class Vocabulary:
    """The tokens of a tokenizer as text."""

    def __init__(self, pieces: list[bytes]):
        self._pieces = pieces
        texts = [_decode(piece) for piece in pieces]  # None for a part of a character
        self._texts = numpy.array(texts, dtype=object)
        self._whole = numpy.array([text is not None for text in texts], dtype=bool)

    def windows(self, ids: numpy.ndarray, ends: Sequence[tuple[int, int]]) -> list[tuple[str, ...]]:
        """Return the texts of the tokens of each window; `ends` says where in `ids` it begins and ends.

        A character split over tokens is shown whole on the first, and the rest are empty.
        """
        texts = self._texts[ids].tolist()
        if self._whole[ids].all():
            return [tuple(texts[begin:end]) for begin, end in ends]
        return [
            tuple(texts[begin:end])
            if self._whole[ids[begin:end]].all()
            else join_pieces([self._pieces[id] for id in ids[begin:end].tolist()])
            for begin, end in ends
        ]


def _decode(piece: bytes) -> str | None:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return None


def join_pieces(pieces: list[bytes]) -> tuple[str, ...]:
    """Return the text of each token where some are parts of characters; U+FFFD stands for parts of none."""
    texts = []
    at = 0
    while at < len(pieces):
        for size in range(1, 5):
            text = _decode(b"".join(pieces[at : at + size]))
            if text is not None:
                texts += [text] + [""] * (len(pieces[at : at + size]) - 1)
                at += size
                break
        else:
            texts.append(pieces[at].decode("utf-8", errors="replace"))
            at += 1
    return tuple(texts)
