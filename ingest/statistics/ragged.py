"""Rows with lists of different lengths, as arrays, and ranks within groups. Knows NumPy alone."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Self

import numpy


def concatenate_ranges(begins: numpy.ndarray, counts: numpy.ndarray) -> numpy.ndarray:
    """Return int64 (sum of counts,): begins[0] .. begins[0] + counts[0] - 1, then the range of the next, and so on."""
    total = int(counts.sum())
    shifts: numpy.ndarray = numpy.repeat(begins - (numpy.cumsum(counts) - counts), counts)
    return shifts + numpy.arange(total)


def rank_in_groups(groups: numpy.ndarray) -> numpy.ndarray:
    """Return int64 (n,): 0, 1, 2, ... within each run of equal neighbours of `groups` (n,)."""
    if not len(groups):
        return numpy.empty(0, numpy.int64)
    is_first = numpy.empty(len(groups), bool)
    is_first[0] = True
    is_first[1:] = groups[1:] != groups[:-1]
    begins = numpy.flatnonzero(is_first)
    return numpy.arange(len(groups)) - numpy.repeat(begins, numpy.diff(numpy.append(begins, len(groups))))


def order_by_group(numbers: numpy.ndarray, below: int) -> numpy.ndarray:
    """Return int64 (n,): the order that sorts `numbers`, integers from 0 to below - 1; equal ones keep their order."""
    # NumPy sorts 16-bit integers by radix, several times faster than wider ones.
    return numpy.argsort(numbers.astype(numpy.uint16) if below <= 1 << 16 else numbers, kind="stable")


def best_first(cell: numpy.ndarray, order: numpy.ndarray, hashes: numpy.ndarray) -> numpy.ndarray:
    """Return int64 (n,): rows sorted by cell, within a cell by order, and at equal order by hash.

    All three are (n,): `cell` and `hashes` integers from 0, `order` float32 numbers not above 0.
    """
    # One number sorts several times faster than three keys, so all three share its bits, and the last is cut short.
    bits = 63 - int(cell.max(initial=0)).bit_length()
    if order.any():
        measure = 0x7FFFFFFF - numpy.abs(order).astype(numpy.float32).view(numpy.int32).astype(numpy.int64)
        keys = (cell << bits) | (measure << bits - 31 if bits >= 31 else measure >> 31 - bits)
    else:
        keys = (cell << bits) | (hashes >> 63 - bits)
    rows = numpy.argsort(keys)
    same = keys[rows[1:]] == keys[rows[:-1]]
    if same.any():
        tied = numpy.append(same, False) | numpy.append(False, same)
        tied_rows = rows[tied]
        rows[tied] = tied_rows[numpy.lexsort((hashes[tied_rows], order[tied_rows], cell[tied_rows]))]
    return rows


@dataclasses.dataclass
class Ragged:
    """Rows with `counts` elements each. A subclass names further columns, their types, and in LISTS those of elements.

    Every column is an array of one number per row. Columns in LISTS hold the elements of all rows one after another.
    Rows are compared within a `cell`: a smaller `order` is better, and `hash` decides ties (see best_first).
    """

    LISTS: ClassVar[tuple[str, ...]] = ()

    cell: numpy.ndarray
    order: numpy.ndarray
    hash: numpy.ndarray
    counts: numpy.ndarray

    def __len__(self) -> int:
        return len(self.cell)

    @classmethod
    def column_types(cls) -> dict[str, type]:
        """Return the NumPy type of each column."""
        return {"cell": numpy.int64, "order": numpy.float64, "hash": numpy.int64, "counts": numpy.int64}

    @classmethod
    def empty(cls) -> Self:
        """Return an instance without rows."""
        return cls(**{name: numpy.empty(0, dtype) for name, dtype in cls.column_types().items()})

    @classmethod
    def concatenate(cls, parts: list[Self]) -> Self:
        """Return the rows of all parts, in their order."""
        return cls(**{name: numpy.concatenate([getattr(part, name) for part in parts]) for name in cls.column_types()})

    def take(self, rows: numpy.ndarray) -> Self:
        """Return these rows, in this order."""
        begins = numpy.cumsum(self.counts) - self.counts
        elements = concatenate_ranges(begins[rows], self.counts[rows])
        columns = {name: getattr(self, name)[elements if name in self.LISTS else rows] for name in self.column_types()}
        return type(self)(**columns)

    def rank(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return two int64 arrays (n,): rows sorted by cell and from best to worst, and each one's rank in its cell."""
        rows = best_first(self.cell, self.order, self.hash)
        return rows, rank_in_groups(self.cell[rows])
