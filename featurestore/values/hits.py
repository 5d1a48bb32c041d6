"""Answers about many features: search results, what fires on a text, neighbours, duplicates. Frozen values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, overload

import msgspec

from featurestore.display import notebook
from featurestore.display.text import quote_label
from featurestore.notes import NoteCode
from featurestore.query import Query
from featurestore.values.kinds import Explainer, State
from featurestore.values.tables import Tabular


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a search found a feature.

    `kind` says what was compared: meaning (`score` is the cosine of two texts), words of a label, tokens that top
    examples fire on, logits that are raised (scores of BM25), examples (the cosine of the text and a digest of what the
    feature fires on and raises), or vectors (a cosine). `rank` is the place in this way's
    own ranking, from 1, where several were fused. `words` are the words that were found. Of the feature's
    `top_examples` stored ones, `examples` fire on them.
    """

    kind: Literal["meaning", "words", "tokens", "logits", "examples", "vectors"]
    score: float
    rank: int | None = None
    words: tuple[str, ...] = ()
    examples: int | None = None
    top_examples: int | None = None


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One search result. Hits are ordered by `score`, the largest first; `why` says in words what matched.

    `reasons` say it in fields. `weak` hits are no better than what a meaningless query finds. `copies` are the ids of
    nearly identical features that this hit stands for, among the candidates of this answer.
    """

    id: str
    label: str | None
    score: float
    dictionary: str
    feature: int
    explainer: Explainer | None
    density: float | None
    max_activation: float | None
    state: State
    structural: bool | None = None
    why: str
    copies: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    weak: bool = False


class Hits(Tabular, msgspec.Struct, frozen=True):
    """Search results, best first, with the query as it was understood and notes for the reader.

    `next` is the cursor of the next page, which may turn out to be empty; None at the end. Of a query by text, `cosine`
    is the largest of the page by meaning, and `words_matched` the most of the `words_asked` that one hit has; the
    answer is `weak` where all its hits are. `note_codes` are the notes for programs, in the same order.
    The hits are the best of `total` features, which the filters leave.
    """

    query: Query
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()
    next: str | None = None
    weak: bool = False
    cosine: float | None = None
    words_matched: int | None = None
    words_asked: int | None = None
    note_codes: tuple[NoteCode, ...] = ()
    total: int | None = None

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @overload
    def __getitem__(self, i: int) -> Hit: ...
    @overload
    def __getitem__(self, i: slice) -> Hits: ...
    def __getitem__(self, i: int | slice) -> Hit | Hits:
        # A slice has no next page: the cursor goes on behind the last hit of all.
        return msgspec.structs.replace(self, hits=self.hits[i], next=None) if isinstance(i, slice) else self.hits[i]

    def _list_rows(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
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
        rows = [
            (notebook.render_code(hit.id), hit.score, hit.label or "no label", hit.density, hit.why)
            for hit in self.hits
        ]
        return notebook.render_table(columns, rows, notes=self.notes)


class ActiveFeature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that fires on a text.

    `activation` is its largest there and `token` the place of that token; `activations` has a value for each token.
    """

    id: str
    label: str | None
    activation: float
    dictionary: str
    feature: int
    density: float | None
    max_activation: float | None
    token: int
    activations: tuple[float, ...]


class Activating(Tabular, msgspec.Struct, frozen=True, kw_only=True):
    """The features that fire on a text, in the order that `notes` names. `tokens` are the text's, without BOS.

    A character of several tokens is the text of the first of them, and the others are empty. `token_ids` are their ids.
    """

    text: str
    tokens: tuple[str, ...]
    features: tuple[ActiveFeature, ...]
    notes: tuple[str, ...] = ()
    token_ids: tuple[int, ...] = ()
    note_codes: tuple[NoteCode, ...] = ()

    def _list_rows(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return ActiveFeature, self.features

    def __repr__(self) -> str:
        return f"<Activating {quote_label(self.text)}: {len(self.features)} features on {len(self.tokens)} tokens>"

    def _repr_html_(self) -> str:
        columns = ("feature", "activation", "of largest", "label", "on")
        rows = [
            (
                notebook.render_code(feature.id),
                feature.activation,
                abs(feature.activation / feature.max_activation) if feature.max_activation else None,
                feature.label or "no label",
                notebook.render_tokens(self.tokens, feature.activations, feature.max_activation),
            )
            for feature in self.features
        ]
        return notebook.render_table(columns, rows, notes=self.notes)


class ContrastFeature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that fires more on some texts than on others.

    `mean` and `mean_against` are means of the strongest activation on each text; `fires` and `fires_against` are the
    shares of texts that it fires on, 0 to 1; `score` is (mean - mean_against) / the feature's largest activation in its
    corpus.
    """

    id: str
    label: str | None
    score: float
    dictionary: str
    feature: int
    density: float | None
    max_activation: float | None
    mean: float
    mean_against: float
    fires: float
    fires_against: float


class Contrast(Tabular, msgspec.Struct, frozen=True, kw_only=True):
    """The features that fire more on one set of texts than on another, by `score`, the largest first.

    `texts` and `against` are the sizes of the two sets.
    """

    texts: int
    against: int
    features: tuple[ContrastFeature, ...]
    notes: tuple[str, ...] = ()
    note_codes: tuple[NoteCode, ...] = ()

    def _list_rows(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return ContrastFeature, self.features

    def __repr__(self) -> str:
        return f"<Contrast of {self.texts} texts against {self.against}: {len(self.features)} features>"

    def _repr_html_(self) -> str:
        columns = ("feature", "score", "mean", "mean against", "fires on", "fires against", "label")
        rows = [
            (
                notebook.render_code(feature.id),
                feature.score,
                feature.mean,
                feature.mean_against,
                feature.fires,
                feature.fires_against,
                feature.label,
            )
            for feature in self.features
        ]
        return notebook.render_table(columns, rows, notes=self.notes)


class Edge(msgspec.Struct, frozen=True):
    """`target` is among the nearest features of `source`; `cosine` is that of their decoder vectors."""

    source: str
    target: str
    cosine: float


class Neighbourhood(Tabular, msgspec.Struct, frozen=True, kw_only=True):
    """A feature and the features around it.

    `nodes` has the feature itself first, then the others from near to far; `edges` lead from a feature to its nearest.
    Its table has a row for each edge.
    """

    id: str
    nodes: tuple[Hit, ...]
    edges: tuple[Edge, ...]
    notes: tuple[str, ...] = ()
    note_codes: tuple[NoteCode, ...] = ()

    def _list_rows(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return Edge, self.edges

    def __repr__(self) -> str:
        return f"<Neighbourhood of {self.id}: {len(self.nodes)} features, {len(self.edges)} edges>"

    def _repr_html_(self) -> str:
        columns = ("feature", "cosine", "label", "density")
        rows = [(notebook.render_code(node.id), node.score, node.label, node.density) for node in self.nodes]
        return notebook.render_table(columns, rows, notes=self.notes)


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """A feature, a near one of another dictionary, and the cosine of their decoder vectors."""

    id: str
    label: str | None
    other: str
    other_label: str | None
    cosine: float


class Duplicates(Tabular, msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of features with nearly the same direction, the largest cosine first. `compared` features were compared."""

    dictionary: str
    compared: int
    pairs: tuple[Duplicate, ...]
    notes: tuple[str, ...] = ()
    note_codes: tuple[NoteCode, ...] = ()

    def _list_rows(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return Duplicate, self.pairs

    def __repr__(self) -> str:
        return f"<Duplicates of {self.dictionary}: {len(self.pairs)} pairs, {self.compared:,} features compared>"

    def _repr_html_(self) -> str:
        columns = ("feature", "other", "cosine", "label", "other label")
        rows = [
            (notebook.render_code(pair.id), notebook.render_code(pair.other), pair.cosine, pair.label, pair.other_label)
            for pair in self.pairs
        ]
        return notebook.render_table(columns, rows, notes=self.notes)
