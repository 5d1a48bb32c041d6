"""Near-identical features as one: the same label, and decoder vectors of a cosine above 0.9."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy

from featurestore.errors import NotFound
from featurestore.search import vectors
from featurestore.values.feature import FeatureId

NEAR = 0.9


class Groups:
    """Groups near-identical features, in the order they are added. Features without vectors are not compared."""

    def __init__(self, vector: Callable[[FeatureId], numpy.ndarray], space: Callable[[FeatureId], str | None]):
        self._vector = vector
        self._space = space
        self._first: dict[tuple[str | None, str], list[FeatureId]] = {}  # by space and label, the first of each group
        self._directions: dict[FeatureId, numpy.ndarray | None] = {}
        self._copies: dict[FeatureId, list[str]] = {}

    def add(self, id: FeatureId, label: str | None) -> bool:
        """Add a feature. Returns whether it begins a new group; without a label it always does."""
        key = (self._space(id), _plain(label or ""))
        others = self._first.setdefault(key, []) if key[1] else []
        direction = self._direction(id) if others else None
        for other in others if direction is not None else ():
            direction_of_other = self._direction(other)
            if direction_of_other is not None and float(direction @ direction_of_other) > NEAR:
                self._copies.setdefault(other, []).append(str(id))
                return False
        others.append(id)
        return True

    def copies(self, id: FeatureId) -> tuple[str, ...]:
        """Ids of the later features of the group that a feature began, in the order they were added."""
        return tuple(self._copies.get(id, ()))

    def _direction(self, id: FeatureId) -> numpy.ndarray | None:
        # Only features that share a label are compared, so few vectors are read.
        if id not in self._directions:
            try:
                self._directions[id] = vectors.unit(self._vector(id)[None])[0]
            except NotFound:
                self._directions[id] = None
        return self._directions[id]


def _plain(label: str) -> str:
    return re.sub(r"\W+", " ", label.casefold()).strip() or label
