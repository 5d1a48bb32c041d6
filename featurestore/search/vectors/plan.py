"""How far to look: lists to probe and candidates to compare exactly, tuned on held-out queries against exact search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import faiss
import msgspec
import numpy

from featurestore.search.vectors.codes import Lists
from featurestore.search.vectors.rows import VectorRows, best, unit

QUERIES = 128
DEPTHS = (10, 100, 1000)  # of exact neighbours whose lists are looked up
CANDIDATES = (256, 512, 1024, 2048, 4096)
SLACKS = (0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.045, 0.05, 0.06, 0.07, 0.08, 0.1, 0.13, 0.16, 0.2, 0.3, 2.0)
# Half of the queries are rows of the index, half are such rows with noise of half their length added (a cosine of 0.9
# to the row): a probe or steering vector lies near features, not on one.
NOISE = 0.5
BLOCK = 16_384
# Held-out queries are few, so they must reach this much more than the recall that is wanted.
MARGIN = 0.01


# Queries, (q, d) of length 1, and the row that each must not find, (q,) int64; -1 for none.
Asked = tuple[numpy.ndarray, numpy.ndarray]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """The recall of the nearest 10 that searches of one kind of queries have, with its standard error."""

    recall: float
    error: float
    queries: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a search needs, and the recall it was measured to have.

    The lists whose cosine to the query is at most `gaps[i]` below that of the nearest list hold enough of the nearest
    `depths[i]` rows, and so do the nearest `probes[i]`: the fewer of both are probed. `candidates[i]` rows of largest
    estimate are kept for the first or second of `depths`; of these all are compared exactly whose estimate is less than
    `slack` below the k-th best cosine. `near` is the mean cosine of queries to the lists that hold their neighbours:
    errors of estimates, and with them `slack`, depend on it. `asked` and `reached` are recalls. Queries far from all
    rows are looked for `effort` times as far as they need not be; `kinds` has the recall of each kind of queries then.
    """

    depths: tuple[int, ...]
    gaps: tuple[float, ...]
    probes: tuple[int, ...]
    candidates: tuple[int, ...]
    slack: float
    near: float = 0.5
    asked: float
    reached: float
    queries: int
    rows: int
    effort: int = 1
    kinds: dict[str, Kind] = {}

    def reach(self, depth: float) -> tuple[float, int]:
        """The gap below the nearest list's cosine, and the number of lists, that hold the nearest `depth` rows."""
        most = int(numpy.ceil(_on_curve(depth, self.depths, self.probes)))
        x = numpy.log(self.depths)
        if depth <= self.depths[-1] or len(self.depths) == 1:
            return float(numpy.interp(numpy.log(depth), x, self.gaps)), most
        slope = (self.gaps[-1] - self.gaps[-2]) / (x[-1] - x[-2])
        return float(self.gaps[-1] + slope * (numpy.log(depth) - x[-1])), most

    def stretch(self, near: float) -> float:
        """How many times larger errors of estimates are in lists at this mean cosine than where the plan was tuned.

        They grow with the distance of the query from the list's centroid.
        """
        return float(max(1.0, ((1 - near) / (1 - min(self.near, 0.99))) ** 0.5))

    def count_candidates(self, k: int) -> int:
        """The number of candidates to keep for `k` results."""
        depths = self.depths[: len(self.candidates)]
        return max(2 * k, int(numpy.ceil(_on_curve(k, depths, self.candidates))))


def _on_curve(at: float, places: tuple[int, ...], values: tuple[int, ...]) -> float:
    """Straight lines between the logarithms of the points; level before the first, as steep as ever after the last."""
    if at <= places[0] or len(places) == 1:
        return values[0] if at <= places[0] else values[0] * at / places[0]
    x, y = numpy.log(places), numpy.log(values)
    if at <= places[-1]:
        return float(numpy.exp(numpy.interp(numpy.log(at), x, y)))
    slope = max((y[-1] - y[-2]) / (x[-1] - x[-2]), 0.5)
    return float(numpy.exp(y[-1] + slope * (numpy.log(at) - x[-1])))


def compare(
    rows: numpy.ndarray,
    estimates: numpy.ndarray,
    k: int,
    slack: float,
    cosines: Callable[[numpy.ndarray], numpy.ndarray],
    floor: float = -2.0,
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The `k` best of candidates, largest estimate first, by exact cosines; and those cosines.

    Candidates are compared in growing batches, until the next estimate is more than `slack` below the k-th best cosine,
    or below `floor`, the k-th best cosine of other lists.
    """
    if k == 0:
        return rows[:0], numpy.empty(0, numpy.float32)
    done, exact = 0, numpy.empty(len(rows), numpy.float32)
    limit = min(len(rows), max(2 * k, 64))
    while done < limit:
        exact[done:limit] = cosines(rows[done:limit])
        done = limit
        if done < len(rows):
            least = max(numpy.partition(exact[:done], -k)[-k], floor) - slack
            wanted = int(numpy.searchsorted(-estimates, -least, side="right"))
            limit = min(len(rows), wanted, 4 * done)
    return best(rows[:done], exact[:done], k)


def tune(
    lists: Lists,
    list_of_row: numpy.ndarray,
    rows: VectorRows,
    recall: float,
    advance: Callable[[int], None] | None = None,
    also: Sequence[Asked] = (),
) -> Plan:
    """The cheapest plan that finds `recall` of the nearest 10 and 100, or the best there is.

    It looks far enough for each of the kinds of queries in `also` too.
    """
    rng = numpy.random.default_rng(1)
    queries, own = draw_queries(rows, rng)
    if not len(queries):
        return _plan_of_zeros(len(rows), recall)
    depths = tuple(depth for depth in DEPTHS if depth <= max(DEPTHS[0], len(rows) // 20))
    counts = [len(queries), *(len(pair[0]) for pair in also)]
    all_queries, all_own = (numpy.concatenate([pair[n] for pair in ((queries, own), *also)]) for n in (0, 1))
    all_truth, all_cosines = nearest_rows(rows, all_queries, all_own, depths[-1], advance)
    of_kinds = numpy.split(all_truth, numpy.cumsum(counts)[:-1])
    truth, true_cosines = of_kinds[0], all_cosines[: len(queries)]
    aim = min(1.0, recall + MARGIN)
    # A third of what may be missed for lists that are too far, one for more lists than are probed, one for candidates.
    asked = [queries, *(pair[0] for pair in also)]
    reaches = [
        _reach(lists, list_of_row, *pair, depths, 1 - (1 - aim) / 3) for pair in zip(asked, of_kinds, strict=True)
    ]
    gaps, probes = (tuple(map(max, zip(*of_kind, strict=True))) for of_kind in zip(*reaches, strict=True))
    search = _Search(lists, rows, queries, own, true_cosines)
    candidates, slack = [], 0.0
    for depth, gap, most in zip(depths[:2], gaps, probes, strict=False):
        kept, wanted = search.cheapest(depth, gap, most, aim)
        candidates.append(kept)
        slack = max(slack, wanted)
    reached = search.recall(depths[0], gaps[0], probes[0], candidates[0], slack)
    return Plan(
        depths=depths,
        gaps=gaps,
        probes=probes,
        candidates=tuple(candidates),
        slack=slack,
        near=round(_near(lists, queries, list_of_row[truth[:, : depths[0]]]), 3),
        asked=recall,
        reached=round(reached, 4),
        queries=len(queries),
        rows=len(rows),
    )


def _plan_of_zeros(rows: int, recall: float) -> Plan:
    """The plan of an index with nothing but zeros, of which none is nearer than another."""
    return Plan(
        depths=(1,),
        gaps=(0.0,),
        probes=(1,),
        candidates=(1,),
        slack=0.0,
        asked=recall,
        reached=1.0,
        queries=0,
        rows=rows,
    )


def draw_queries(rows: VectorRows, rng: numpy.random.Generator) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Held-out queries, (q, d) of length 1, and the row that each must not find, (q,) int64; -1 for none."""
    chosen = numpy.sort(rng.choice(len(rows), min(QUERIES, len(rows)), replace=False))
    queries = unit(rows.take(chosen))
    nonzero = numpy.linalg.norm(queries, axis=1) > 0
    queries, own = queries[nonzero], chosen[nonzero].astype(numpy.int64)
    noise = unit(rng.standard_normal(queries.shape))
    queries[::2] = unit(queries[::2] + NOISE * noise[::2])
    own[::2] = -1
    return queries, own


def nearest_rows(
    rows: VectorRows, queries: numpy.ndarray, own: numpy.ndarray, depth: int, advance: Callable[[int], None] | None
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Row numbers and cosines, (q, depth), of the exact neighbours of each query without its own row, best first."""
    depth += 1
    best_cosines = numpy.full((len(queries), depth), -numpy.inf, numpy.float32)
    best_rows = numpy.full((len(queries), depth), -1, numpy.int64)
    for first, block in rows.blocks(BLOCK):
        count = min(depth, len(block))
        cosines, numbers = faiss.knn(queries, unit(block), count, metric=faiss.METRIC_INNER_PRODUCT)
        all_cosines = numpy.concatenate([best_cosines, cosines], axis=1)
        all_rows = numpy.concatenate([best_rows, numbers + first], axis=1)
        order = numpy.argsort(-all_cosines, axis=1, kind="stable")[:, :depth]
        best_cosines = numpy.take_along_axis(all_cosines, order, axis=1)
        best_rows = numpy.take_along_axis(all_rows, order, axis=1)
        if advance:
            advance(len(block))
    other = best_rows != own[:, None]
    other &= numpy.cumsum(other, axis=1) < depth  # the last one too many, where a query has no row of its own
    shape = (len(queries), -1)
    return best_rows[other].reshape(shape), best_cosines[other].reshape(shape)


def _reach(
    lists: Lists,
    list_of_row: numpy.ndarray,
    queries: numpy.ndarray,
    truth: numpy.ndarray,
    depths: tuple[int, ...],
    share: float,
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """For each depth, how far to look for `share` of the neighbours up to it.

    Returns the gap below the nearest list's cosine of lists that hold so many, and the number of nearest lists that do.
    """
    gaps, places = numpy.empty(truth.shape), numpy.empty(truth.shape, numpy.int64)
    for number, query in enumerate(queries):
        probe = lists.probe(query)
        own = list_of_row[truth[number]]
        gaps[number] = probe.cosines.max() - probe.cosines[own]
        place = numpy.empty(lists.count, numpy.int64)
        place[probe.order] = numpy.arange(lists.count)
        places[number] = place[own]

    def quantiles(values: numpy.ndarray) -> numpy.ndarray:
        """The largest value up to each depth among `share` of `values`, (queries, depth)."""
        of_depths = [numpy.quantile(values[:, :depth], share, method="higher") for depth in depths]
        return numpy.maximum.accumulate(of_depths)

    return tuple((numpy.ceil(quantiles(gaps) * 1e4) / 1e4).tolist()), tuple((quantiles(places) + 1).tolist())


def _near(lists: Lists, queries: numpy.ndarray, of_neighbours: numpy.ndarray) -> float:
    """The mean cosine of queries to the lists of their neighbours, (q, depth) list numbers."""
    cosines = [lists.probe(query).cosines[own] for query, own in zip(queries, of_neighbours, strict=True)]
    return float(numpy.mean(cosines))


class _Search:
    """Searches of the held-out queries with other numbers each time; candidates are scanned and compared once."""

    def __init__(
        self, lists: Lists, rows: VectorRows, queries: numpy.ndarray, own: numpy.ndarray, truth: numpy.ndarray
    ):
        """`truth`: cosines of each query's exact neighbours, best first."""
        self._lists, self._rows, self._queries, self._own, self._truth = lists, rows, queries, own, truth
        self._scanned: dict[tuple[float, int], list[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]] = {}

    def _scan(self, gap: float, most: int) -> list[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]:
        if (gap, most) not in self._scanned:
            self._scanned[gap, most] = []
            for query, own in zip(self._queries, self._own, strict=True):
                probe = self._lists.probe(query)
                chosen = probe.order[: min(most, probe.within(gap, probe.order))]
                rows, estimates = self._lists.scan(probe, chosen, min(CANDIDATES[-1], len(self._rows)))
                other = rows != own
                rows, estimates = rows[other], estimates[other]
                self._scanned[gap, most].append((rows, estimates, self._rows.cosines(rows, query)))
        return self._scanned[gap, most]

    def recall(self, k: int, gap: float, most: int, kept: int, slack: float) -> float:
        """The share of each query's k nearest that is found; rows as near as the k-th are as good as it."""
        shares = []
        for (rows, estimates, cosines), truth in zip(self._scan(gap, most), self._truth, strict=True):
            places = numpy.arange(min(kept, len(rows)))
            _, nearest = compare(places, estimates[:kept], min(k, max(1, len(rows))), slack, cosines.__getitem__)
            enough = truth[:k][-1] - 1e-6  # cosines computed in another order differ in their last digit
            shares.append(numpy.count_nonzero(nearest >= enough) / len(truth[:k]))
        return float(numpy.mean(shares))

    def cheapest(self, k: int, gap: float, probes: int, aim: float) -> tuple[int, float]:
        """The fewest candidates that reach `aim`, or nearly the best recall there is; then the smallest slack."""
        most = self.recall(k, gap, probes, CANDIDATES[-1], SLACKS[-1])
        aim = min(aim, most - 0.001)
        kept = next(
            count for count in CANDIDATES if count >= 2 * k and self.recall(k, gap, probes, count, SLACKS[-1]) >= aim
        )
        return kept, next(slack for slack in SLACKS if self.recall(k, gap, probes, kept, slack) >= aim)
