"""VectorIndex: an index opened for searching, and the choice of how each query is answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import faiss
import msgspec
import numpy

from featurestore import arrays
from featurestore.errors import BadRequest, BadStore
from featurestore.vectors import building, codes, plan
from featurestore.vectors.rows import Rows, best, direction_of

# Nanoseconds, measured at 768 dimensions with the files in memory; they decide between ways that all answer rightly.
EXACT_ROW_NS = 600  # comparing one row of the mapped files
SCAN_ROW_NS = 12  # scanning one code
SCAN_NS = 500_000  # around a scan: comparing with the centroids, and its candidates exactly
# Up to this many allowed rows are compared one by one without looking at lists.
FEW = 16_384
# Of allowed rows that are compared one by one, list by list, at least so many are, as long as there are some: the nearest of
# a few are far ones, spread over many lists (of 26,000 among ten millions: recall 0.88 with lists as the plan has them).
ENOUGH = 8_192
# Up to this many allowed rows are counted in their lists one by one; of more, those in a sample of this size are.
COUNTED = 131_072
# Lists that hold less than one in so many of all rows give their rows themselves; otherwise every row is asked for its list.
GATHERED = 8
# The share of hits that may come from the later half of the lists looked at before more are.
LATE = 0.05
# Errors of estimates up to this many times those of the plan's own queries leave it right.
ASTRAY = 1.15
# What is nearest to a query that is near to none lies in many lists: at first those of so many rows are looked at, and twice as
# many each time, until hardly a hit comes from the later half of them.
AROUND = 32_768
# Times the plan's slack where what is nearest is forbidden: the hits then lie close together, where an error loses them.
CAREFUL = 1.5
# A filter under which the k best lie at most so many times as deep among all rows is none to that query.
HARMLESS = 1.25
# Without a filter no more candidates than these are kept, unless the plan says so: what is far from all is worth no more.
MOST_KEPT = 4096
# So many times more candidates are looked at while it is crowded; under a filter, where only that many times more exist, all are
# compared.
WIDER = 4


class VectorIndex:
    """An index written by `build`, opened for searching. Safe to share between threads."""

    def __init__(self, path: Path, vectors: Sequence[numpy.ndarray | None]):
        """`vectors` are the ones it was built of, None where some are gone: their rows are found no more.

        Raises BadStore when the index is not readable, damaged, or not one of these vectors.
        """
        self._flat: faiss.Index | None = None
        if not path.is_dir():
            self._open_flat(path, vectors)
            return
        about = building.read_about(path)
        self._rows = Rows(vectors, about.parts)
        self._plan = about.plan
        trained = codes.load_trained(path / "trained.npz")
        self._lists = codes.Lists(path / "lists.faiss", trained, about.rows)
        try:
            self._list_of_row = numpy.asarray(arrays.mapped(path / "lists.npy"))
        except (OSError, ValueError) as exc:
            raise BadStore(f"{path}/lists.npy cannot be read; run `featurestore index` ({exc})") from None
        self._sizes = numpy.bincount(self._list_of_row, minlength=self._lists.count)
        self._there = self._rows.there
        self._about = about

    def _open_flat(self, path: Path, vectors: Sequence[numpy.ndarray | None]) -> None:
        try:
            self._flat = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        except RuntimeError as exc:
            reason = codes.first_line(exc)
            raise BadStore(f"the index {path} cannot be read; run `featurestore index` ({reason})") from None
        rows = sum(len(part) for part in vectors if part is not None)
        if self._flat.ntotal < rows or (self._flat.ntotal > rows and all(part is not None for part in vectors)):
            raise BadStore(f"the index {path} has {self._flat.ntotal} rows, not {rows}; run `featurestore index`")

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
        """What `search` takes in place of a mask: a filter that is made ready once for many searches. Safe to share.

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

        With `allowed`, a boolean for each row or a `filter`, only rows that are allowed; min(k, allowed rows) are found.
        Rows of equal cosine come in the order of their numbers. For several vectors, (m, d), both results are (m, found).
        Raises BadRequest for a vector of another width, one that is not finite or zero, for k < 1, and for a filter of
        another length.
        """
        if k < 1:
            raise BadRequest(f"k is {k}; at least 1 is wanted")
        wanted = self.filter(allowed) if allowed is None or isinstance(allowed, numpy.ndarray) else allowed
        vector = numpy.asarray(vector)
        directions = [direction_of(one, self.dim) for one in (vector if vector.ndim == 2 else vector[None])]
        found = [wanted.nearest(direction, k) for direction in directions]
        if vector.ndim == 1:
            return found[0]
        if not found:
            return numpy.empty((0, 0), numpy.int64), numpy.empty((0, 0), numpy.float32)
        return numpy.stack([rows for rows, _ in found]), numpy.stack([cosines for _, cosines in found])


class Filter(Protocol):
    """The allowed rows of an index, and how to search among them."""

    def nearest(self, direction: numpy.ndarray, k: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `k` best of the allowed rows, or all of them; `direction` is of length 1."""
        ...


class _FlatFilter:
    """A filter of an index that compares every row."""

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
        k = min(k, self._count)
        if k == 0:
            return numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)
        cosines, rows = self._index.search(direction[None], k, params=self._parameters)
        return best(rows[0], cosines[0], k)


class _ListsFilter:
    """The lists of an index under one filter: what is allowed of it, and how to find the best of that."""

    def __init__(self, index: VectorIndex, allowed: numpy.ndarray | None):
        self._index, self._plan, self._lists = index, index._plan, index._lists
        if index._there is not None:
            allowed = index._there if allowed is None else allowed & index._there
        self._count = len(index) if allowed is None else int(numpy.count_nonzero(allowed))
        self._allowed = allowed if self._count < len(index) else None
        self._few: numpy.ndarray | None = None  # the allowed rows, where they are few enough to be written down
        self._in_list = index._sizes  # allowed rows of each list, estimated where they are many
        if self._allowed is None:
            return
        if self._count <= COUNTED:
            self._few = numpy.flatnonzero(self._allowed)
            self._in_list = numpy.bincount(index._list_of_row[self._few], minlength=self._lists.count)
        else:
            # A stride that is odd, so that it does not keep step with runs of rows that belong together.
            some = slice(None, None, (len(index) // COUNTED) | 1)
            sample = index._list_of_row[some][self._allowed[some]]
            self._in_list = numpy.bincount(sample, minlength=self._lists.count) * some.step
        self._bitmap: numpy.ndarray | None = None

    def nearest(self, direction: numpy.ndarray, k: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        rows = self._index._rows
        k = min(k, self._count)
        if k == 0:
            return numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)
        kept = self._plan.kept(k)
        if self._few is not None and len(self._few) <= FEW:
            return rows.nearest(direction, k, self._few)
        if kept >= self._count // 4:  # nearly everything is a candidate
            return rows.nearest(direction, k, self._among())
        probe = self._lists.probe(direction)
        order, wanted = self._order(probe, k)
        # A filter may keep away from the query, and a query from all there is: then the plan is not enough.
        candidates, estimates = self._at_first(probe, order[:wanted], kept)
        harmless = self._harmless(candidates, k)
        near = probe.cosines[order[0]] if harmless else probe.cosines[order[:wanted]].mean()
        further = len(order) if self._plan.stretch(float(near)) > ASTRAY else wanted
        if harmless and further == wanted:
            there = numpy.ones(len(candidates), bool) if self._allowed is None else self._allowed[candidates]
            most = min(k, int(numpy.count_nonzero(there)))
            found, cosines = self._compared(candidates[there], estimates[there], direction, most, self._plan.slack)
            further = self._further(probe, wanted, kept, estimates, cosines)
            if len(found) == k and further == wanted:
                return found, cosines
        if further > wanted:
            around = int(numpy.searchsorted(numpy.cumsum(self._in_list[order]), AROUND)) + 1
            wanted = max(wanted, min(further, around))
        found, cosines = numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)
        first = 0
        while True:
            floor = float(cosines[-1]) if len(found) == k else -2.0
            more = self._nearest_in(order[first:wanted], probe, direction, k, floor, harmless)
            found, cosines = best(numpy.concatenate([found, more[0]]), numpy.concatenate([cosines, more[1]]), k)
            if wanted >= len(order) or (len(found) == k and not self._still_coming(found, order, wanted)):
                return found, cosines
            first, wanted = wanted, min(len(order), 2 * wanted)

    def _at_first(self, probe: codes.Probe, chosen: numpy.ndarray, kept: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """What the plan looks at first, whether it is allowed or not; nothing under a filter that forbids much."""
        if self._count * HARMLESS < len(self._index):
            return numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)
        return self._lists.scan(probe, chosen, kept)

    def _harmless(self, candidates: numpy.ndarray, k: int) -> bool:
        """Whether hardly anything is forbidden of what is nearest."""
        if self._allowed is None:
            return True
        return int(numpy.count_nonzero(self._allowed[candidates[: int(HARMLESS * k)]])) >= k

    def _further(
        self, probe: codes.Probe, wanted: int, kept: int, estimates: numpy.ndarray, cosines: numpy.ndarray
    ) -> int:
        """How many lists may hold hits, after `wanted` of them were looked at as the plan says."""
        if len(estimates) == kept and estimates[-1] >= cosines[-1] - self._plan.slack:
            return self._lists.count  # all that were kept are about as near as the k-th, and so may many others be
        if not len(cosines) or probe.cosines[probe.order[min(wanted, self._lists.count - 1)]] < cosines[-1]:
            return wanted
        # A text is no nearer to any label than to the centres of many lists: each may hold better ones than the k-th.
        return max(wanted, int(numpy.count_nonzero(probe.cosines >= cosines[-1])))

    def _nearest_in(
        self,
        chosen: numpy.ndarray,
        probe: codes.Probe,
        direction: numpy.ndarray,
        k: int,
        floor: float,
        harmless: bool,
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `k` best of the allowed rows of some lists, as far as they are above `floor`."""
        rows = self._index._rows
        in_chosen = int(self._in_list[chosen].sum())
        scanned = int(self._index._sizes[chosen].sum())
        if self._few is not None and in_chosen * EXACT_ROW_NS <= SCAN_NS + scanned * SCAN_ROW_NS:
            return rows.nearest(direction, k, self._rows_of(chosen))
        planned = self._plan.kept(k)
        most = max(planned, MOST_KEPT) if harmless else len(self._index)
        enough = in_chosen if harmless else in_chosen // WIDER
        kept = planned // WIDER if floor > -1 else planned  # above a floor there are few
        slack = self._plan.slack * self._plan.stretch(float(probe.cosines[chosen].mean()))
        slack *= 1.0 if harmless else CAREFUL
        while True:
            candidates, estimates = self._lists.scan(probe, chosen, min(kept, self._count), self._bits())
            found, cosines = self._compared(candidates, estimates, direction, min(k, len(candidates)), slack, floor)
            # Away from what is nearest, rows lie closer together than where the plan was made.
            crowded = len(candidates) == kept and estimates[-1] >= max(float(cosines[-1]), floor) - slack
            if not crowded or kept >= most:
                return found, cosines
            kept = min(WIDER * kept, most)
            if kept >= enough:
                return rows.nearest(direction, k, self._rows_of(chosen))

    def _compared(
        self,
        candidates: numpy.ndarray,
        estimates: numpy.ndarray,
        direction: numpy.ndarray,
        k: int,
        slack: float,
        floor: float = -2.0,
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `k` best of candidates, see plan.compare."""
        cosines = self._index._rows.cosines
        return plan.compare(candidates, estimates, k, slack, lambda some: cosines(some, direction), floor)

    def _rows_of(self, chosen: numpy.ndarray) -> numpy.ndarray:
        """The allowed rows of some lists, ascending."""
        index = self._index
        if self._few is None and int(index._sizes[chosen].sum()) * GATHERED < len(index):
            rows = self._lists.rows(chosen)
            return rows if self._allowed is None else rows[self._allowed[rows]]
        mark = numpy.zeros(self._lists.count, bool)
        mark[chosen] = True
        if self._few is not None:
            return self._few[mark[index._list_of_row[self._few]]]
        inside = mark[index._list_of_row]
        return numpy.flatnonzero(inside if self._allowed is None else inside & self._allowed)

    def _still_coming(self, found: numpy.ndarray, order: numpy.ndarray, wanted: int) -> bool:
        """Whether more than a few hits come from the later half of the lists looked at, so that more must lie beyond.

        A query that is near to none, and a filter that keeps away from the query, show themselves by this.
        """
        place = numpy.full(self._lists.count, len(order))
        place[order] = numpy.arange(len(order))
        late = numpy.count_nonzero(place[self._index._list_of_row[found]] >= wanted // 2)
        return bool(late > LATE * len(found))

    def _order(self, probe: codes.Probe, k: int) -> tuple[numpy.ndarray, int]:
        """The lists that may hold allowed rows, nearest first, and how many of them to look at.

        The k best of a share s of the rows lie about as deep as the k / s best of all. Where few allowed rows lie near
        the query, lists are added until they hold half of the rows that a filter of no liking leaves in as many.
        """
        wanted = self._plan.lists(k * len(self._index) / self._count, self._lists.count)
        if self._allowed is None:
            return probe.order, wanted
        order = probe.order[self._in_list[probe.order] > 0] if self._few is not None else probe.order
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
