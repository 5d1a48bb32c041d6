"""What features are to one another: values as in records.py."""

from __future__ import annotations

import msgspec

from featurestore.records import Hit


class ContrastFeature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that fires more on some texts than on others.

    `mean` and `mean_against` are of the strongest activation of each text; `fires` and `fires_against` are shares of the
    texts that it fires on at all; `score` is mean - mean_against over the feature's largest activation.
    """

    id: str
    dictionary: str
    feature: int
    label: str | None
    density: float | None
    max_activation: float | None
    score: float
    mean: float
    mean_against: float
    fires: float
    fires_against: float


class Contrast(msgspec.Struct, frozen=True, kw_only=True):
    """The features that tell two sets of texts apart, the most telling first; `texts` and `against` are how many there were."""

    texts: int
    against: int
    features: tuple[ContrastFeature, ...]
    notes: tuple[str, ...] = ()


class Edge(msgspec.Struct, frozen=True):
    """One feature is among the nearest of another."""

    source: str
    target: str
    cosine: float


class Neighbourhood(msgspec.Struct, frozen=True, kw_only=True):
    """A feature and what lies near it: `nodes` from near to far, the feature itself first; `edges` to nearest features."""

    id: str
    nodes: tuple[Hit, ...]
    edges: tuple[Edge, ...]
    notes: tuple[str, ...] = ()


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """A feature and its nearest of other dictionaries."""

    id: str
    label: str | None
    other: str
    other_label: str | None
    cosine: float


class Duplicates(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of features of nearly the same direction, nearest first. `compared` features were looked at."""

    dictionary: str
    compared: int
    pairs: tuple[Duplicate, ...]
    notes: tuple[str, ...] = ()
