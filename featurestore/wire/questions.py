"""Every question of the HTTP interface. How to add one: CONTRIBUTING, "Add a question"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.query import Query
from featurestore.values.comparisons import Comparison, is_dictionary_id
from featurestore.values.dictionary import Dictionary, StoreInfo
from featurestore.values.feature import Feature
from featurestore.values.graphs import Graph, GraphAdded
from featurestore.values.hits import Activating, Contrast, Duplicates, Neighbourhood
from featurestore.values.jobs import Job
from featurestore.values.lists import FeatureList
from featurestore.wire import answers, requests
from featurestore.wire.limits import MOST_GRAPH
from featurestore.wire.question import ARROW, CSV, LINES, NPY, PARQUET, Question
from featurestore.wire.requests import Nothing

GET_OR_POST = ("GET", "POST")
COMPARISON: Any = Comparison  # one of two types
FEATURE_PATH = "<model>/<source>/<index>"


def choose_compare_lane(fields: Mapping[str, Sequence[str]]) -> str:
    """Return the lane of a comparison: that of dictionaries takes as long as running a model."""
    return "activating" if any(map(is_dictionary_id, fields.get("id", ()))) else "search"


# --- one thing, or a list ---------------------------------------------------------------------------------------

INFO = Question(name="info", summary="What the store holds.", path="/info", takes=Nothing, gives=StoreInfo)
COVERAGE = Question(
    name="coverage",
    summary="How many features of each dictionary have a label, and whose labels are shown.",
    path="/coverage",
    takes=Nothing,
    gives=answers.CoverageAnswer,
    lane="sql",
    tagged=True,
)
DICTIONARIES = Question(
    name="dictionaries",
    summary="Every dictionary, ordered by id.",
    path="/dictionaries",
    takes=Nothing,
    gives=answers.DictionariesAnswer,
    tagged=True,
)
DICTIONARY = Question(
    name="dictionary",
    summary="One dictionary.",
    path="/dictionaries/<model>/<source>",
    takes=Nothing,
    gives=Dictionary,
    tagged=True,
)
FEATURE = Question(
    name="feature",
    summary="One feature's whole page: statistics, histogram, examples, logit effects, labels.",
    path=f"/features/{FEATURE_PATH}",
    takes=requests.FeatureRequest,
    gives=Feature,
    tagged=True,
)
SCORES = Question(
    name="scores",
    summary="The scores of a feature's labels.",
    path=f"/scores/{FEATURE_PATH}",
    takes=Nothing,
    gives=answers.ScoresAnswer,
    tagged=True,
)
VECTOR = Question(
    name="vector",
    summary="A feature's decoder vector.",
    path=f"/vectors/{FEATURE_PATH}",
    takes=requests.VectorRequest,
    gives=answers.VectorAnswer,
    tagged=True,
)

# --- searches ---------------------------------------------------------------------------------------------------

SEARCH = Question(
    name="search",
    summary="The features whose labels match a text, best first.",
    path="/search",
    takes=Query,
    gives=answers.SearchAnswer,
    methods=GET_OR_POST,
    requires=("text",),
    without=("near", "vector", "unlike", "opposite", "space"),
    lane="search",
)
NEAREST = Question(
    name="nearest",
    summary="The features whose decoder vectors have the largest cosine to a feature's, or to a vector.",
    path="/nearest",
    takes=Query,
    gives=answers.SearchAnswer,
    methods=GET_OR_POST,
    without=("text", "mode", "over"),
    lane="search",
)
RERANK = Question(
    name="rerank",
    summary="Given features, by how well their labels match a text.",
    path="/rerank",
    takes=requests.RerankRequest,
    gives=answers.SearchAnswer,
    methods=("POST",),
    lane="search",
)
ACTIVATING = Question(
    name="activating",
    summary="The features that fire hardest on a text, with their activation on each token.",
    path="/activating",
    takes=requests.ActivatingRequest,
    gives=Activating,
    methods=GET_OR_POST,
    lane="activating",
)
CONTRAST = Question(
    name="contrast",
    summary="The features that fire more on some texts than on others.",
    path="/contrast",
    takes=requests.ContrastRequest,
    gives=Contrast,
    methods=("POST",),
    lane="activating",
)
NEIGHBOURHOOD = Question(
    name="neighbourhood",
    summary="A feature, its nearest and theirs, as a graph.",
    path=f"/neighbourhood/{FEATURE_PATH}",
    takes=requests.NeighbourhoodRequest,
    gives=Neighbourhood,
    methods=GET_OR_POST,
    lane="search",
)
DUPLICATES = Question(
    name="duplicates",
    summary="The features of a dictionary that others of its space have too.",
    path="/duplicates",
    takes=requests.DuplicatesRequest,
    gives=Duplicates,
    methods=("POST",),
    lane="activating",
)
COMPARE = Question(
    name="compare",
    summary="What two to eight features, or two dictionaries, have in common.",
    path="/compare",
    takes=requests.CompareRequest,
    gives=COMPARISON,
    lane="search",
    lane_by=choose_compare_lane,
    tagged=True,
)
SQL = Question(
    name="sql",
    summary="The rows of one SELECT over the views of schema.sql, and of searches inside it.",
    path="/sql",
    takes=requests.SqlRequest,
    gives=answers.Table,
    methods=GET_OR_POST,
    media=(LINES, CSV, ARROW, PARQUET),
    scope="sql",
    lane="sql",
)

# --- many features at once --------------------------------------------------------------------------------------

FEATURES = Question(
    name="features",
    summary="Up to 1,000 features' whole pages at once; "
    "sent as they come where lines (x-ndjson) or Arrow are accepted.",
    path="/features",
    takes=requests.FeaturesRequest,
    gives=answers.FeaturesAnswer,
    methods=("POST",),
    media=(LINES, ARROW),
    lane="search",
)
EXAMPLES = Question(
    name="examples",
    summary="The examples of up to 1,000 features; sent as they come where lines (x-ndjson) or Arrow are accepted.",
    path="/examples",
    takes=requests.ExamplesRequest,
    gives=answers.ExamplesAnswer,
    methods=("POST",),
    media=(LINES, ARROW),
    lane="search",
)
VECTORS = Question(
    name="vectors",
    summary="Up to 1,000 decoder vectors of one width at once; as an Arrow stream with Accept: Arrow.",
    path="/vectors",
    takes=requests.VectorsRequest,
    gives=answers.VectorsAnswer,
    methods=("POST",),
    media=(ARROW,),
    lane="search",
)

MATRIX = Question(
    name="matrix",
    summary="The decoder or encoder vectors of a whole dictionary; what they are as JSON, all of them with a format.",
    path="/matrices/<model>/<source>",
    takes=requests.MatrixRequest,
    gives=answers.MatrixAnswer,
    media=(NPY, ARROW),
    lane="activating",
)

# --- labels and votes -------------------------------------------------------------------------------------------

LABELS = Question(
    name="labels",
    summary="The newest label of each explainer, the best first.",
    path=f"/labels/{FEATURE_PATH}",
    takes=Nothing,
    gives=answers.LabelsAnswer,
    tagged=True,
)
LABEL = Question(
    name="label",
    summary="Say what a feature means, in place of what the same explainer said before; the feature's labels then.",
    path=f"/labels/{FEATURE_PATH}",
    takes=requests.LabelRequest,
    gives=answers.LabelsAnswer,
    methods=("PUT",),
    scope="write",
    lane="write",
)
REMOVE_LABEL = Question(
    name="remove_label",
    summary="Take back what one explainer says of a feature; the feature's labels then.",
    path=f"/labels/{FEATURE_PATH}",
    takes=requests.RemoveLabelRequest,
    gives=answers.LabelsAnswer,
    methods=("DELETE",),
    scope="write",
    lane="write",
)
LABEL_HISTORY = Question(
    name="label_history",
    summary="Every label a feature was ever given, and which were taken back, the newest first.",
    path=f"/label-history/{FEATURE_PATH}",
    takes=Nothing,
    gives=answers.LabelHistory,
    tagged=True,
)
LABEL_MANY = Question(
    name="label_many",
    summary="Say what up to 1,000 features mean, in one commit.",
    path="/labels",
    takes=requests.LabelsRequest,
    gives=answers.Written,
    methods=("POST",),
    scope="write",
    lane="write",
)
VOTE = Question(
    name="vote",
    summary="Vote on one of a feature's labels; the feature's labels then.",
    path=f"/votes/{FEATURE_PATH}",
    takes=requests.VoteRequest,
    gives=answers.LabelsAnswer,
    methods=("POST",),
    scope="write",
    lane="write",
)

# --- attribution graphs -----------------------------------------------------------------------------------------

GRAPHS = Question(
    name="graphs",
    summary="Every attribution graph, or those that a feature is a node of, ordered by name.",
    path="/graphs",
    takes=requests.GraphsRequest,
    gives=answers.GraphList,
    tagged=True,
)
GRAPH = Question(
    name="graph",
    summary="A graph: its nodes, with the best labels of those that are features of the store, and its links.",
    path="/graphs/<slug>",
    takes=requests.GraphPartRequest,
    gives=Graph,
    lane="search",
    tagged=True,
)
GRAPH_FILE = Question(
    name="graph_file",
    summary="A graph as circuit-tracer's JSON, its features' `clerp` being their best labels.",
    path="/graphs/<slug>/file",
    takes=Nothing,
    gives=dict[str, Any],
    lane="search",
    tagged=True,
)
PUT_GRAPH = Question(
    name="put_graph",
    summary="Keep an attribution graph under this name: what became of its nodes.",
    path="/graphs/<slug>",
    takes=requests.GraphRequest,
    gives=GraphAdded,
    methods=("PUT",),
    scope="write",
    lane="write",
    most_bytes=MOST_GRAPH,
)
SAVE_GRAPH = Question(
    name="save_graph",
    summary="Keep what a person pinned, grouped and named in a graph, in place of what was kept before.",
    path="/graphs/<slug>/view",
    takes=requests.GraphViewRequest,
    gives=answers.Saved,
    methods=("PUT",),
    scope="write",
    lane="write",
)
EDIT_GRAPH = Question(
    name="edit_graph",
    summary="Change what is pinned, grouped and named in a graph; all of it then.",
    path="/graphs/<slug>/view",
    takes=requests.GraphEditRequest,
    gives=answers.GraphView,
    methods=("POST",),
    scope="write",
    lane="write",
)
REMOVE_GRAPH = Question(
    name="remove_graph",
    summary="Remove a graph.",
    path="/graphs/<slug>",
    takes=Nothing,
    gives=answers.Removed,
    methods=("DELETE",),
    scope="write",
    lane="write",
)

# --- lists of features ------------------------------------------------------------------------------------------

LISTS = Question(
    name="lists",
    summary="Every list of features, ordered by name.",
    path="/lists",
    takes=Nothing,
    gives=answers.ListsAnswer,
    tagged=True,
)
FEATURE_LIST = Question(
    name="feature_list",
    summary="A list: its features in order, with their notes and best labels. Searches take it as among=@name.",
    path="/lists/<list>",
    takes=Nothing,
    gives=FeatureList,
    lane="search",
    tagged=True,
)
SAVE_LIST = Question(
    name="save_list",
    summary="Keep a list of features under this name; the list then.",
    path="/lists/<list>",
    takes=requests.ListRequest,
    gives=FeatureList,
    methods=("PUT",),
    scope="write",
    lane="write",
)
CHANGE_LIST = Question(
    name="change_list",
    summary="Add features to a list, take some out, change its note; the list then.",
    path="/lists/<list>",
    takes=requests.ListChangeRequest,
    gives=FeatureList,
    methods=("POST",),
    scope="write",
    lane="write",
)
REMOVE_LIST = Question(
    name="remove_list",
    summary="Remove a list, but not its features.",
    path="/lists/<list>",
    takes=Nothing,
    gives=answers.Removed,
    methods=("DELETE",),
    scope="write",
    lane="write",
)

# --- jobs -------------------------------------------------------------------------------------------------------

JOBS = Question(
    name="jobs",
    summary="Harvests, labelling, scoring and maintenance of the store that run or ran of late, the newest first.",
    path="/jobs",
    takes=Nothing,
    gives=answers.JobList,
)
JOB = Question(
    name="job",
    summary="One job: its state, how far it is, what came of it.",
    path="/jobs/<job>",
    takes=Nothing,
    gives=Job,
)
START_JOB = Question(
    name="start_job",
    summary="Start a maintenance in its own process, one of a kind at a time; Location says where to ask after it.",
    path="/jobs",
    takes=requests.JobRequest,
    gives=Job,
    methods=("POST",),
    scope="write",
    lane="write",
    status=202,
)
CANCEL_JOB = Question(
    name="cancel_job",
    summary="End a job that a service started, or forget one that has ended.",
    path="/jobs/<job>",
    takes=Nothing,
    gives=Job,
    methods=("DELETE",),
    scope="write",
    lane="write",
)

# --- the service itself -----------------------------------------------------------------------------------------

HEALTHZ = Question(
    name="healthz",
    summary="The process is alive.",
    path="/healthz",
    prefix="",
    takes=Nothing,
    gives=answers.Health,
    scope="",
)
READYZ = Question(
    name="readyz",
    summary="The store can be read: send requests here.",
    path="/readyz",
    prefix="",
    takes=Nothing,
    gives=answers.Health,
    scope="",
)

QUESTIONS: tuple[Question[Any, Any], ...] = tuple(value for value in globals().values() if isinstance(value, Question))
