"""Many short texts in one piece of memory, compared and numbered eight bytes at a time, as numbers.

Arrow's dictionary of texts takes 150 ns a token; that of 64-bit numbers, which most tokens fit into, 15 ns.
"""

from __future__ import annotations

import numpy
import pyarrow

WORD = 8  # bytes
MOST_WORDS = 512  # of a text: as long as a token may be
_MASKS = numpy.array([(1 << (8 * count)) - 1 for count in range(WORD + 1)], numpy.uint64)


class Texts:
    """Texts in `content`, without zero bytes: `starts` and `lengths` (n,) int64 say where each one is."""

    def __init__(self, content: bytes):
        padded = content + bytes(WORD)
        self._words = numpy.ndarray((len(content) + 1,), "<u8", padded, strides=(1,))  # the eight bytes from each place

    def match(self, starts: numpy.ndarray, lengths: numpy.ndarray, texts: tuple[bytes, ...]) -> numpy.ndarray:
        """Return which are one of `texts`, of at most eight bytes each; (n,) bool."""
        words = self._take(starts, lengths)
        same = numpy.zeros(len(starts), bool)
        for text in texts:
            same |= (words == numpy.uint64(int.from_bytes(text, "little"))) & (lengths <= WORD)
        return same

    def encode(self, starts: numpy.ndarray, lengths: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray] | None:
        """Return the number of each text, (n,) int32, and where each number is first, in the order of these places.

        Returns None where a text is too long.
        """
        if lengths.max(initial=0) > MOST_WORDS * WORD:
            return None
        codes = _encode(self._take(starts, lengths)).copy()
        rows = numpy.flatnonzero(lengths > WORD)
        for at in range(WORD, MOST_WORDS * WORD, WORD):
            if not len(rows):
                break
            # A longer text is known by the number of what came before, and the next eight bytes.
            words = _encode(self._take(starts[rows] + at, lengths[rows] - at))
            pairs = codes[rows].astype(numpy.uint64) << numpy.uint64(32) | words.astype(numpy.uint64)
            codes[rows] = _encode(pairs) + codes.max(initial=0) + 1
            rows = rows[lengths[rows] > at + WORD]
        if lengths.max(initial=0) > WORD:
            codes = _encode(codes)
        first = numpy.empty(int(codes.max(initial=-1)) + 1, numpy.int64)
        first[codes[::-1]] = numpy.arange(len(codes))[::-1]
        return codes, first

    def _take(self, starts: numpy.ndarray, lengths: numpy.ndarray) -> numpy.ndarray:
        """Return the first eight bytes of each text as a number, zero bytes after its end."""
        words: numpy.ndarray = self._words[starts] & _MASKS[numpy.minimum(lengths, WORD)]
        return words


def _encode(numbers: numpy.ndarray) -> numpy.ndarray:
    """Return the number of each value in the order of their first places, (n,) int32."""
    codes: numpy.ndarray = pyarrow.array(numbers).dictionary_encode().indices.to_numpy()
    return codes
