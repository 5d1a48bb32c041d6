"""What questions take. The service checks requests against these types, and the OpenAPI document is made of them.

A bound that the store itself checks, in its own words, is only described here (`describe`): one message for all doors.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from featurestore.query import MAX_K
from featurestore.values.jobs import KINDS
from featurestore.values.kinds import Band, Explainer
from featurestore.values.label_text import MOST_LABEL, MOST_NAME
from featurestore.values.lists import MOST_LISTED
from featurestore.wire.limits import MOST_IDS, MOST_LABELS, MOST_ROWS, MOST_SQL, MOST_TEXT, SQL_SECONDS


def describe(description: str, **schema: Any) -> Meta:
    """Returns what the document says of a field, its bounds included, without checking them here."""
    return Meta(description=description, extra_json_schema=schema)


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what a request holds; a field that is null counts as not given."""


class Nothing(Request, frozen=True):
    """No fields."""


class FeatureRequest(Request, frozen=True):
    """How much of a feature's page."""

    examples: Annotated[int | None, describe("At most this many examples of each band.", minimum=0)] = None


class ActivatingRequest(Request, frozen=True):
    """Which features fire on a text."""

    text: Annotated[str, Meta(description="Which text to run the model on.", max_length=MOST_TEXT)]
    dictionary: Annotated[
        tuple[str, ...] | None, Meta(description="Only these dictionaries; all of the one model unless given.")
    ] = None
    k: Annotated[int, describe("Number of features.", minimum=1, maximum=1000)] = 10
    order: Annotated[
        str,
        describe(
            "specific: activation over the feature's largest, weighted against dense features. activation: as it is.",
            enum=["specific", "activation"],
        ),
    ] = "specific"
    feature: Annotated[
        Annotated[tuple[str, ...], Meta(max_length=MOST_IDS)] | None,
        Meta(description="These features alone (model/source/index each), in this order, also where they are silent."),
    ] = None
    token: Annotated[
        int | None, describe("Only what fires on the token of this place in the text, by how hard it does.", minimum=0)
    ] = None


class VectorRequest(Request, frozen=True):
    """Which of a feature's decoder vectors."""

    target: Annotated[
        int | None, Meta(description="Of a cross-layer transcoder, the layer written to; the first unless given.")
    ] = None


class RerankRequest(Request, frozen=True):
    """A given set of features, and the text to rank them by."""

    text: Annotated[str, Meta(description="What to rank by.", max_length=4000)]
    features: Annotated[tuple[str, ...], Meta(description="The features' ids.", max_length=MAX_K)]
    mode: Annotated[
        Literal["hybrid", "semantic", "keyword"] | None,
        Meta(description="By meaning, by words, or both (the default)."),
    ] = None


_ModelText = Annotated[str, Meta(max_length=MOST_TEXT)]


class ContrastRequest(Request, frozen=True):
    """Two sets of texts to tell apart."""

    texts: Annotated[tuple[_ModelText, ...], describe("Texts on which features should fire.", minItems=1, maxItems=200)]
    against: Annotated[
        tuple[_ModelText, ...], describe("Texts on which they should not fire.", minItems=1, maxItems=200)
    ]
    dictionary: Annotated[
        tuple[str, ...] | None, Meta(description="Only these dictionaries; all of the one model unless given.")
    ] = None
    k: Annotated[int, describe("Number of features.", minimum=1, maximum=1000)] = 10


class NeighbourhoodRequest(Request, frozen=True):
    """How far around a feature."""

    k: Annotated[int, describe("Number of nearest features for each feature.", minimum=1, maximum=50)] = 8
    within: Annotated[
        tuple[str, ...] | None,
        Meta(description="Only these dictionaries (model/source) or models; an empty list matches nothing."),
    ] = None


class DuplicatesRequest(Request, frozen=True):
    """Which dictionaries to compare."""

    dictionary: Annotated[str, Meta(description="The dictionary whose features are looked for in others.")]
    against: Annotated[
        tuple[str, ...] | None, Meta(description="Other dictionaries of its space; all of them unless given.")
    ] = None
    cosine: Annotated[float, describe("Smallest cosine of a pair.", minimum=-1, maximum=1)] = 0.9
    k: Annotated[int, describe("Number of pairs.", minimum=1, maximum=10_000)] = 100


class CompareRequest(Request, frozen=True):
    """What to lay side by side, and how much of it."""

    id: Annotated[tuple[str, ...], Meta(description="Two to eight features (model/source/index), or two dictionaries.")]
    k: Annotated[
        int, describe("Of dictionaries: number of matches, and of features without one.", minimum=1, maximum=1_000_000)
    ] = 20
    cosine: Annotated[
        tuple[float, ...], describe("Of dictionaries: the features that have a match of this cosine are counted.")
    ] = (0.5, 0.7, 0.9)
    examples: Annotated[int, describe("Of features: at most this many examples of each.", minimum=0, maximum=100)] = 5


class SqlRequest(Request, frozen=True):
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
        describe("Seconds after which the statement is stopped; 30 unless given, and no more.", maximum=SQL_SECONDS),
    ] = None
    format: Annotated[
        str | None,
        describe(
            "All rows, streamed as they come in this form (json: a line for each row; spreadsheet: CSV in which no "
            "text is taken for a formula).",
            enum=["json", "csv", "spreadsheet", "arrow", "parquet", None],
        ),
    ] = None
    stream: Annotated[bool | None, Meta(description="With Accept: Arrow, all rows as they come.")] = None


_Ids = Annotated[
    Annotated[tuple[str, ...], Meta(max_length=MOST_IDS)] | None,
    Meta(description="Which features: model/source/index each."),
]


class SelectionRequest(Request, frozen=True):
    """Features by their ids, or those for which a condition holds."""

    ids: _Ids = None
    where: Annotated[
        Annotated[str, Meta(max_length=4000)] | None,
        Meta(description="Instead of ids: an SQL condition over the view `features`, a page of `limit` at a time."),
    ] = None
    limit: Annotated[int, Meta(description="Features of a page, with where.", ge=1, le=MOST_IDS)] = 100
    cursor: Annotated[str | None, Meta(description="`next` of the page before; the first page without.")] = None
    examples: Annotated[int | None, describe("At most this many examples of each band.", minimum=0)] = None


class FeaturesRequest(SelectionRequest, frozen=True):
    """Whole pages of features, by their ids or a condition."""


class ExamplesRequest(SelectionRequest, frozen=True):
    """Examples of features, by their ids or a condition."""

    band: Annotated[Band | None, Meta(description="Of this band only: top, or an interval as in [1, 2).")] = None


class VectorsRequest(Request, frozen=True):
    """Decoder vectors by ids."""

    ids: Annotated[tuple[str, ...], Meta(description="Which features: model/source/index each.", max_length=MOST_IDS)]


class MatrixRequest(Request, frozen=True):
    """Which vectors of a dictionary, and in which form."""

    encoder: Annotated[bool, Meta(description="Encoder vectors in the place of decoder vectors.")] = False
    target: Annotated[
        int | None, Meta(description="Of a cross-layer transcoder, the layer written to; the first unless given.")
    ] = None
    format: Annotated[
        Literal["npy", "arrow"] | None,
        Meta(description="All rows: NumPy's file, which is answered by Range too, or an Arrow stream."),
    ] = None


class GraphRequest(Request, frozen=True):
    """An attribution graph to keep."""

    graph: Annotated[
        dict[str, Any], Meta(description="What its file holds, as circuit-tracer writes it: metadata, nodes, links.")
    ]
    map: Annotated[
        tuple[str, ...],
        Meta(description="The dictionaries of its features: 12=model/source, or model/{layer}-source for every layer."),
    ] = ()
    replace: Annotated[bool, Meta(description="In the place of the graph of this name; else that is a conflict.")] = (
        False
    )


class GraphViewRequest(Request, frozen=True):
    """What a person pinned, grouped and named in a graph."""

    view: Annotated[
        dict[str, Any], Meta(description="What front ends call qParams: pinnedIds, supernodes, clerps and the like.")
    ]


class ListedRequest(Request, frozen=True):
    """A feature of a list, and what is noted about it."""

    id: Annotated[str, Meta(description="The feature: model/source/index.")]
    note: Annotated[str | None, Meta(description="What is noted about it.")] = None


_Listed = Annotated[tuple[str | ListedRequest, ...], Meta(max_length=MOST_LISTED)]


class ListRequest(Request, frozen=True):
    """A list of features to keep."""

    features: Annotated[_Listed, Meta(description="Ids of features, or objects of an id and a note, in order.")] = ()
    note: Annotated[str | None, Meta(description="What the list is about.")] = None
    replace: Annotated[bool, Meta(description="In the place of the list of this name; else that is a conflict.")] = (
        False
    )
    keep_missing: Annotated[bool, Meta(description="Features that the store has not are kept in the list too.")] = False


class ListChangeRequest(Request, frozen=True):
    """What to change in a list of features."""

    add: Annotated[_Listed, Meta(description="Features to add at the end, as ids or objects of an id and a note.")] = ()
    remove: Annotated[tuple[str, ...], Meta(description="Ids of features to take out.")] = ()
    note: Annotated[str | None, Meta(description="What the list is about; an empty text takes the note away.")] = None


class GraphsRequest(Request, frozen=True):
    """Which graphs."""

    feature: Annotated[
        str | None, Meta(description="Only the graphs that have this feature (model/source/index) as a node.")
    ] = None


class GraphPartRequest(Request, frozen=True):
    """How much of a graph."""

    node_threshold: Annotated[
        float | None,
        describe("Only the nodes of most influence that carry this share of it.", exclusiveMinimum=0, maximum=1),
    ] = None
    edge_threshold: Annotated[
        float | None,
        describe("Only the links of most influence that carry this share of it.", exclusiveMinimum=0, maximum=1),
    ] = None


class GraphEditRequest(Request, frozen=True):
    """Changes of what is pinned, grouped and named; nodes by node_id, or by a feature's id for all its nodes."""

    pin: Annotated[tuple[str, ...], Meta(description="Nodes to pin.")] = ()
    unpin: Annotated[tuple[str, ...], Meta(description="Nodes that are pinned no more.")] = ()
    group: Annotated[
        dict[str, list[str]] | None, Meta(description="The nodes of supernodes, by name, in place of those they had.")
    ] = None
    ungroup: Annotated[tuple[str, ...], Meta(description="Supernodes to dissolve, by name.")] = ()
    name: Annotated[dict[str, str | None] | None, Meta(description="Texts of nodes; null takes one back.")] = None


class JobRequest(Request, frozen=True):
    """Which work to start."""

    kind: Annotated[str, describe("What to do: index (compacts first), compact or check.", enum=list(KINDS))]


_Text = Annotated[str, describe("What the feature means: one line.", minLength=1, maxLength=MOST_LABEL)]
_Explainer = Annotated[
    Explainer,
    describe("Who says so: human, or the name of a model. It replaces what they said before.", maxLength=MOST_NAME),
]
_Prompt = Annotated[str | None, Meta(description="Name and version of the prompt or method, as in pairs/1.")]
_Examples = Annotated[
    Annotated[int, Meta(ge=0, le=2**31 - 1)] | None, Meta(description="How many examples were looked at.")
]


class LabelRequest(Request, frozen=True):
    """A label of the feature in the path."""

    label: _Text
    explainer: _Explainer = "human"
    prompt: _Prompt = None
    examples: _Examples = None


class LabelOf(Request, frozen=True):
    """A label of a feature."""

    id: Annotated[str, Meta(description="The feature: model/source/index.")]
    label: _Text
    explainer: _Explainer = "human"
    prompt: _Prompt = None
    examples: _Examples = None


class LabelsRequest(Request, frozen=True):
    """Labels of several features."""

    labels: Annotated[
        tuple[LabelOf, ...], Meta(description="All are written, or none.", min_length=1, max_length=MOST_LABELS)
    ]


class RemoveLabelRequest(Request, frozen=True):
    """Whose label of the feature in the path is taken back."""

    explainer: Annotated[Explainer, describe("Who said it: human, or the name of a model.", maxLength=MOST_NAME)] = (
        "human"
    )


class VoteRequest(Request, frozen=True):
    """A vote on one of the labels of the feature in the path."""

    label: _Text
    vote: Annotated[int, describe("1 for it, -1 against it, 0 to take the vote back.", minimum=-1, maximum=1)]
    voter: Annotated[str, describe("Who votes; a voter's newest vote counts.", maxLength=MOST_NAME)] = "human"
