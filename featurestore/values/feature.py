"""One feature and what belongs to it: its id, examples, labels, scores and whole page. Frozen values."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable

import msgspec

from featurestore.display import notebook
from featurestore.display.text import quote_label
from featurestore.errors import BadRequest
from featurestore.values.tables import Listing


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
        return f"<Example {self.band} #{self.rank}, {self.activation:.4g}: {quote_label(self.marked())}>"


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
        return f"<Score {self.method} of {quote_label(self.label)} by {self.judge}: {value}, n = {self.n:,}>"


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
        return f"<Feature {self.id} {quote_label(self.label)}: {self.state}, {density}, {len(self.examples)} examples>"

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
