"""The values everyone passes: frozen, without a connection, equal whichever door they came through."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import msgspec

from featurestore.display import notebook
from featurestore.errors import BadRequest
from featurestore.query import Query
from featurestore.values.tables import Listing, Tabular


class FeatureId(msgspec.Struct, frozen=True, order=True):
    """`model/source/index`, taken apart."""

    dictionary: str
    feature: int

    @classmethod
    def parse(cls, text: str) -> FeatureId:
        """The id in `text`. Raises BadRequest when it is not of the form model/source/index."""
        match = re.fullmatch(r"([^/\s]+/[^/\s]+)/(0|[1-9][0-9]{0,8})", text.strip())
        if match is None:
            raise BadRequest(f"'{text}' is not a feature id: write model/source/index, as in gpt2-small/8-res-jb/1234")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.dictionary}/{self.feature}"


class Dictionary(msgspec.Struct, frozen=True, kw_only=True):
    """The features of one trained SAE or transcoder; fields as in schema.sql, stored.dictionaries."""

    dictionary: str
    model: str
    source: str
    kind: str
    architecture: str
    hook_point: str
    hook_point_out: str | None
    layer: int | None
    site: str | None
    d_in: int
    d_out: int
    d_sae: int
    space: str
    model_location: str | None
    model_hash: str | None
    weights_location: str | None
    weights_hash: str | None
    tokenizer: str | None
    corpus: str | None
    context_size: int | None
    tokens_counted: int | None
    tokens_excluded: int | None
    settings: str | None
    tool: str
    created_at: datetime.datetime

    def __repr__(self) -> str:
        return f"<Dictionary {self.dictionary}: {self.d_sae:,} features, {self.kind} at {self.hook_point}>"

    def _repr_html_(self) -> str:
        return notebook.dictionary(self)


class Dictionaries(Listing[Dictionary]):
    """The dictionaries of a store, as a list that can be a table too."""

    def __init__(self, values: Iterable[Dictionary] = ()):
        super().__init__(Dictionary, values)

    def _repr_html_(self) -> str:
        columns = ("dictionary", "features", "kind", "layer", "hook point", "width", "tokens counted")
        rows = [
            (
                notebook.code(one.dictionary),
                one.d_sae,
                one.kind,
                one.layer,
                one.hook_point,
                one.d_out,
                one.tokens_counted,
            )
            for one in self
        ]
        return notebook.table(columns, rows)


class Coactive(msgspec.Struct, frozen=True):
    """Another feature of the dictionary, and tokens with both active over tokens with either."""

    feature: int
    jaccard: float


class LogitEffect(msgspec.Struct, frozen=True):
    """A token and how far the decoder vector moves its logit."""

    token: str
    value: float


class Example(msgspec.Struct, frozen=True):
    """A window of tokens around one activation; `activations` has one value for each of `tokens`, 0 where silent.

    Explainers see no example that is `held_out`: labels are scored on these.
    """

    band: str
    band_low: float | None
    band_high: float | None
    rank: int
    weight: float | None
    corpus: str
    document: int
    document_name: str | None
    held_out: bool
    start: int
    position: int
    activation: float
    tokens: tuple[str, ...]
    activations: tuple[float, ...]

    def marked(self, threshold: float = 0.0) -> str:
        """The window's text with the tokens above `threshold` between << and >>."""
        return "".join(
            f"<<{token}>>" if value > threshold else token
            for token, value in zip(self.tokens, self.activations, strict=True)
        )

    def __repr__(self) -> str:
        return f"<Example {self.band} #{self.rank}, {self.activation:.4g}: {_short(self.marked())}>"


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A text that says what a feature means, and who says so; fields as in schema.sql, stored.labels.

    `votes` is the sum of the votes on it.
    """

    label: str
    explainer: str
    prompt: str | None
    examples: int | None
    tokens_in: int | None
    tokens_out: int | None
    money: float | None
    tool: str
    created_at: datetime.datetime
    votes: int


class GivenLabel(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody says a feature means. `explainer` is who says so: a person, or the name of a model."""

    id: str
    label: str
    explainer: str = "human"
    prompt: str | None = None
    examples: int | None = None


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How well a label tells on which texts its feature is active; fields as in schema.sql, stored.scores."""

    label: str
    explainer: str
    method: str
    negatives: str | None
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    auc: float | None
    n: int
    failures: int
    judge: str
    prompt: str | None
    examples: str | None
    sampled: bool
    stopped: bool
    tokens_in: int | None
    tokens_out: int | None
    money: float | None
    tool: str
    created_at: datetime.datetime

    def __repr__(self) -> str:
        value = "no value" if self.value is None else f"{self.value:.3g}"
        return f"<Score {self.method} of {_short(self.label)} by {self.judge}: {value}, n = {self.n:,}>"


class Scores(Listing[Score]):
    """Scores of labels, as a list that can be a table too."""

    def __init__(self, values: Iterable[Score] = ()):
        super().__init__(Score, values)

    def _repr_html_(self) -> str:
        columns = ("method", "value", "low", "high", "n", "failures", "judge", "label")
        return notebook.table(columns, [[getattr(one, name) for name in columns] for one in self])


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One feature's whole page; statistics as in schema.sql, stored.features.

    `labels` begins with the best one; `scores` has the newest of each label by each method and judge; `examples` holds the top band first, then sampled bands from strong to weak.
    """

    id: str
    dictionary: str
    feature: int
    layer: int | None
    state: str
    label: str | None
    density: float | None
    active_tokens: int | None
    active_contexts: int | None
    mean_activation: float | None
    std_activation: float | None
    max_activation: float | None
    first_active: int | None
    last_active: int | None
    histogram: tuple[int, ...] | None
    coactive: tuple[Coactive, ...]
    decoder_norm: float | None
    encoder_norm: float | None
    encoder_decoder_cosine: float | None
    top_logits: tuple[LogitEffect, ...]
    bottom_logits: tuple[LogitEffect, ...]
    logit_mean: float | None
    logit_std: float | None
    logit_skewness: float | None
    logit_kurtosis: float | None
    logit_histogram: tuple[int, ...] | None
    labels: tuple[Label, ...]
    examples: tuple[Example, ...]
    scores: tuple[Score, ...]

    def __repr__(self) -> str:
        density = "not harvested" if self.density is None else f"density {self.density:.3g}"
        return f"<Feature {self.id} {_short(self.label)}: {self.state}, {density}, {len(self.examples)} examples>"

    def _repr_html_(self) -> str:
        return notebook.feature(self)


class Features(Listing[Feature]):
    """Pages of features, as a list that can be a table too."""

    def __init__(self, values: Iterable[Feature] = ()):
        super().__init__(Feature, values)

    def _repr_html_(self) -> str:
        columns = ("feature", "label", "state", "density", "largest", "strongest example")
        rows = [
            (
                notebook.code(one.id),
                one.label,
                one.state,
                one.density,
                one.max_activation,
                notebook.on_text(one.examples[0].tokens, one.examples[0].activations, one.max_activation)
                if one.examples
                else None,
            )
            for one in self
        ]
        return notebook.table(columns, rows)


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
            f": {self.hits[0].id} {_short(self.hits[0].label)}{', ...' if len(self) > 1 else ''}" if self.hits else ""
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
        return f"<Activating {_short(self.text)}: {len(self.features)} features on {len(self.tokens)} tokens>"

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


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds: rows, bytes and parts (files) by table, how old it is, and the embedder of its label index.

    `label_rule` is the SQL expression by which the best label is chosen.
    """

    location: str
    format: int
    commit: int
    created_at: datetime.datetime | None
    changed_at: datetime.datetime | None
    dictionaries: int
    features: int
    labels: int
    rows: dict[str, int]
    bytes: dict[str, int]
    parts: dict[str, int]
    embedder: str | None
    label_rule: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<StoreInfo {self.location}: {self.dictionaries} dictionaries, {self.features:,} features, {self.labels:,} labels>"

    def _repr_html_(self) -> str:
        rows = [(name, n, self.bytes.get(name), self.parts.get(name)) for name, n in self.rows.items()]
        return notebook.table(("table", "rows", "bytes", "files"), rows, notes=self.notes)


def _short(text: str | None, most: int = 60) -> str:
    if text is None:
        return "(no label)"
    return repr(text if len(text) <= most else text[: most - 1] + "…")
