"""Near-identical features as one: the same label, and decoder vectors of a cosine above 0.9."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy

from featurestore.search import vectors
from featurestore.values.feature import FeatureId

NEAR = 0.9


class Groups:
    """Groups near-identical features, in the order they are added."""

    def __init__(self, vector: Callable[[FeatureId], numpy.ndarray], space: Callable[[FeatureId], str]):
        self._vector = vector
        self._space = space
        self._first: dict[tuple[str, str], list[FeatureId]] = {}  # by space and label, the first of each group
        self._directions: dict[FeatureId, numpy.ndarray] = {}
        self._copies: dict[FeatureId, list[str]] = {}

    def add(self, id: FeatureId, label: str | None) -> bool:
        """Add a feature. Returns whether it begins a new group; without a label it always does."""
        key = (self._space(id), _plain(label or ""))
        others = self._first.setdefault(key, []) if key[1] else []
        for other in others:
            if float(self._direction(id) @ self._direction(other)) > NEAR:
                self._copies.setdefault(other, []).append(str(id))
                return False
        others.append(id)
        return True

    def copies(self, id: FeatureId) -> tuple[str, ...]:
        """Ids of the later features of the group that a feature began, in the order they were added."""
        return tuple(self._copies.get(id, ()))

    def _direction(self, id: FeatureId) -> numpy.ndarray:
        # Only features that share a label are compared, so few vectors are read.
        if id not in self._directions:
            self._directions[id] = vectors.unit(self._vector(id)[None])[0]
        return self._directions[id]


def _plain(label: str) -> str:
    return re.sub(r"\W+", " ", label.casefold()).strip() or label
