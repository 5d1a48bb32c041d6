"""A feature and what belongs to it: its id, examples, labels and scores. Frozen values."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import msgspec

from featurestore.display import notebook
from featurestore.display.text import describe_state, quote_label
from featurestore.ids import FeatureId as FeatureId
from featurestore.ids import FeatureLike as FeatureLike
from featurestore.ids import id_text as id_text
from featurestore.ids import id_texts as id_texts
from featurestore.ids import is_feature as is_feature
from featurestore.values.examples import Example, Examples
from featurestore.values.kinds import Explainer, Method, State
from featurestore.values.tables import Listing, require

if TYPE_CHECKING:
    import pyarrow

    from featurestore.display.plots import Picture

SERVICE = "service"  # beside the fields of a value: the address of the service that it came from


class Coactive(msgspec.Struct, frozen=True):
    """Another feature of the dictionary; `jaccard` is tokens on which both fire over tokens on which either does."""

    feature: int
    jaccard: float


class LogitEffect(msgspec.Struct, frozen=True):
    """A token, and by how much the decoder vector changes its logit.

    `id` is the token's number in the model's vocabulary, None where it is not known. A token of which the number alone
    is known has the text `#number`.
    """

    token: str
    value: float
    id: int | None = None


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A text that says what a feature means, and its explainer; fields as in schema.sql, stored.labels.

    `votes` is the sum of the votes on it.
    """

    label: str
    explainer: Explainer
    prompt: str | None
    examples: int | None
    tokens_in: int | None
    tokens_out: int | None
    money: float | None
    imported: bool | None = None
    tool: str
    created_at: datetime.datetime
    votes: int


class LabelChange(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the history of a feature's labels: `explainer` said `label`, or took it back where `removed`."""

    label: str
    explainer: Explainer
    prompt: str | None
    removed: bool
    tool: str
    created_at: datetime.datetime


class LabelledNeighbour(msgspec.Struct, frozen=True, kw_only=True):
    """A feature with a label whose decoder vector is near that of a feature without one, and the cosine of the two.

    Its label is a proxy: it says what a neighbour means, not what the feature itself does.
    """

    id: str
    label: str
    explainer: Explainer
    cosine: float


class GivenLabel(msgspec.Struct, frozen=True, kw_only=True):
    """A label to write: what the feature `id` means. `explainer` names its author: a person or a model."""

    id: str
    label: str
    explainer: str = "human"
    prompt: str | None = None
    examples: int | None = None


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How well a label predicts on which texts its feature is active; fields as in schema.sql, stored.scores."""

    label: str
    explainer: Explainer
    method: Method
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
    """Scores of a feature's labels: a list that can be a table too, which begins with the feature's id."""

    def __init__(self, values: Iterable[Score] = (), id: str = ""):
        super().__init__(Score, values)
        self._id = id

    def to_arrow(self) -> pyarrow.Table:
        """Return a pyarrow.Table with a row for each score: the feature's id, then the score's fields."""
        import pyarrow

        rows = super().to_arrow()
        return rows.add_column(0, "id", pyarrow.array([self._id] * len(rows), pyarrow.string()))

    def _repr_html_(self) -> str:
        columns = ("method", "value", "low", "high", "n", "failures", "judge", "label")
        return notebook.render_table(columns, [[getattr(score, name) for name in columns] for score in self])


if TYPE_CHECKING:
    _Examples = Examples
else:  # what msgspec reads; a feature makes Examples of it
    _Examples = tuple[Example, ...]


class Feature(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All that is known of one feature; statistics as in schema.sql, stored.features.

    `structural` is by the store's rule, see structural_rule in schema.sql; None where its columns are not known.
    `histogram_edges` and `logit_histogram_edges` have one edge more than their histograms have bins; None where nothing
    says them. `labels` begins with the best one. `scores` has the newest score of each label by each method and judge.
    `examples` has the top band first, then the sampled bands from strong to weak, and can be a table. A feature without
    a label has in `labelled_neighbours` the nearest of its dictionary that have one, as a proxy; one of many features
    has none.
    """

    id: str
    label: str | None
    dictionary: str
    feature: int
    layer: int | None
    state: State
    structural: bool | None = None
    density: float | None
    active_tokens: int | None
    active_contexts: int | None
    mean_activation: float | None
    std_activation: float | None
    max_activation: float | None
    first_active: int | None
    last_active: int | None
    first_token_share: float | None = None
    after_break_share: float | None = None
    top_token_share: float | None = None
    distinct_tokens: int | None = None
    histogram: tuple[int, ...] | None
    histogram_edges: tuple[float, ...] | None = None
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
    logit_histogram_edges: tuple[float, ...] | None = None
    extra: str | None = None
    labels: tuple[Label, ...]
    examples: _Examples
    scores: tuple[Score, ...]
    labelled_neighbours: tuple[LabelledNeighbour, ...] = ()

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "examples", Examples(self.examples, self.id))

    @property
    def url(self) -> str | None:
        """Return the address of the feature's page on the service that it came from; None from a local store."""
        service = self.__dict__.get(SERVICE)
        return None if service is None else f"{service}/features/{quote(self.id)}"

    def embed(self, service: str | None = None, width: str = "100%", height: int = 600) -> notebook.Frame:
        """Return the feature's page in a frame, for notebooks and, as text, for the HTML of other pages.

        `service` is the address of a service that has the feature; without one the page is of the service that it came
        from, and of a feature of a local store its HTML without a frame. The service shows its pages in frames of the
        sites that its `--frame-ancestors` names.
        """
        url = self.url if service is None else f"{service.rstrip('/')}/features/{quote(self.id)}"
        if url is None:
            return notebook.Frame(notebook.render_feature(self))
        return notebook.render_frame(f"{url}?embed=true", self.label or self.id, width, height)

    def plot(self) -> Picture:
        """Return a figure of matplotlib: how often it fires how strongly, and which logits it raises and lowers.

        Raises Unavailable where matplotlib is not installed.
        """
        require("matplotlib", "plot")
        from featurestore.display.plots import plot_feature

        title = f"{self.id}  {self.label or 'no label'}"
        raised, lowered = ([(e.token, e.value) for e in effects] for effects in (self.top_logits, self.bottom_logits))
        return plot_feature(title, self.histogram, self.histogram_edges, raised, lowered)

    def __repr__(self) -> str:
        density = "not harvested" if self.density is None else f"density {self.density:.3g}"
        facts = f"{describe_state(self)}, {density}, {len(self.examples)} examples"
        return f"<Feature {self.id} {quote_label(self.label)}: {facts}>"

    def _repr_html_(self) -> str:
        return notebook.render_feature(self)


class Features(Listing[Feature]):
    """Features with all that is known of them: a list that can be a table too."""

    def __init__(self, values: Iterable[Feature] = ()):
        super().__init__(Feature, values)

    def _repr_html_(self) -> str:
        columns = ("feature", "label", "state", "density", "largest", "strongest example")
        rows = [
            (
                notebook.render_code(feature.id),
                feature.label,
                describe_state(feature),
                feature.density,
                feature.max_activation,
                _strongest(feature),
            )
            for feature in self
        ]
        return notebook.render_table(columns, rows)


def _strongest(feature: Feature) -> str | None:
    """Return the feature's first example as HTML; None without examples."""
    if not feature.examples:
        return None
    example = feature.examples[0]
    return notebook.render_tokens(example.tokens, example.activations, feature.max_activation)


P = TypeVar("P", bound=Feature)


def note_service(page: P, service: str) -> P:
    """Return the page, which knows from now on by which service it was given."""
    page.__dict__[SERVICE] = service
    return page
