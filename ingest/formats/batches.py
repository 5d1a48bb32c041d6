"""What a reader yields: rows of one dictionary, and what the files say of that dictionary."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy
import pyarrow


class Windows(NamedTuple):
    """Windows of tokens around activations, in columns: one entry a window, or one a token where it says so."""

    feature: numpy.ndarray  # (n,) int64
    length: numpy.ndarray  # (n,) int64, tokens of each window
    tokens: pyarrow.Array  # tokens of all windows in a row, texts or bytes, perhaps dictionary-encoded
    values: numpy.ndarray  # (tokens,) float32, the activation on each token, 0 where the feature is silent
    position: numpy.ndarray  # (n,) int64, the token in the window for which it was kept; -1 for the strongest
    band: list[str]  # (n,) why it was kept, as schema.sql says of stored.examples.band
    low: numpy.ndarray  # (n,) float64, ends of the band; NaN for none
    high: numpy.ndarray
    share: numpy.ndarray | None = None  # (n,) float64, share of the active tokens in the band; NaN if not known
    repeated: numpy.ndarray | None = None  # (n,) bool, whether the tool marks it as a text shown before
    extra: list[str | None] | None = None  # (n,) what the tool says beyond this, as JSON

    @property
    def size(self) -> int:
        """Number of windows."""
        return len(self.feature)

    def take(self, keep: numpy.ndarray) -> Windows:
        """Return the windows that a mask (n,) keeps."""
        if keep.all():
            return self
        tokens_kept = numpy.repeat(keep, self.length)
        return Windows(
            self.feature[keep],
            self.length[keep],
            self.tokens.filter(pyarrow.array(tokens_kept)),
            self.values[tokens_kept],
            self.position[keep],
            [band for band, is_kept in zip(self.band, keep.tolist(), strict=True) if is_kept],
            self.low[keep],
            self.high[keep],
            None if self.share is None else self.share[keep],
            None if self.repeated is None else self.repeated[keep],
            None
            if self.extra is None
            else [text for text, is_kept in zip(self.extra, keep.tolist(), strict=True) if is_kept],
        )


class Effects(NamedTuple):
    """Tokens and a feature's effects on their logits, a cell of a column that is put together of both lists."""

    tokens: list[str]
    values: list[float]


class SourceFile(NamedTuple):
    """A file to read: where it is, what it is called in messages, and what changes with its content."""

    file: str
    name: str
    identity: str


class Batch(NamedTuple):
    """Rows of one dictionary. `facts` are columns of its row in stored.dictionaries, as far as the files know them."""

    dictionary: str
    facts: dict[str, Any] = {}  # noqa: RUF012 - never changed
    features: list[dict[str, Any]] = []  # noqa: RUF012
    labels: list[dict[str, Any]] = []  # noqa: RUF012
    scores: list[dict[str, Any]] = []  # noqa: RUF012
    windows: Windows | None = None
    vectors: tuple[numpy.ndarray, numpy.ndarray] | None = None  # features (rows,) int64, vectors (rows, width) float32
    dropped: dict[str, int] = {}  # noqa: RUF012 - rows that say nothing, by cause
