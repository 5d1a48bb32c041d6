"""What lies near a feature, and which features of a dictionary are in others too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy

from featurestore.errors import BadRequest
from featurestore.progress import Progress
from featurestore.query import Query
from featurestore.search import vectors
from featurestore.search.decoder_index import DecoderIndex
from featurestore.search.searcher import Searcher
from featurestore.snapshot.catalog import Catalog, Choice
from featurestore.snapshot.feature_page import Card, FeaturePages
from featurestore.values.feature import FeatureId
from featurestore.values.hits import Duplicate, Duplicates, Edge, Hit, Neighbourhood

MOST_NEAR, MOST_PAIRS = 50, 10_000


def neighbourhood(
    searcher: Searcher, vector: Callable[[str], numpy.ndarray], id: str, k: int, within: str | Sequence[str]
) -> Neighbourhood:
    """A feature, its k nearest and theirs; see FeatureStore.neighbourhood."""
    if not 1 <= k <= MOST_NEAR:
        raise BadRequest(f"k: {k} is not between 1 and {MOST_NEAR}")
    only = (within,) if isinstance(within, str) else tuple(within)
    near = searcher.run(Query.of(near=id, k=k, within=only))
    nodes: dict[str, Hit] = {hit.id: hit for hit in near}
    edges = {(id, hit.id): hit.score for hit in near}
    for hit in near:
        for other in searcher.run(Query.of(near=hit.id, k=k, within=only)):
            edges[hit.id, other.id] = other.score
            nodes.setdefault(other.id, other)
    centre = searcher.run(Query.of(vector=vector(id).tolist(), space=searcher.space_of(id), among=(id,), k=1, all=True))
    nodes.pop(id, None)
    # Every node says how near it is to the centre, those of the second ring too.
    direction = vectors.unit(vector(id)[None])[0]
    placed = [_placed(hit, direction, vector) for hit in nodes.values()]
    placed.sort(key=lambda hit: (-hit.score, hit.id))
    return Neighbourhood(
        id=centre[0].id,
        nodes=(centre[0], *placed),
        edges=tuple(Edge(source, target, cosine) for (source, target), cosine in edges.items()),
        notes=near.notes,
    )


def _placed(hit: Hit, direction: numpy.ndarray, vector: Callable[[str], numpy.ndarray]) -> Hit:
    cosine = float(vectors.unit(vector(hit.id)[None])[0] @ direction)
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
    """The nearest pairs of two dictionaries' features; see FeatureStore.duplicates."""
    if not -1 <= cosine <= 1:
        raise BadRequest(f"cosine: {cosine} is not between -1 and 1")
    if not 1 <= k <= MOST_PAIRS:
        raise BadRequest(f"k: {k} is not between 1 and {MOST_PAIRS:,}")
    one = catalog.dictionary(dictionary)
    others = _others(catalog, dictionary, against)
    if not others:
        raise BadRequest(f"against: no other dictionary of the store lives in {one.space}; name {dictionary} itself")
    mine = catalog.choice(Query.of(text="-", within=(dictionary,)))
    theirs = catalog.choice(Query.of(text="-", within=tuple(others)))
    index, run = decoder_index(one.space), catalog.run(dictionary)
    advance = progress(f"comparing {dictionary}", one.d_sae)
    found: list[tuple[float, int, int]] = []
    compared, feature = 0, run.start
    for matrix in vectors_of(dictionary):
        for number, vector in enumerate(matrix, feature):
            if mine.mask[number] and vector.any():
                compared += 1
                found += _nearest(index, vector.astype(numpy.float32), number, theirs, cosine)
        feature += len(matrix)
        advance(len(matrix))
    if dictionary in others:  # a pair within it may have been found from both ends
        found = list({frozenset((first, second)): (score, first, second) for score, first, second in found}.values())
    best = sorted(found, key=lambda pair: (-pair[0], *pair[1:]))
    shown = best[:k]
    cards = pages.cards(
        [catalog.id(number) for number in dict.fromkeys(n for _, first, second in shown for n in (first, second))]
    )
    return Duplicates(
        dictionary=dictionary,
        compared=compared,
        pairs=tuple(_pair(catalog.id(first), catalog.id(second), score, cards) for score, first, second in shown),
        notes=(f"{len(best):,} of {compared:,} features have one of cosine {cosine:g} or more", *mine.notes),
    )


def _others(catalog: Catalog, dictionary: str, against: str | Sequence[str] | None) -> list[str]:
    space = catalog.dictionary(dictionary).space
    if against is None:
        return [d.dictionary for d in catalog.dictionaries if d.space == space and d.dictionary != dictionary]
    named = [against] if isinstance(against, str) else list(against)
    for name in named:
        if catalog.dictionary(name).space != space:
            raise BadRequest(f"against: {name} lives in {catalog.dictionary(name).space}, not in {space}")
    return named


def _nearest(
    index: DecoderIndex, vector: numpy.ndarray, number: int, choice: Choice, cosine: float
) -> list[tuple[float, int, int]]:
    numbers, cosines, _ = index.search(vector, 2, choice)  # the feature itself may be among them
    for other, score in zip(numbers.tolist(), cosines.tolist(), strict=True):
        if other != number:
            return [(score, number, other)] if score >= cosine else []
    return []


def _pair(first: FeatureId, second: FeatureId, cosine: float, cards: Mapping[FeatureId, Card]) -> Duplicate:
    return Duplicate(
        id=str(first),
        label=cards[first].label,
        other=str(second),
        other_label=cards[second].label,
        cosine=cosine,
    )
