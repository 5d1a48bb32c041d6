"""What the routes of /v1 take and give, as types: requests are checked against them, and the OpenAPI document is made of them.

A bound that the store itself checks, with its own words, is only told here (`told`): one error text whichever door is used.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from featurestore.query import MAX_K, Query
from featurestore.values.dictionary import Dictionary
from featurestore.values.feature import Score
from featurestore.values.hits import Hit

MOST_ROWS = 100_000  # rows of one answer of SQL that is not streamed
MOST_TEXT = 20_000  # characters of a text that a model runs on
MOST_SQL = 100_000  # characters of a statement


def told(description: str, **schema: Any) -> Meta:
    """What the document says of a field, bounds among it, without checking them here."""
    return Meta(description=description, extra_json_schema=schema)


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a request holds; a field that is null counts as not given."""


class Nothing(Asked, frozen=True):
    """No fields."""


class FeatureAsked(Asked, frozen=True):
    """How much of a feature's page."""

    examples: Annotated[int | None, told("At most this many examples of each band.", minimum=0)] = None


class ActivatingAsked(Asked, frozen=True):
    """Which features fire on a text."""

    text: Annotated[str, Meta(description="Which text to run the model on.", max_length=MOST_TEXT)]
    dictionary: Annotated[
        tuple[str, ...] | None, Meta(description="Only these dictionaries; all of the one model unless given.")
    ] = None
    k: Annotated[int, told("How many features.", minimum=1, maximum=1000)] = 10
    order: Annotated[
        str,
        told(
            "specific: activation over the feature's largest, weighted against dense features. activation: as it is.",
            enum=["specific", "activation"],
        ),
    ] = "specific"


class VectorAsked(Asked, frozen=True):
    """Which of a feature's decoder vectors."""

    target: Annotated[
        int | None, Meta(description="Of a cross-layer transcoder, the layer written to; the first unless given.")
    ] = None


class RerankAsked(Asked, frozen=True):
    """A given set of features, and the text to rank them by."""

    text: Annotated[str, Meta(description="What to rank by.", max_length=4000)]
    features: Annotated[tuple[str, ...], Meta(description="The features' ids.", max_length=MAX_K)]
    mode: Annotated[
        Literal["hybrid", "semantic", "keyword"] | None,
        Meta(description="By meaning, by words, or both (the default)."),
    ] = None


class ContrastAsked(Asked, frozen=True):
    """Two sets of texts to tell apart."""

    texts: Annotated[tuple[str, ...], told("Texts that features should fire on.", minItems=1, maxItems=200)]
    against: Annotated[tuple[str, ...], told("Texts that they should not.", minItems=1, maxItems=200)]
    dictionary: Annotated[
        tuple[str, ...] | None, Meta(description="Only these dictionaries; all of the one model unless given.")
    ] = None
    k: Annotated[int, told("How many features.", minimum=1, maximum=1000)] = 10


class NeighbourhoodAsked(Asked, frozen=True):
    """How far around a feature."""

    k: Annotated[int, told("Nearest features of each.", minimum=1, maximum=50)] = 8
    within: Annotated[tuple[str, ...], Meta(description="Only these dictionaries (model/source) or models.")] = ()


class DuplicatesAsked(Asked, frozen=True):
    """Which dictionaries to compare."""

    dictionary: Annotated[str, Meta(description="The dictionary whose features are looked for in others.")]
    against: Annotated[
        tuple[str, ...] | None, Meta(description="Other dictionaries of its space; all of them unless given.")
    ] = None
    cosine: Annotated[float, told("Pairs of at least this cosine.", minimum=-1, maximum=1)] = 0.9
    k: Annotated[int, told("How many pairs.", minimum=1, maximum=10_000)] = 100


class SqlAsked(Asked, frozen=True):
    """A statement and the form of its rows."""

    sql: Annotated[str, Meta(description="Which SELECT to run.", max_length=MOST_SQL)]
    parameters: Annotated[
        dict[str, Any] | list[Any] | None,
        Meta(
            description="Values of the statement's parameters: an object for $name, a list for ? and $1. "
            'In a URL as JSON. A time is {"timestamp": "2026-01-02T03:04:05Z"}.'
        ),
    ] = None
    max_rows: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description=f"At most this many rows: 10,000 unless given, {MOST_ROWS:,} at most where not streamed."),
    ] = None
    timeout: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="Seconds after which the statement is stopped; 30 unless given and at most."),
    ] = None
    format: Annotated[
        str | None,
        told(
            "All rows, streamed as they come in this form (json: a line for each row).",
            enum=["json", "csv", "arrow", "parquet", None],
        ),
    ] = None
    stream: Annotated[bool | None, Meta(description="With Accept: Arrow, all rows as they come.")] = None


class Dictionaries(msgspec.Struct, frozen=True):
    """A page of dictionaries."""

    dictionaries: list[Dictionary]
    next: str | None = None


class Scores(msgspec.Struct, frozen=True):
    """How well each of a feature's labels tells where it is active, by each method and judge."""

    scores: list[Score]


class Vector(msgspec.Struct, frozen=True):
    """A feature's decoder vector."""

    id: str
    vector: list[float]


class Found(msgspec.Struct, frozen=True):
    """Hits, best first, and the query as it was understood; notes say what the reader should know."""

    query: Query
    hits: tuple[Hit, ...]
    notes: tuple[str, ...]
    next: str | None = None


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
    """An error (RFC 9457). `code` is stable; `detail` says what was wrong and what to do; `request` finds it in the log."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request: str | None = None
