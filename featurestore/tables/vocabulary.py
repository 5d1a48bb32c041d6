"""The tokens of a tokenizer as text, also where a character is split over several of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from featurestore.display.characters import decode_piece, join_pieces


class Vocabulary:
    """The tokens of a tokenizer as text."""

    def __init__(self, pieces: list[bytes]):
        self._pieces = pieces
        texts = [decode_piece(piece) for piece in pieces]  # None for a part of a character
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
