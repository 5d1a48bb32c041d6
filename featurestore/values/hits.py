"""Answers about many features: search results, what fires on a text, neighbours, duplicates. Frozen values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import msgspec

from featurestore.display import notebook
from featurestore.display.text import quote_label
from featurestore.query import Query
from featurestore.values.tables import Tabular


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One search result. `score` is what hits are ordered by; `why` says in words what matched.

    `copies` are the ids of near-identical features that this hit stands for, among those looked at for the page.
    """

    id: str
    dictionary: str
    feature: int
    score: float
    label: str | None
    explainer: str | None
    density: float | None
    max_activation: float | None
    state: str
    why: str
    copies: tuple[str, ...] = ()


class Hits(Tabular, msgspec.Struct, frozen=True):
    """Search results, best first, with the query as it was understood and whatever the reader should know of them.

    `next` is the cursor of the page that follows, which may turn out to be empty; None where there is none.
    """

    query: Query
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()
    next: str | None = None

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @overload
    def __getitem__(self, i: int) -> Hit: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Hit]: ...
    def __getitem__(self, i):
        return self.hits[i]

    def _tabled(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return Hit, self.hits

    def __repr__(self) -> str:
        first = (
            f": {self.hits[0].id} {quote_label(self.hits[0].label)}{', ...' if len(self) > 1 else ''}"
            if self.hits
            else ""
        )
        return f"<Hits {len(self)}{first}>"

    def _repr_html_(self) -> str:
        columns = ("feature", "score", "label", "density", "why")
        rows = [(notebook.code(hit.id), hit.score, hit.label or "no label", hit.density, hit.why) for hit in self.hits]
        return notebook.table(columns, rows, notes=self.notes)


class ActiveFeature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that fires on a text: its largest activation there, the token it is on, and one value for each token."""

    id: str
    dictionary: str
    feature: int
    label: str | None
    density: float | None
    max_activation: float | None
    activation: float
    token: int
    activations: tuple[float, ...]


class Activating(Tabular, msgspec.Struct, frozen=True, kw_only=True):
    """Which features fire on a text. `tokens` leaves out BOS; features are ordered as `notes` says."""

    text: str
    tokens: tuple[str, ...]
    features: tuple[ActiveFeature, ...]
    notes: tuple[str, ...] = ()

    def _tabled(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return ActiveFeature, self.features

    def __repr__(self) -> str:
        return f"<Activating {quote_label(self.text)}: {len(self.features)} features on {len(self.tokens)} tokens>"

    def _repr_html_(self) -> str:
        columns = ("feature", "activation", "of largest", "label", "on")
        rows = [
            (
                notebook.code(one.id),
                one.activation,
                one.activation / one.max_activation if one.max_activation else None,
                one.label or "no label",
                notebook.on_text(self.tokens, one.activations, one.max_activation),
            )
            for one in self.features
        ]
        return notebook.table(columns, rows, notes=self.notes)


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
