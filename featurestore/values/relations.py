"""What features are to one another: values as in records.py."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from featurestore.display import notebook
from featurestore.values.records import Hit
from featurestore.values.tables import Tabular


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


class Contrast(Tabular, msgspec.Struct, frozen=True, kw_only=True):
    """The features that tell two sets of texts apart, the most telling first; `texts` and `against` are how many there were."""

    texts: int
    against: int
    features: tuple[ContrastFeature, ...]
    notes: tuple[str, ...] = ()

    def _tabled(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return ContrastFeature, self.features

    def __repr__(self) -> str:
        return f"<Contrast of {self.texts} texts against {self.against}: {len(self.features)} features>"

    def _repr_html_(self) -> str:
        columns = ("feature", "score", "mean", "mean against", "fires on", "fires against", "label")
        rows = [
            (notebook.code(one.id), one.score, one.mean, one.mean_against, one.fires, one.fires_against, one.label)
            for one in self.features
        ]
        return notebook.table(columns, rows, notes=self.notes)


class Edge(msgspec.Struct, frozen=True):
    """One feature is among the nearest of another."""

    source: str
    target: str
    cosine: float


class Neighbourhood(Tabular, msgspec.Struct, frozen=True, kw_only=True):
    """A feature and what lies near it: `nodes` from near to far, the feature itself first; `edges` to nearest features.

    As a table it is its edges.
    """

    id: str
    nodes: tuple[Hit, ...]
    edges: tuple[Edge, ...]
    notes: tuple[str, ...] = ()

    def _tabled(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return Edge, self.edges

    def __repr__(self) -> str:
        return f"<Neighbourhood of {self.id}: {len(self.nodes)} features, {len(self.edges)} edges>"

    def _repr_html_(self) -> str:
        columns = ("feature", "cosine", "label", "density")
        rows = [(notebook.code(one.id), one.score, one.label, one.density) for one in self.nodes]
        return notebook.table(columns, rows, notes=self.notes)


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """A feature and its nearest of other dictionaries."""

    id: str
    label: str | None
    other: str
    other_label: str | None
    cosine: float


class Duplicates(Tabular, msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of features of nearly the same direction, nearest first. `compared` features were looked at."""

    dictionary: str
    compared: int
    pairs: tuple[Duplicate, ...]
    notes: tuple[str, ...] = ()

    def _tabled(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return Duplicate, self.pairs

    def __repr__(self) -> str:
        return f"<Duplicates of {self.dictionary}: {len(self.pairs)} pairs, {self.compared:,} features compared>"

    def _repr_html_(self) -> str:
        columns = ("feature", "other", "cosine", "label", "other label")
        rows = [
            (notebook.code(one.id), notebook.code(one.other), one.cosine, one.label, one.other_label)
            for one in self.pairs
        ]
        return notebook.table(columns, rows, notes=self.notes)
