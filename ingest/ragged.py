"""Rows with lists of different lengths, as arrays: which elements belong to which row, and ranks within groups."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Self

import numpy


def stretches(begins: numpy.ndarray, counts: numpy.ndarray) -> numpy.ndarray:
    """Indices begins[0] .. begins[0] + counts[0] - 1, then those of the next, and so on."""
    total = int(counts.sum())
    shifts = numpy.repeat(begins - (numpy.cumsum(counts) - counts), counts)
    return numpy.arange(total) + shifts


def rank_in_groups(groups: numpy.ndarray) -> numpy.ndarray:
    """0, 1, 2, ... within each stretch of equal values."""
    if not len(groups):
        return numpy.empty(0, numpy.int64)
    new = numpy.empty(len(groups), bool)
    new[0] = True
    new[1:] = groups[1:] != groups[:-1]
    begins = numpy.flatnonzero(new)
    return numpy.arange(len(groups)) - numpy.repeat(begins, numpy.diff(numpy.append(begins, len(groups))))


@dataclasses.dataclass
class Ragged:
    """Rows of which each has `counts` elements. A subclass names the columns, a type each, and in LISTS the elements' ones.

    Every column is an array of one number a row, but those of LISTS, which hold the rows' elements one after another.
    A smaller `order` is better, and `hash` settles ties; both are compared within a `cell`.
    """

    LISTS: ClassVar[tuple[str, ...]] = ()

    cell: numpy.ndarray
    order: numpy.ndarray
    hash: numpy.ndarray
    counts: numpy.ndarray

    def __len__(self) -> int:
        return len(self.cell)

    @classmethod
    def types(cls) -> dict[str, type]:
        """Each column's type."""
        return {"cell": numpy.int64, "order": numpy.float64, "hash": numpy.int64, "counts": numpy.int64}

    @classmethod
    def none(cls) -> Self:
        """No rows."""
        return cls(**{name: numpy.empty(0, type_) for name, type_ in cls.types().items()})

    @classmethod
    def together(cls, parts: list[Self]) -> Self:
        """The rows of all."""
        return cls(**{name: numpy.concatenate([getattr(part, name) for part in parts]) for name in cls.types()})

    def take(self, rows: numpy.ndarray) -> Self:
        """These rows, in this order."""
        begins = numpy.cumsum(self.counts) - self.counts
        at = stretches(begins[rows], self.counts[rows])
        return type(self)(
            **{name: getattr(self, name)[at if name in self.LISTS else rows] for name in type(self).types()}
        )

    def ranked(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Rows ordered by cell and from best to worst, and each one's rank in its cell."""
        rows = numpy.lexsort((self.hash, self.order, self.cell))
        return rows, rank_in_groups(self.cell[rows])
