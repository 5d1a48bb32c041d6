"""What questions give, where it is no value of `featurestore.values`. The OpenAPI document is made of these types."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from featurestore.notes import NoteCode
from featurestore.query import Query
from featurestore.values.dictionary import Coverage, Dictionary
from featurestore.values.examples import Example
from featurestore.values.feature import Feature, Label, LabelChange, Score
from featurestore.values.graphs import GraphSummary
from featurestore.values.hits import Hit
from featurestore.values.jobs import Job
from featurestore.values.lists import ListSummary


class DictionariesAnswer(msgspec.Struct, frozen=True):
    """Dictionaries, and their number."""

    dictionaries: list[Dictionary]
    next: str | None = None
    total: int | None = None


class ScoresAnswer(msgspec.Struct, frozen=True):
    """How well each of a feature's labels tells where it is active, by each method and judge."""

    scores: list[Score]


class VectorAnswer(msgspec.Struct, frozen=True):
    """A feature's decoder vector."""

    id: str
    vector: list[float]


class SearchAnswer(msgspec.Struct, frozen=True):
    """Hits, best first, and the query as it was understood; notes say what the reader should know, and
    note_codes the same for programs.

    Of a query by text: `weak` where no hit is better than what a meaningless query finds, the largest `cosine` by
    meaning, and the most of the words asked that one hit has. `total` features were left by the filters.
    """

    query: Query
    hits: tuple[Hit, ...]
    notes: tuple[str, ...]
    next: str | None = None
    weak: bool = False
    cosine: float | None = None
    words_matched: int | None = None
    words_asked: int | None = None
    note_codes: tuple[NoteCode, ...] = ()
    total: int | None = None


class ColumnOfRows(msgspec.Struct, frozen=True):
    """Name and Arrow type of a column."""

    name: str
    type: str


class Table(msgspec.Struct, frozen=True):
    """Rows as lists of values; `truncated` where there are more."""

    columns: list[ColumnOfRows]
    rows: list[list[Any]]
    truncated: bool


class Health(msgspec.Struct, frozen=True):
    """Whether the service is alive, or ready to answer."""

    status: Literal["ok"]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error (RFC 9457). `code` is stable; `detail` says what is wrong and what to do; the log has `request` too."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request: str | None = None


class FeaturesAnswer(msgspec.Struct, frozen=True):
    """Whole pages of features, in the order of the ids; `next` is the cursor of the following page, null at the end.

    `total` counts the features that were asked for, on all pages; null where a service does not know it.
    """

    features: list[Feature]
    next: str | None = None
    total: int | None = None


class ExamplesOf(msgspec.Struct, frozen=True):
    """A feature's examples, the top band first."""

    id: str
    examples: tuple[Example, ...]


class ExamplesAnswer(msgspec.Struct, frozen=True):
    """Examples of features, in the order of the ids; `next` is the cursor of the following page, null at the end.

    `total` counts the features that were asked for, on all pages; null where a service does not know it.
    """

    features: list[ExamplesOf]
    next: str | None = None
    total: int | None = None


class MatrixAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a dictionary's matrix is: a row for each feature.

    `bytes` is the size as NumPy's file, of which the first `header` are its header; row i follows from there.
    """

    dictionary: str
    rows: int
    columns: int
    dtype: Literal["float16", "float32"]
    header: int
    bytes: int


class VectorsAnswer(msgspec.Struct, frozen=True):
    """Decoder vectors, in the order of the ids."""

    vectors: list[VectorAnswer]


class GraphList(msgspec.Struct, frozen=True):
    """Every graph, without its nodes and links."""

    graphs: list[GraphSummary]


class ListsAnswer(msgspec.Struct, frozen=True):
    """Every list of features, without the features, which are counted."""

    lists: list[ListSummary]


class Removed(msgspec.Struct, frozen=True):
    """What is no longer there."""

    removed: str


class Saved(msgspec.Struct, frozen=True):
    """What was kept."""

    saved: str


class GraphView(msgspec.Struct, frozen=True):
    """What is pinned, grouped and named in a graph, as front ends save it."""

    view: dict[str, Any]


class JobList(msgspec.Struct, frozen=True):
    """Every job that is known, the newest first."""

    jobs: list[Job]


class LabelsAnswer(msgspec.Struct, frozen=True):
    """The newest label of each explainer, the one that is shown first."""

    labels: tuple[Label, ...]


class CoverageAnswer(msgspec.Struct, frozen=True):
    """How many features of each dictionary have a label, and whose labels are shown."""

    dictionaries: tuple[Coverage, ...]


class LabelHistory(msgspec.Struct, frozen=True):
    """Every label a feature was ever given, and which were taken back, the newest first."""

    changes: tuple[LabelChange, ...]


class Written(msgspec.Struct, frozen=True):
    """How many labels were written, and the number of the commit that has them."""

    written: int
    commit: int
