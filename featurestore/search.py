"""Query to hits: by meaning, by words, by both, and by geometry; every filter inside the search."""

from __future__ import annotations

from collections.abc import Callable

import numpy

from featurestore import embed
from featurestore.catalog import Catalog
from featurestore.errors import BadRequest, NotFound
from featurestore.indexes import DecoderIndex, LabelIndex
from featurestore.page import Pages
from featurestore.query import Query
from featurestore.records import Hit, Hits

# Reciprocal-rank fusion, Cormack, Clarke and Büttcher 2009: score = sum over rankings of 1 / (60 + rank).
FUSION = 60
# Each ranking that is fused is this many times as deep as the answer.
DEPTH = 5
MIN_DEPTH = 100

Found = dict[int, tuple[float, str]]  # catalog number -> score and why, best first


class Searcher:
    """Answers queries over one snapshot."""

    def __init__(
        self,
        pages: Pages,
        catalog: Catalog,
        decoder_index: Callable[[str], DecoderIndex],
        label_index: Callable[[], LabelIndex],
        vector: Callable[[str], numpy.ndarray],
    ):
        self._pages = pages
        self._catalog = catalog
        self._decoder_index = decoder_index
        self._label_index = label_index
        self._vector = vector

    def run(self, query: Query) -> Hits:
        """The best `query.k` features, best first."""
        if query.near is not None:
            self._catalog.feature_id(query.near)
        allowed, notes = self._catalog.allowed(query)
        if not allowed.any():
            notes.append("no feature is left by the filter")
            return Hits(query, (), tuple(notes))
        found = self._by_text(query, allowed, notes) if query.text is not None else self._by_vector(query, allowed)
        return Hits(query, self._hits(found), tuple(notes))

    def _by_vector(self, query: Query, allowed: numpy.ndarray) -> Found:
        if query.near is not None:
            asked = self._catalog.feature_id(query.near)
            space = self._catalog.dictionary(asked.dictionary).space
            if query.space not in (None, space):
                raise BadRequest(f"space: {query.near} lives in {space}, not in {query.space}")
            vector = self._vector(query.near)
            allowed = allowed.copy()
            allowed[self._catalog.number(asked)] = False
            if not vector.any():
                raise BadRequest(f"near: the decoder vector of {query.near} is zero, so nothing is near it")
        else:
            space = self._space(query.space)
            vector = numpy.asarray(query.vector, dtype=numpy.float32)
        index = self._decoder_index(space)
        if len(vector) != index.dim:
            raise BadRequest(f"vector: it has {len(vector)} numbers, but vectors of space {space} have {index.dim}")
        numbers, scores = index.search(vector, query.k, allowed)
        return {int(n): (float(s), f"cosine {s:.3f}") for n, s in zip(numbers, scores, strict=True)}

    def _space(self, asked: str | None) -> str:
        spaces = sorted({d.space for d in self._catalog.dictionaries})
        if asked is None and len(spaces) == 1:
            return spaces[0]
        if asked is None:
            raise BadRequest(f"space: the store has several, say which: {', '.join(spaces)}")
        if asked not in spaces:
            raise NotFound(f"no space '{asked}'; there are: {', '.join(spaces) or 'none'}")
        return asked

    def _by_text(self, query: Query, allowed: numpy.ndarray, notes: list[str]) -> Found:
        assert query.text is not None
        index = self._label_index()
        if index.missing:
            notes.append(f"{index.missing:,} labels are newer than the index: run `featurestore index`")
        mode = query.mode or "hybrid"
        if query.mode is None and not embed.available(index.embedder_setting or embed.DEFAULT):
            notes.append("searched by words only: searching by meaning needs pip install 'featurestore[embed]'")
            mode = "keyword"
        elif query.mode is None and not index.semantic:
            notes.append("searched by words only: the labels are not embedded yet, run `featurestore index`")
            mode = "keyword"
        if mode == "semantic":
            ranked = self._features(index, index.by_meaning, query.text, query.k, allowed)
            return {n: (s, f"meaning {s:.2f}") for n, s, _ in ranked}
        if mode == "keyword":
            ranked = self._features(index, index.by_words, query.text, query.k, allowed)
            return {n: (s, f"words {s:.1f}") for n, s, _ in ranked}
        depth = max(MIN_DEPTH, DEPTH * query.k)
        scores: dict[int, float] = {}
        why: dict[int, list[str]] = {}
        for name, search in (("meaning", index.by_meaning), ("words", index.by_words)):
            for rank, (number, score, _) in enumerate(self._features(index, search, query.text, depth, allowed), 1):
                # Scaled so that first in both rankings is 1.
                scores[number] = scores.get(number, 0.0) + (FUSION + 1) / 2 / (FUSION + rank)
                shown = f"{score:.2f}" if name == "meaning" else f"{score:.1f}"
                why.setdefault(number, []).append(f"{name} {shown} (#{rank})")
        best = sorted(scores, key=lambda number: (-scores[number], number))[: query.k]
        return {number: (scores[number], ", ".join(why[number])) for number in best}

    @staticmethod
    def _features(
        index: LabelIndex, search: Callable, words: str, k: int, allowed: numpy.ndarray
    ) -> list[tuple[int, float, int]]:
        """The best k features by their best label: (catalog number, score, label row), best first."""
        limit = k
        while True:
            rows, scores = search(words, limit, allowed)
            best: dict[int, tuple[int, float, int]] = {}
            for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
                number = int(index.numbers[row])
                best.setdefault(number, (number, score, row))
            if len(best) >= k or len(rows) < limit:
                return list(best.values())[:k]
            limit *= 2  # several labels of one feature took places

    def _hits(self, found: Found) -> tuple[Hit, ...]:
        if not found:
            return ()
        ids = [self._catalog.id(number) for number in found]
        about = self._pages.cards(ids)
        hits = []
        for id, (score, why) in zip(ids, found.values(), strict=True):
            card = {name: about[id][name] for name in ("label", "explainer", "density", "max_activation", "state")}
            hits.append(Hit(id=str(id), dictionary=id.dictionary, feature=id.feature, score=score, why=why, **card))
        return tuple(hits)
