"""Queries by geometry: the vector that a query describes, and the ranking of features by their cosine to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy

from featurestore.errors import BadRequest, NotFound
from featurestore.query import Query
from featurestore.search import vectors
from featurestore.search.cursor import Match
from featurestore.search.decoder_index import DecoderIndex
from featurestore.snapshot.catalog import Catalog, Choice

# Sums of unit vectors shorter than this have no direction worth searching in.
SHORTEST = 1e-6


class VectorRanking:
    """Ranks features by the cosine of their decoder vectors to a direction, leaving some features out."""

    def __init__(
        self,
        index: DecoderIndex,
        direction: numpy.ndarray,
        choice: Choice,
        left_out: Collection[int] = (),
        opposite: bool = False,
    ):
        """`left_out` are catalog numbers. With `opposite` the smallest cosines come first."""
        self._index = index
        self._sign = -1 if opposite else 1
        self._direction = self._sign * direction
        self._choice = choice
        self._left_out = frozenset(left_out)
        self._layers: dict[int, int] = {}

    def __call__(self, n: int) -> list[Match]:
        """Return the n best features, best first; their scores are cosines to the direction."""
        numbers, cosines, layers = self._index.search(self._direction, n + len(self._left_out), self._choice)
        matches = []
        for number, cosine, layer in zip(
            numbers.tolist(), (self._sign * cosines).tolist(), layers.tolist(), strict=True
        ):
            if number not in self._left_out:
                matches.append(Match(number, cosine))
                self._layers[number] = layer
        return matches[:n]

    def layer(self, number: int) -> int | None:
        """The layer whose vector made a ranked feature a match; None for features with one vector alone."""
        layer = self._layers[number]
        return layer if layer >= 0 else None


def find_direction(
    query: Query, catalog: Catalog, read_vector: Callable[[str], numpy.ndarray]
) -> tuple[str, numpy.ndarray]:
    """Return the space a query asks about and its vector, (d,) float32.

    The vector is the given one, or the mean direction of the features to be near to, less that of those to be unlike.
    Raises BadRequest or NotFound for features, spaces and vectors that do not go together.
    """
    space = _common_space(query, catalog)
    if query.vector is not None:
        space = _choose_space(catalog, query.space or space)
        vector = numpy.asarray(query.vector, dtype=numpy.float32)
        if not query.unlike:
            return space, vector
        plus = vectors.unit(vector[None])[0]
    else:
        assert space is not None
        plus = _mean_direction(query.near, "near", read_vector)
    if not query.unlike:
        return space, plus
    minus = _mean_direction(query.unlike, "unlike", read_vector)
    if plus.shape != minus.shape:
        raise BadRequest(f"vector: it has {len(plus)} numbers, but vectors of space {space} have {len(minus)}")
    if numpy.linalg.norm(plus - minus) < SHORTEST:
        raise BadRequest("unlike: it points where the rest of the query points, so nothing is left")
    return space, plus - minus


def _common_space(query: Query, catalog: Catalog) -> str | None:
    """The one space that the query's features live in; None for a query without features."""
    spaces = {id: space_of(catalog, catalog.parse(id).dictionary) for id in (*query.near, *query.unlike)}
    if len(set(spaces.values())) > 1:
        first, second = list(dict.fromkeys(spaces.values()))[:2]
        raise BadRequest(f"near: features of several spaces ({first}, {second}) have no mean direction")
    space = next(iter(spaces.values()), None)
    if space is not None and query.space not in (None, space):
        raise BadRequest(f"space: {next(iter(spaces))} lives in {space}, not in {query.space}")
    return space


def space_of(catalog: Catalog, dictionary: str) -> str:
    """The space of a dictionary's vectors. Raises NotFound where it is not known, and there are no vectors."""
    space = catalog.dictionary(dictionary).space
    if space is None:
        raise NotFound(
            f"the store has no decoder vectors of {dictionary}: it was added without weights; "
            f"`featurestore attach-weights {dictionary} --weights ...` adds them"
        )
    return space


def _choose_space(catalog: Catalog, name: str | None) -> str:
    """The space of this name, or the only one there is."""
    spaces = sorted({dictionary.space for dictionary in catalog.dictionaries if dictionary.space is not None})
    if name is None and len(spaces) == 1:
        return spaces[0]
    if name is None:
        raise BadRequest(f"space: the store has several, say which: {', '.join(spaces)}")
    if name not in spaces:
        raise NotFound(f"no space '{name}'; there are: {', '.join(spaces) or 'none'}")
    return name


def _mean_direction(ids: Sequence[str], field: str, read_vector: Callable[[str], numpy.ndarray]) -> numpy.ndarray:
    """The mean of the features' unit vectors, (d,) float32. Raises BadRequest where it has no direction."""
    of_features = [read_vector(id) for id in ids]
    zero = [id for id, vector in zip(ids, of_features, strict=True) if not vector.any()]
    if zero:
        raise BadRequest(f"{field}: the decoder vector of {zero[0]} is zero, so nothing is near it")
    units = vectors.unit(numpy.stack(of_features))
    mean: numpy.ndarray = units[0] if len(units) == 1 else units.mean(axis=0)
    if numpy.linalg.norm(mean) < SHORTEST:
        raise BadRequest(f"{field}: these features' directions cancel out, so nothing is near their mean")
    return mean
