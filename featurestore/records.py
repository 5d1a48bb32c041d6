"""The values everyone passes: frozen, without a connection, equal whichever door they came through."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from typing import Any, overload

import msgspec

from featurestore.errors import BadRequest
from featurestore.query import Query

# Activation histograms: 64 bins, 4 to the octave, on |activation| from 2^-6 to 2^10. Fixed, so that they merge exactly.
HISTOGRAM_BINS = 64
HISTOGRAM_EDGES: tuple[float, ...] = tuple(2.0 ** (b / 4 - 6) for b in range(HISTOGRAM_BINS + 1))


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


class LogitEffect(msgspec.Struct, frozen=True):
    """A token and how far the decoder vector moves its logit."""

    token: str
    value: float


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A window of tokens around one activation; `activations` has one value for each of `tokens`, 0 where silent."""

    band: str
    band_low: float | None
    band_high: float | None
    rank: int
    weight: float | None
    corpus: str
    document: int
    document_name: str | None
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


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A text that says what a feature means, and who says so; fields as in schema.sql, stored.labels."""

    label: str
    explainer: str
    prompt: str | None
    examples: int | None
    tool: str
    created_at: datetime.datetime


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One feature's whole page; statistics as in schema.sql, stored.features.

    `labels` begins with the best one; `examples` holds the top band first, then sampled bands from strong to weak.
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
    histogram: tuple[int, ...] | None
    decoder_norm: float | None
    encoder_norm: float | None
    encoder_decoder_cosine: float | None
    top_logits: tuple[LogitEffect, ...]
    bottom_logits: tuple[LogitEffect, ...]
    labels: tuple[Label, ...]
    examples: tuple[Example, ...]


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


class Hits(msgspec.Struct, frozen=True):
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

    def to_arrow(self) -> Any:
        """The hits as a pyarrow.Table, a row each."""
        import pyarrow

        return pyarrow.Table.from_pylist([msgspec.structs.asdict(hit) for hit in self.hits])

    def to_pandas(self) -> Any:
        """The hits as a pandas DataFrame, a row each."""
        return self.to_arrow().to_pandas()


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


class Activating(msgspec.Struct, frozen=True, kw_only=True):
    """Which features fire on a text. `tokens` leaves out BOS; features are ordered as `notes` says."""

    text: str
    tokens: tuple[str, ...]
    features: tuple[ActiveFeature, ...]
    notes: tuple[str, ...] = ()


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds: rows, bytes and parts (files) by table, how old it is, and the embedder of its label index."""

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
    notes: tuple[str, ...] = ()
