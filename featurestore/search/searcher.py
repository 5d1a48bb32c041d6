"""Query to hits: by meaning, by words, by both, and by geometry; every filter inside the search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy

from featurestore.errors import BadRequest, NotFound, Unavailable
from featurestore.query import Query
from featurestore.search import cursor, embedders, vectors
from featurestore.search.cursor import Match, Ranking
from featurestore.search.decoder_index import DecoderIndex
from featurestore.search.hit_reasons import Why
from featurestore.search.keyword import Words
from featurestore.search.label_index import LabelIndex
from featurestore.search.near_duplicates import Groups
from featurestore.search.token_index import TokenIndex
from featurestore.snapshot.catalog import Catalog, Choice
from featurestore.snapshot.feature_page import Pages
from featurestore.values.feature import FeatureId
from featurestore.values.hits import Hit, Hits

# Reciprocal-rank fusion, Cormack, Clarke and Büttcher 2009: score = sum over rankings of weight / (FUSION + rank). Their 60,
# with equal weights, is worse than meaning alone on long labels that are much alike; `python -m bench.quality` measures it,
# and docs/search.md has the figures these are chosen by.
FUSION = 8
WEIGHTS = {"meaning": 1.0, "words": 0.5, "tokens": 0.5, "logits": 0.5}
# Each ranking that is fused is this many times as deep as the answer. Deeper ones find no more; docs/search.md.
DEPTH = 5
MIN_DEPTH = 50

# One ranking of features: the n best as (catalog number, score, what it is of: a row of labels or a feature), best first.
Found = list[tuple[int, float, int]]
Search = Callable[[int], Found]


class Searcher:
    """Answers queries over one snapshot."""

    def __init__(
        self,
        commit: int,
        pages: Pages,
        catalog: Catalog,
        decoder_index: Callable[[str], DecoderIndex],
        label_index: Callable[[], LabelIndex],
        token_index: Callable[[], TokenIndex],
        vector: Callable[[str], numpy.ndarray],
    ):
        self._commit = commit
        self._pages = pages
        self._catalog = catalog
        self._decoder_index = decoder_index
        self._label_index = label_index
        self._token_index = token_index
        self._vector = vector

    def run(self, query: Query) -> Hits:
        """The `query.k` features that follow the query's cursor, or the best, best first."""
        for id in (*query.near, *query.unlike):
            self._catalog.feature_id(id)
        choice = self._catalog.choice(query)
        notes = list(choice.notes)
        start = cursor.start_of(query, self._commit, notes)
        if not choice.count:
            notes.append("no feature is left by the filter")
            return Hits(query, (), tuple(notes))
        ranking, why = self._by_text(query, choice, notes) if query.text is not None else self._by_vector(query, choice)
        matches = cursor.in_order(ranking, query.k)
        hits = self._grouped(query, matches, why) if query.grouped else self._single(query, matches, why)
        page = tuple(islice(hits, start, start + query.k))
        full = len(page) == query.k and start + query.k < choice.count
        return Hits(query, page, tuple(notes), cursor.cursor_at(query, self._commit, start + query.k) if full else None)

    def space_of(self, id: str) -> str:
        """The space a feature's decoder vector lives in."""
        return self._catalog.dictionary(FeatureId.parse(id).dictionary).space

    # --- rankings -----------------------------------------------------------------------------------------------

    def _by_vector(self, query: Query, choice: Choice) -> tuple[Ranking, Why]:
        space, asked = self._direction(query)
        index = self._decoder_index(space)
        if len(asked) != index.dim:
            raise BadRequest(f"vector: it has {len(asked)} numbers, but vectors of space {space} have {index.dim}")
        own = {self._catalog.number(FeatureId.parse(id)) for id in (*query.near, *query.unlike)}
        sign = -1 if query.opposite else 1

        def ranking(n: int) -> list[Match]:
            numbers, cosines, layers = index.search(sign * asked, n + len(own), choice)
            found = zip(numbers.tolist(), (sign * cosines).tolist(), layers.tolist(), strict=True)
            return [
                Match(number, cosine, f"cosine {cosine:.3f}" + (f" into layer {layer}" if layer >= 0 else ""))
                for number, cosine, layer in found
                if number not in own
            ][:n]

        return ranking, Why(self._pages)

    def _direction(self, query: Query) -> tuple[str, numpy.ndarray]:
        """The space asked about, and the vector: mean direction of what it should be near less that of what it should not."""
        spaces = {
            id: self._catalog.dictionary(FeatureId.parse(id).dictionary).space for id in (*query.near, *query.unlike)
        }
        if len(set(spaces.values())) > 1:
            one, other = list(dict.fromkeys(spaces.values()))[:2]
            raise BadRequest(f"near: features of several spaces ({one}, {other}) have no mean direction")
        space = next(iter(spaces.values()), None)
        if space is not None and query.space not in (None, space):
            raise BadRequest(f"space: {next(iter(spaces))} lives in {space}, not in {query.space}")
        if query.vector is not None:
            space = self._space(query.space or space)
            vector = numpy.asarray(query.vector, dtype=numpy.float32)
            if not query.unlike:
                return space, vector
            plus = vectors.unit(vector[None])[0]
        else:
            assert space is not None
            plus = self._mean(query.near, "near")
        if not query.unlike:
            return space, plus
        minus = self._mean(query.unlike, "unlike")
        if plus.shape != minus.shape:
            raise BadRequest(f"vector: it has {len(plus)} numbers, but vectors of space {space} have {len(minus)}")
        if numpy.linalg.norm(plus - minus) < 1e-6:
            raise BadRequest("unlike: it points where the rest of the query points, so nothing is left")
        return space, plus - minus

    def _mean(self, ids: tuple[str, ...], field: str) -> numpy.ndarray:
        found = [self._vector(id) for id in ids]
        zero = [id for id, vector in zip(ids, found, strict=True) if not vector.any()]
        if zero:
            raise BadRequest(f"{field}: the decoder vector of {zero[0]} is zero, so nothing is near it")
        if len(found) == 1:
            return vectors.unit(found[0][None])[0]
        mean = vectors.unit(numpy.stack(found)).mean(axis=0)
        if numpy.linalg.norm(mean) < 1e-6:
            raise BadRequest(f"{field}: these features' directions cancel out, so nothing is near their mean")
        return mean

    def _space(self, asked: str | None) -> str:
        spaces = sorted({d.space for d in self._catalog.dictionaries})
        if asked is None and len(spaces) == 1:
            return spaces[0]
        if asked is None:
            raise BadRequest(f"space: the store has several, say which: {', '.join(spaces)}")
        if asked not in spaces:
            raise NotFound(f"no space '{asked}'; there are: {', '.join(spaces) or 'none'}")
        return asked

    def _by_text(self, query: Query, choice: Choice, notes: list[str]) -> tuple[Ranking, Why]:
        assert query.text is not None
        words = Words.of(query.text) if query.mode != "semantic" else Words(query.text, ())
        over = query.over or (("labels",) if query.mode in ("semantic", "keyword") else ("labels", "tokens"))
        searches: dict[str, Search] = {}
        try:
            labels = self._label_index() if "labels" in over else None
        except Unavailable as exc:
            # A store that was only harvested has no labels, and can be searched all the same.
            if query.over or "tokens" not in over or not self._token_index():
                raise
            labels, over = None, ("tokens",)
            notes.append(f"searched the tokens that top examples fire on only: {exc}")
        if labels:
            modes = self._modes(query, labels, words, notes)
            if "meaning" in modes:
                searches["meaning"] = _by_feature(labels, lambda n: labels.by_meaning(words.text, n, choice))
            if "words" in modes:
                searches["words"] = _by_feature(labels, lambda n: labels.by_words(words, n, choice))
        tokens = self._token_index() if set(over) - {"labels"} else None
        if tokens:
            if tokens.missing and query.over:
                count = len(tokens.missing)
                notes.append(
                    f"tokens of {count} {'dictionaries are' if count > 1 else 'dictionary is'} not indexed yet: "
                    "run `featurestore index`"
                )
            for name in over:
                if name != "labels":
                    searches[name] = _by_token(tokens, words, choice, name)
        if not words.clauses and "meaning" not in searches and searches.keys() <= {"words"}:
            notes.append("the text has no words to look for")
        why = Why(self._pages, words, labels, tokens, self._catalog)
        return _fused(searches, why) if len(searches) > 1 else _alone(*next(iter(searches.items())), why), why

    @staticmethod
    def _modes(query: Query, index: LabelIndex, words: Words, notes: list[str]) -> list[str]:
        """How labels are searched: by meaning, words or both."""
        if index.missing:
            notes.append(f"{index.missing:,} labels are newer than the index: run `featurestore index`")
        if query.mode == "semantic":
            return ["meaning"]
        if query.mode == "keyword":
            return ["words"]
        if any(clause.sign for clause in words.clauses):
            notes.append("searched by words only: + and - say which words a label must and must not have")
        elif query.mode is None and not embedders.available(index.embedder_setting or embedders.DEFAULT):
            notes.append("searched by words only: searching by meaning needs pip install 'featurestore[embed]'")
        elif query.mode is None and not index.semantic:
            notes.append("searched by words only: the labels are not embedded yet, run `featurestore index`")
        else:
            return ["meaning", "words"]
        return ["words"]

    # --- hits ---------------------------------------------------------------------------------------------------

    def _single(self, query: Query, matches: Iterator[Match], why: Why) -> Iterator[Hit]:
        while some := list(islice(matches, query.k)):
            cards = self._pages.cards([self._catalog.id(match.number) for match in some])
            for match in some:
                id = self._catalog.id(match.number)
                yield _hit(id, match, why.of(match, cards[id]), cards[id])

    def _grouped(self, query: Query, matches: Iterator[Match], why: Why) -> Iterator[Hit]:
        """Hits of the same label and nearly the same direction as one, with the others as its copies.

        Copies are looked for among as many matches as it takes to fill the page.
        """
        groups = Groups(lambda id: self._vector(str(id)), lambda id: self._catalog.dictionary(id.dictionary).space)
        waiting: list[tuple[FeatureId, Match, dict]] = []
        while some := list(islice(matches, query.k)):
            cards = self._pages.cards([self._catalog.id(match.number) for match in some])
            for match in some:
                id = self._catalog.id(match.number)
                if groups.add(id, cards[id]["label"]):
                    waiting.append((id, match, cards[id]))
            # A page is given out when it is full, so that its hits know the copies among all that was looked at.
            while len(waiting) >= query.k:
                yield from (_hit(i, m, why.of(m, c), c, groups.copies(i)) for i, m, c in waiting[: query.k])
                waiting = waiting[query.k :]
        yield from (_hit(i, m, why.of(m, c), c, groups.copies(i)) for i, m, c in waiting)


def _hit(id: FeatureId, match: Match, why: str, about: dict, copies: tuple[str, ...] = ()) -> Hit:
    card = {name: about[name] for name in ("label", "explainer", "density", "max_activation", "state")}
    return Hit(
        id=str(id), dictionary=id.dictionary, feature=id.feature, score=match.score, why=why, copies=copies, **card
    )


def _by_feature(index: LabelIndex, search: Callable[[int], tuple[numpy.ndarray, numpy.ndarray]]) -> Search:
    """The best features by their best label."""

    def found(k: int) -> Found:
        limit = k
        while True:
            rows, scores = search(limit)
            best: dict[int, tuple[int, float, int]] = {}
            for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
                number = int(index.numbers[row])
                best.setdefault(number, (number, score, row))
            if len(best) >= k or len(rows) < limit:
                return list(best.values())[:k]
            limit *= 2  # several labels of one feature took places

    return found


def _by_token(index: TokenIndex, words: Words, choice: Choice, over: str) -> Search:
    def found(k: int) -> Found:
        numbers, scores = index.search(words, k, choice, over)
        return [(number, score, number) for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)]

    return found


def _alone(name: str, search: Search, why: Why) -> Ranking:
    def ranking(n: int) -> list[Match]:
        return [Match(number, score, why.add(number, name, score, row)) for number, score, row in search(n)]

    return ranking


def _together(searches: dict[str, Search], depth: int) -> dict[str, Found]:
    """The best of each search; beside the first, which takes longest where it is by meaning, all others in one thread.

    Each in its own, and they wait for one another's interpreter as long as they save. The thread is of this search alone:
    one that is kept is missing in a process that was forked meanwhile, which would wait for it for ever.
    """
    first, *others = searches
    with ThreadPoolExecutor(1, thread_name_prefix="search") as thread:
        beside = thread.submit(lambda: {name: searches[name](depth) for name in others})
        return {first: searches[first](depth)} | beside.result()


def _fused(searches: dict[str, Search], why: Why) -> Ranking:
    """Reciprocal-rank fusion of rankings, scaled so that what is first in all of them has 1."""
    weight = {name: WEIGHTS[name] / sum(WEIGHTS[name] for name in searches) for name in searches}

    def ranking(n: int) -> list[Match]:
        depth = max(MIN_DEPTH, DEPTH * n)
        scores: dict[int, float] = {}
        for name, found in _together(searches, depth).items():
            for rank, (number, score, row) in enumerate(found, 1):
                scores[number] = scores.get(number, 0.0) + weight[name] * (FUSION + 1) / (FUSION + rank)
                why.add(number, name, score, row, rank)
        best = sorted(scores, key=lambda number: (-scores[number], number))[:n]
        return [Match(number, scores[number], "") for number in best]

    return ranking
