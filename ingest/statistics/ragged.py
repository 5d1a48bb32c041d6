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


def grouped(numbers: numpy.ndarray, below: int) -> numpy.ndarray:
    """Rows of numbers from 0 to below - 1 in ascending order, equal ones as they were."""
    # NumPy sorts 16-bit integers by radix, several times quicker than wider ones.
    return numpy.argsort(numbers.astype(numpy.uint16) if below <= 1 << 16 else numbers, kind="stable")


def best_first(cell: numpy.ndarray, order: numpy.ndarray, hashes: numpy.ndarray) -> numpy.ndarray:
    """Rows by cell, in a cell by order, and those of equal order by hash.

    `cell` and `hashes` are integers from 0, `order` float32 numbers that are not above 0.
    """
    # What decides is put into one number, since that is sorted several times quicker than three; it is cut to its width.
    room = 63 - int(cell.max(initial=0)).bit_length()
    if order.any():
        measure = 0x7FFFFFFF - numpy.abs(order).astype(numpy.float32).view(numpy.int32).astype(numpy.int64)
        keys = (cell << room) | (measure << room - 31 if room >= 31 else measure >> 31 - room)
    else:
        keys = (cell << room) | (hashes >> 63 - room)
    rows = numpy.argsort(keys)
    same = keys[rows[1:]] == keys[rows[:-1]]
    if same.any():
        tied = numpy.append(same, False) | numpy.append(False, same)
        some = rows[tied]
        rows[tied] = some[numpy.lexsort((hashes[some], order[some], cell[some]))]
    return rows


@dataclasses.dataclass
class Ragged:
    """Rows of which each has `counts` elements. A subclass names the columns, a type each, and in LISTS the elements' ones.

    Every column is an array of one number a row, but those of LISTS, which hold the rows' elements one after another.
    A smaller `order` is better, and `hash` settles ties; both are compared within a `cell`. See best_first for what they are.
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
        rows = best_first(self.cell, self.order, self.hash)
        return rows, rank_in_groups(self.cell[rows])
