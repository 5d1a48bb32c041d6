"""VectorIndex: an index opened for searching, and the choice of how each query is answered."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import faiss
import msgspec
import numpy

from featurestore.display.text import first_line
from featurestore.errors import BadRequest, BadStore
from featurestore.search.vectors import codes, plan
from featurestore.search.vectors.description import read_about
from featurestore.search.vectors.rows import VectorRows, best, direction_of
from featurestore.storage import numpy_files

# Nanoseconds, measured at 768 dimensions with the files in memory; they decide between ways that all answer rightly.
EXACT_ROW_NS = 600  # comparing one row of the mapped files
SCAN_ROW_NS = 12  # scanning one code
SCAN_NS = 500_000  # around a scan: comparing with the centroids, and its candidates exactly
# Up to this many allowed rows are compared one by one without looking at lists.
FEW = 16_384
# Of allowed rows that are compared one by one, list by list, at least so many are compared: the nearest of a few are
# far ones, spread over many lists (of 26,000 among ten millions: recall 0.88 with as many lists as the plan has).
ENOUGH = 8_192
# Up to this many allowed rows are counted in their lists one by one; of more, a sample of about this size is.
COUNTED = 131_072
# The share of hits that may come from the later half of the lists looked at before more are.
LATE = 0.05
# Errors of estimates up to this many times those of the plan's own queries leave it right.
ASTRAY = 1.15
# What is nearest to a query far from all rows lies in many lists: at first lists of so many rows are looked at, and
# twice as many each time, until hardly a hit comes from the later half of them.
AROUND = 8_192
# The same where a filter forbids what is nearest: the hits lie about as far as many others, and few lists say little of
# them.
BEYOND = 131_072
# Times the plan's slack where what is nearest is forbidden: the hits then lie close together, where an error loses
# them.
CAREFUL = 1.5
# Of the plan's effort: how many times its slack counts for a query far from all rows (twice at an effort of 16).
WIDER = 0.25
# A filter under which the k best lie at most so many times as deep among all rows does not matter to that query.
HARMLESS = 1.25
# Without a filter no more candidates than these are kept, unless the plan says so: a query far from all rows gets no
# more.
MOST_KEPT = 4096

Nearest = tuple[numpy.ndarray, numpy.ndarray]  # row numbers (int64) and cosines or estimates (float32), best first
NOTHING: Nearest = numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)


class VectorIndex:
    """An index written by `build`, opened for searching. Safe to share between threads."""

    def __init__(self, path: Path, vectors: Sequence[numpy.ndarray | None]):
        """`vectors` are the ones it was built from, None for those that are gone, whose rows are not found any more.

        Raises BadStore when the index cannot be read, is damaged, or was built from other vectors.
        """
        self._flat: faiss.Index | None = None
        if not path.is_dir():
            self._open_flat(path, vectors)
            return
        about = read_about(path)
        self._rows = VectorRows(vectors, about.parts)
        self._plan = about.plan
        trained = codes.load_trained(path / "trained.npz")
        self._lists = codes.Lists(path / "lists.faiss", trained, about.rows)
        try:
            self._list_of_row = numpy.asarray(numpy_files.map_array(path / "lists.npy"))
        except (OSError, ValueError) as exc:
            raise BadStore(f"{path}/lists.npy cannot be read; run `featurestore index --rebuild` ({exc})") from None
        self._sizes = numpy.bincount(self._list_of_row, minlength=self._lists.count)
        self._present = self._rows.present
        self._about = about

    def with_effort(self, effort: int) -> VectorIndex:
        """Return the same index, whose searches far from all rows look so many times as far as need be."""
        if self._flat is not None or self._plan.effort == effort:
            return self
        other = copy.copy(self)
        other._plan = msgspec.structs.replace(self._plan, effort=effort)
        return other

    def _open_flat(self, path: Path, vectors: Sequence[numpy.ndarray | None]) -> None:
        try:
            self._flat = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        except RuntimeError as exc:
            reason = first_line(exc)
            raise BadStore(f"the index {path} cannot be read; run `featurestore index --rebuild` ({reason})") from None
        rows = sum(len(part) for part in vectors if part is not None)
        if self._flat.ntotal < rows or (self._flat.ntotal > rows and all(part is not None for part in vectors)):
            raise BadStore(
                f"the index {path} has {self._flat.ntotal} rows, not {rows}; run `featurestore index --rebuild`"
            )

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._flat.d if self._flat else self._about.dim

    @property
    def about(self) -> dict[str, Any]:
        """How it searches: `kind` flat or lists; for lists the plan, with the recall asked for and the one reached."""
        if self._flat:
            return {"kind": "flat", "rows": len(self)}
        return {"kind": "lists", "lists": self._lists.count, **msgspec.to_builtins(self._about.plan), "rows": len(self)}

    def __len__(self) -> int:
        return self._flat.ntotal if self._flat else self._about.rows

    def filter(self, allowed: numpy.ndarray | None) -> Filter:
        """Prepare a mask of allowed rows for many searches; `search` takes the result. Safe to share between threads.

        Raises BadRequest for a mask that is not a boolean for each row.
        """
        if allowed is not None and (allowed.shape != (len(self),) or allowed.dtype != numpy.bool_):
            raise BadRequest(
                f"the filter has shape {allowed.shape} of {allowed.dtype}; {len(self)} booleans are wanted"
            )
        return _FlatFilter(self._flat, allowed) if self._flat else _ListsFilter(self, allowed)

    def search(
        self, vector: numpy.ndarray, k: int, allowed: numpy.ndarray | Filter | None = None
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `k` rows of largest cosine to `vector`: row numbers (int64) and exact cosines (float32), best first.

        With `allowed`, a boolean for each row or a `filter`, only rows that are allowed; min(k, allowed rows) are
        found. Rows of equal cosine come in the order of their numbers. For several vectors, (m, d), both results are
        (m, found). Raises BadRequest for a vector of another width, one that is not finite or zero, for k < 1, and for
        a filter of another length.
        """
        if k < 1:
            raise BadRequest(f"k is {k}; at least 1 is wanted")
        filter_ = self.filter(allowed) if allowed is None or isinstance(allowed, numpy.ndarray) else allowed
        vector = numpy.asarray(vector)
        directions = [direction_of(row, self.dim) for row in (vector if vector.ndim == 2 else vector[None])]
        hits = [filter_.nearest(direction, k) for direction in directions]
        if vector.ndim == 1:
            return hits[0]
        if not hits:
            return numpy.empty((0, 0), numpy.int64), numpy.empty((0, 0), numpy.float32)
        return numpy.stack([rows for rows, _ in hits]), numpy.stack([cosines for _, cosines in hits])


class _Query(NamedTuple):
    """One query of an index by lists."""

    direction: numpy.ndarray  # (d,) of length 1
    probe: codes.Probe
    order: numpy.ndarray  # lists that may hold allowed rows, nearest first
    k: int
    slack: float  # how far below the k-th best cosine estimates are looked at
    harmless: bool = False  # whether hardly anything is forbidden of what is nearest


class Filter(Protocol):
    """The allowed rows of an index, and how to search among them."""

    def nearest(self, direction: numpy.ndarray, k: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `k` best of the allowed rows, or all of them; `direction` is of length 1."""
        ...


class _FlatFilter:
    """The allowed rows of an index that compares every row."""

    def __init__(self, index: faiss.Index, allowed: numpy.ndarray | None):
        self._index = index
        self._count = index.ntotal if allowed is None else int(numpy.count_nonzero(allowed))
        self._parameters = None
        if self._count < index.ntotal:
            assert allowed is not None
            self._bitmap = numpy.packbits(allowed, bitorder="little")  # faiss refers to it, and does not keep it
            self._selector = faiss.IDSelectorBitmap(self._bitmap)  # type: ignore[call-arg, arg-type]
            self._parameters = faiss.SearchParameters(sel=self._selector)  # type: ignore[call-arg]

    def nearest(self, direction: numpy.ndarray, k: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `k` best of the allowed rows by comparing all of them: row numbers and cosines, best first."""
        k = min(k, self._count)
        if k == 0:
            return NOTHING
        cosines, rows = self._index.search(direction[None], k, params=self._parameters)
        return best(rows[0], cosines[0], k)


class _ListsFilter:
    """The lists of an index under one filter: what is allowed of it, and how to find the best of that."""

    def __init__(self, index: VectorIndex, allowed: numpy.ndarray | None):
        self._index, self._plan, self._lists = index, index._plan, index._lists
        # Most queries have the same k; logarithms and curves take a tenth of a short search.
        self._kept = functools.lru_cache(64)(self._plan.count_candidates)
        self._reach = functools.lru_cache(64)(self._plan.reach)
        if index._present is not None:
            allowed = index._present if allowed is None else allowed & index._present
        self._count = len(index) if allowed is None else int(numpy.count_nonzero(allowed))
        self._allowed = allowed if self._count < len(index) else None
        self._allows_most = self._count * HARMLESS >= len(index)
        self._few: numpy.ndarray | None = None  # numbers of the allowed rows, where they are few
        self._in_list = index._sizes  # allowed rows of each list, estimated where they are many
        if self._allowed is None:
            return
        if self._count <= COUNTED:
            self._few = numpy.flatnonzero(self._allowed)
            self._in_list = numpy.bincount(index._list_of_row[self._few], minlength=self._lists.count)
        else:
            # An odd stride does not keep step with runs of rows that belong together.
            stride = (len(index) // COUNTED) | 1
            sample = index._list_of_row[::stride][self._allowed[::stride]]
            self._in_list = numpy.bincount(sample, minlength=self._lists.count) * stride
        self._bitmap: numpy.ndarray | None = None

    def nearest(self, direction: numpy.ndarray, k: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `k` best of the allowed rows: row numbers and exact cosines, best first."""
        rows = self._index._rows
        k = min(k, self._count)
        if k == 0:
            return NOTHING
        if self._few is not None and len(self._few) <= FEW:
            return rows.nearest(direction, k, self._few)
        if self._kept(k) >= self._count // 4:  # nearly everything is a candidate
            return rows.nearest(direction, k, self._among())
        probe = self._lists.probe(direction)
        order, planned = self._order(probe, k)
        astray = self._is_astray(float(probe.cosines[order[0]]))
        # Where all rows are far, many are about as near as the k-th, and an error of an estimate loses one.
        query = _Query(direction, probe, order, k, self._plan.slack * (self._plan.effort**WIDER if astray else 1.0))
        # The plan is not enough for a filter that forbids what is near the query, nor for a query far from all rows.
        candidates, estimates = self._at_first(probe, order[:planned], self._kept(k))
        if not self._is_harmless(candidates, k):
            beyond = self._allows_most or self._is_astray(float(probe.cosines[order[:planned]].mean()))
            # Of few allowed rows the plan looks at enough.
            reach = planned if self._few is not None or not beyond else max(planned, self._holding(order, BEYOND))
            return self._outwards(query, NOTHING, 0, reach)
        query = query._replace(harmless=True)
        nearest, crowded = self._follow_plan(query, candidates, estimates)
        if crowded:
            nearest = self._merge(
                query, nearest, self._others(query, order[:planned], nearest, query.slack, estimates[-1])
            )
        further = astray or self._may_lie_further(query, planned, nearest)
        if not (crowded or further) or planned == len(order):
            return nearest
        return self._outwards(
            query, nearest, planned, planned + self._holding(order[planned:], AROUND * self._plan.effort)
        )

    def _at_first(self, probe: codes.Probe, chosen: numpy.ndarray, kept: int) -> Nearest:
        """What the plan looks at first, allowed or not; nothing under a filter that forbids much."""
        return self._lists.scan(probe, chosen, kept) if self._allows_most else NOTHING

    def _is_harmless(self, candidates: numpy.ndarray, k: int) -> bool:
        """Whether hardly anything is forbidden of what is nearest."""
        if self._allowed is None:
            return True
        return int(numpy.count_nonzero(self._allowed[candidates[: int(HARMLESS * k)]])) >= k

    def _is_astray(self, near: float) -> bool:
        """Whether a query at this cosine to its nearest lists is farther from all rows than those of the plan were."""
        return self._plan.stretch(near) > ASTRAY

    def _holding(self, order: numpy.ndarray, rows: int) -> int:
        """How many of `order`'s lists, nearest first, hold so many allowed rows."""
        return int(numpy.searchsorted(numpy.cumsum(self._in_list[order]), rows)) + 1

    def _follow_plan(self, query: _Query, candidates: numpy.ndarray, estimates: numpy.ndarray) -> tuple[Nearest, bool]:
        """The best of what the plan looks at, and whether even the last candidate is about as near as the k-th."""
        allowed = numpy.ones(len(candidates), bool) if self._allowed is None else self._allowed[candidates]
        nearest = self._compare(query, candidates[allowed], estimates[allowed], query.slack)
        return nearest, len(candidates) == self._kept(query.k) and estimates[-1] >= nearest[1][-1] - query.slack

    def _may_lie_further(self, query: _Query, planned: int, nearest: Nearest) -> bool:
        """Whether a list that was not looked at has a centre nearer than the k-th, so that it may hold better rows.

        A text is no nearer to any label than to the centres of many lists.
        """
        if len(nearest[0]) < query.k:
            return True
        return planned < len(query.order) and query.probe.cosines[query.order[planned]] >= nearest[1][-1]

    def _outwards(self, query: _Query, nearest: Nearest, done: int, reach: int) -> Nearest:
        """The best of `nearest` and the lists from `done` to `reach`, doubled as long as hits come from its end."""
        while True:
            nearest = self._merge(query, nearest, self._nearest_in(query, query.order[done:reach], nearest))
            enough = len(nearest[0]) == query.k and not self._still_coming(nearest[0], query.order, reach)
            if enough or reach >= len(query.order):
                return nearest
            done, reach = reach, min(len(query.order), 2 * reach)

    def _nearest_in(self, query: _Query, chosen: numpy.ndarray, nearest: Nearest) -> Nearest:
        """The best allowed rows of some lists; where k were found elsewhere, only those that are better."""
        in_chosen = int(self._in_list[chosen].sum())
        scanned = int(self._index._sizes[chosen].sum())
        if self._few is not None and in_chosen * EXACT_ROW_NS <= SCAN_NS + scanned * SCAN_ROW_NS:
            return self._index._rows.nearest(query.direction, query.k, self._few_of(chosen))
        slack = query.slack * self._plan.stretch(float(query.probe.cosines[chosen].mean()))
        slack *= 1.0 if query.harmless else CAREFUL
        if len(nearest[0]) == query.k:
            return self._others(query, chosen, nearest, slack)
        kept = min(self._kept(query.k), self._count)
        candidates, estimates = self._lists.scan(query.probe, chosen, kept, self._bits())
        nearest = self._compare(query, candidates, estimates, slack)
        # Away from what is nearest, rows lie closer together than where the plan was made.
        if len(candidates) < kept or estimates[-1] < nearest[1][-1] - slack:
            return nearest
        return self._merge(query, nearest, self._others(query, chosen, nearest, slack, estimates[-1]))

    def _others(
        self, query: _Query, chosen: numpy.ndarray, nearest: Nearest, slack: float, compared: float = 2.0
    ) -> Nearest:
        """The best allowed rows of some lists that may be better than the k-th nearest, and were not `compared`.

        Rows of estimates above `compared` were.
        """
        floor = float(nearest[1][-1])
        candidates, estimates = self._lists.above(query.probe, chosen, floor - slack)
        new = estimates <= compared
        if self._allowed is not None:
            new &= self._allowed[candidates]
        candidates, estimates = candidates[new], estimates[new]
        if query.harmless:
            most = max(self._kept(query.k), MOST_KEPT * self._plan.effort)
            candidates, estimates = candidates[:most], estimates[:most]
        return self._compare(query, candidates, estimates, slack, floor)

    @staticmethod
    def _merge(query: _Query, nearest: Nearest, more: Nearest) -> Nearest:
        """The best of two searches, each row once."""
        rows, places = numpy.unique(numpy.concatenate([nearest[0], more[0]]), return_index=True)
        return best(rows, numpy.concatenate([nearest[1], more[1]])[places], query.k)

    def _compare(
        self, query: _Query, candidates: numpy.ndarray, estimates: numpy.ndarray, slack: float, floor: float = -2.0
    ) -> Nearest:
        """The best of candidates, see plan.compare."""
        cosines = self._index._rows.cosines
        k = min(query.k, len(candidates))
        return plan.compare(candidates, estimates, k, slack, lambda chunk: cosines(chunk, query.direction), floor)

    def _few_of(self, chosen: numpy.ndarray) -> numpy.ndarray:
        """The allowed rows of some lists, ascending; only where `_few` has them."""
        assert self._few is not None
        mark = numpy.zeros(self._lists.count, bool)
        mark[chosen] = True
        rows: numpy.ndarray = self._few[mark[self._index._list_of_row[self._few]]]
        return rows

    def _still_coming(self, nearest: numpy.ndarray, order: numpy.ndarray, wanted: int) -> bool:
        """Whether more than a few hits come from the later half of the lists looked at, so that more must lie beyond.

        So it is for a query far from all rows, and for a filter that forbids what is near the query.
        """
        place = numpy.full(self._lists.count, len(order))
        place[order] = numpy.arange(len(order))
        late = numpy.count_nonzero(place[self._index._list_of_row[nearest]] >= wanted // 2)
        return bool(late * self._plan.effort > LATE * len(nearest))

    def _order(self, probe: codes.Probe, k: int) -> tuple[numpy.ndarray, int]:
        """The lists that may hold allowed rows, nearest first, and how many of them to look at.

        The k best of a share s of the rows lie about as deep as the k / s best of all. Where few allowed rows lie near
        the query, lists are added until they hold half of the rows that a random filter leaves in as many.
        """
        gap, most = self._reach(k * len(self._index) / self._count)
        most = min(most, self._lists.count)
        if self._allowed is None:
            return probe.order, min(most, probe.within(gap, probe.order))
        order = probe.order[self._in_list[probe.order] > 0] if self._few is not None else probe.order
        wanted = min(most, probe.within(gap, order))
        enough = self._count * wanted / self._lists.count / 2
        if self._few is not None:
            enough = max(enough, ENOUGH)
        held = int(numpy.searchsorted(numpy.cumsum(self._in_list[order]), enough)) + 1
        return order, min(len(order), max(wanted, held))

    def _among(self) -> numpy.ndarray | None:
        if self._allowed is None or self._few is not None:
            return self._few
        return numpy.flatnonzero(self._allowed)

    def _bits(self) -> numpy.ndarray | None:
        if self._allowed is None:
            return None
        if self._bitmap is None:
            self._bitmap = numpy.packbits(self._allowed, bitorder="little")
        return self._bitmap
