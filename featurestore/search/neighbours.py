"""The neighbourhood of a feature, and the features of a dictionary that other dictionaries have too."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy

from featurestore.display.float32 import round_float32
from featurestore.errors import BadRequest, NotFound, Unavailable
from featurestore.ids import DictionariesLike, dictionary_texts
from featurestore.notes import Notes
from featurestore.progress import Progress, Stage
from featurestore.query import Query
from featurestore.search import vectors
from featurestore.search.decoder_index import DecoderIndex
from featurestore.search.direction import space_of
from featurestore.search.searcher import Searcher
from featurestore.snapshot.catalog import Catalog, Choice
from featurestore.snapshot.feature_page import FeaturePages
from featurestore.values.feature import Feature, LabelledNeighbour
from featurestore.values.hits import Duplicate, Duplicates, Edge, Hit, Neighbourhood

MOST_NEAR, MOST_PAIRS = 50, 10_000
EMPTY = "{} is an empty list, which matches nothing"
LABELLED = 3  # neighbours with a label that stand in for one


def find_labelled(searcher: Searcher, page: Feature) -> tuple[LabelledNeighbour, ...]:
    """The nearest features of the same dictionary that have a label; none where vectors or their index are missing."""
    query = Query.of({"near": page.id, "within": page.dictionary, "where": "has_label", "k": LABELLED, "group": False})
    try:
        hits = searcher.run(query).hits
    except (BadRequest, NotFound, Unavailable):  # a zero vector is near nothing
        return ()
    return tuple(
        LabelledNeighbour(id=hit.id, label=hit.label, explainer=hit.explainer or "", cosine=hit.score)
        for hit in hits
        if hit.label is not None
    )


def neighbourhood(
    searcher: Searcher,
    vector: Callable[[str], numpy.ndarray],
    id: str,
    k: int,
    within: DictionariesLike | None,
) -> Neighbourhood:
    """A feature, its k nearest and their k nearest; see FeatureStore.neighbourhood.

    Raises BadRequest for a k out of range, BadRequest or NotFound for an unknown feature.
    """
    if not 1 <= k <= MOST_NEAR:
        raise BadRequest(f"k: {k} is not between 1 and {MOST_NEAR}")
    only = None if within is None else tuple(dictionary_texts(within))
    near = searcher.run(Query.of({"near": id, "k": k, "within": only}))
    nodes: dict[str, Hit] = {hit.id: hit for hit in near}
    edges = {(id, hit.id): hit.score for hit in near}
    for hit in near:
        for other in searcher.run(Query.of({"near": hit.id, "k": k, "within": only})):
            edges[hit.id, other.id] = other.score
            nodes.setdefault(other.id, other)
    centre = searcher.run(
        Query.of({"vector": vector(id).tolist(), "space": searcher.space_of(id), "among": (id,), "k": 1, "all": True})
    )
    nodes.pop(id, None)
    # The score of every node is its cosine to the centre, in the second ring too.
    direction = vectors.unit(vector(id)[None])[0]
    others = [_score(hit, direction, vector) for hit in nodes.values()]
    others.sort(key=lambda hit: (-hit.score, hit.id))
    return Neighbourhood(
        id=centre[0].id,
        nodes=(centre[0], *others),
        edges=tuple(Edge(source, target, cosine) for (source, target), cosine in edges.items()),
        notes=near.notes,
        note_codes=near.note_codes,
    )


def _score(hit: Hit, direction: numpy.ndarray, vector: Callable[[str], numpy.ndarray]) -> Hit:
    cosine = round_float32(vectors.unit(vector(hit.id)[None])[0] @ direction)
    return msgspec.structs.replace(hit, score=cosine, why=f"cosine {cosine:.3f}")


def duplicates(
    catalog: Catalog,
    pages: FeaturePages,
    decoder_index: Callable[[str], DecoderIndex],
    vectors_of: Callable[[str], Iterator[numpy.ndarray]],
    dictionary: str,
    against: str | Sequence[str] | None,
    cosine: float,
    k: int,
    progress: Progress,
) -> Duplicates:
    """The nearest pairs of a dictionary's features and those of others; see FeatureStore.duplicates.

    Raises BadRequest for numbers out of range and for dictionaries of other spaces, NotFound for unknown ones.
    """
    _check_limits(cosine, k)
    space = space_of(catalog, dictionary)
    others = _others(catalog, dictionary, against)
    if against is not None and not others:
        empty = Notes().add("empty_list", EMPTY.format("against"))
        return Duplicates(dictionary=dictionary, compared=0, pairs=(), **empty.fields())
    if not others:
        raise BadRequest(f"against: no other dictionary of the store lives in {space}; name {dictionary} itself")
    choice = catalog.choice(Query.of({"text": "-", "within": (dictionary,)}))
    choice_of_others = catalog.choice(Query.of({"text": "-", "within": tuple(others)}))
    index, first = decoder_index(space), catalog.run(dictionary).start
    stage = progress(f"comparing {dictionary}", catalog.dictionary(dictionary).d_sae)
    pairs: dict[Hashable, _Pair] = {}
    compared = 0
    for number, vector in enumerate(_rows(vectors_of(dictionary), stage), first):
        if choice.mask[number] and vector.any():
            compared += 1
            for pair in _nearest(index, vector.astype(numpy.float32), number, choice_of_others, cosine):
                # A pair within one dictionary may be found from both ends.
                pairs[frozenset((pair.first, pair.second))] = pair
    best = sorted(pairs.values(), key=lambda pair: (-pair.cosine, pair.first, pair.second))
    sentence = f"{len(best):,} of {compared:,} features have one of cosine {cosine:g} or more"
    notes = Notes().add("paired", sentence, paired=len(best), compared=compared, cosine=cosine)
    return Duplicates(
        dictionary=dictionary,
        compared=compared,
        pairs=tuple(_duplicates(catalog, pages, best[:k])),
        **notes.extend(choice.notes).fields(),
    )


def _check_limits(cosine: float, k: int) -> None:
    if not -1 <= cosine <= 1:
        raise BadRequest(f"cosine: {cosine} is not between -1 and 1")
    if not 1 <= k <= MOST_PAIRS:
        raise BadRequest(f"k: {k} is not between 1 and {MOST_PAIRS:,}")


def _rows(matrices: Iterator[numpy.ndarray], stage: Stage) -> Iterator[numpy.ndarray]:
    """Yield the rows of matrices, and report each matrix when its rows are done."""
    for matrix in matrices:
        yield from matrix
        stage(len(matrix))


class _Pair(NamedTuple):
    """Two features by their catalog numbers."""

    cosine: float
    first: int
    second: int


def _others(catalog: Catalog, dictionary: str, against: str | Sequence[str] | None) -> list[str]:
    """The dictionaries to compare with: those named, or all others of the same space."""
    space = space_of(catalog, dictionary)
    if against is None:
        return [d.dictionary for d in catalog.dictionaries if d.space == space and d.dictionary != dictionary]
    names = [against] if isinstance(against, str) else list(against)
    for name in names:
        if catalog.dictionary(name).space != space:
            raise BadRequest(f"against: {name} lives in {catalog.dictionary(name).space}, not in {space}")
    return names


def _nearest(index: DecoderIndex, vector: numpy.ndarray, number: int, choice: Choice, cosine: float) -> list[_Pair]:
    """The pair of a feature and its nearest other one, in a list; an empty list where no cosine is large enough."""
    numbers, cosines, _ = index.search(vector, 2, choice)  # the feature itself may be among them
    for other, score in zip(numbers.tolist(), cosines.tolist(), strict=True):
        if other != number:
            return [_Pair(score, number, other)] if score >= cosine else []
    return []


def _duplicates(catalog: Catalog, pages: FeaturePages, pairs: Sequence[_Pair]) -> Iterator[Duplicate]:
    numbers = dict.fromkeys(number for pair in pairs for number in (pair.first, pair.second))
    cards = pages.cards([catalog.id(number) for number in numbers])
    for pair in pairs:
        id, other = catalog.id(pair.first), catalog.id(pair.second)
        yield Duplicate(
            id=str(id),
            label=cards[id].label,
            other=str(other),
            other_label=cards[other].label,
            cosine=round_float32(pair.cosine),
        )
