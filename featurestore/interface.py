"""FeatureStore: the methods that a local Store and a remote Client share.

Abstract methods come first: both kinds of store implement them. The methods after them are made of these, for both.
Dictionaries and their features are written to local stores only (`Store.writer`).
"""

from __future__ import annotations

import abc
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from featurestore.errors import BadRequest
from featurestore.ids import DictionariesLike, DictionaryLike, FeaturesLike
from featurestore.progress import Progress, no_progress
from featurestore.query import MAX_K, Mode, Over, Query, check_names
from featurestore.values.comparisons import Comparison
from featurestore.values.dictionary import Coverage, Dictionaries, Dictionary, StoreInfo, pick_dictionary
from featurestore.values.examples import Examples
from featurestore.values.feature import (
    Feature,
    FeatureLike,
    Features,
    GivenLabel,
    LabelChange,
    Scores,
    id_text,
    id_texts,
    is_feature,
)
from featurestore.values.graphs import Graph, GraphAdded, Graphs, NodeLike
from featurestore.values.hits import Activating, Contrast, Duplicates, Hits, Neighbourhood
from featurestore.values.jobs import Job, Jobs
from featurestore.values.lists import FeatureList, FeatureLists, ListedFeature, is_list_name
from featurestore.values.parameters import Parameters
from featurestore.values.row_stream import RowStream, RowTable
from featurestore.values.tables import require
from featurestore.weights import Weights, read_weights

if TYPE_CHECKING:
    import numpy
    import pyarrow

    from featurestore.display.plots import Picture


class FeatureStore(abc.ABC):
    """A store of features. Use as a context manager, or call `close()`."""

    location: str

    # --- implemented by each kind of store ----------------------------------------------------------------------

    @abc.abstractmethod
    def info(self) -> StoreInfo:
        """Returns what the store holds: how many rows of each kind, its commit and its location."""

    @abc.abstractmethod
    def coverage(self) -> tuple[Coverage, ...]:
        """Returns for each dictionary how many of its features have a label, and whose labels are shown."""

    @abc.abstractmethod
    def dictionaries(self) -> Dictionaries:
        """Returns every dictionary, ordered by id."""

    @abc.abstractmethod
    def feature(self, id: FeatureLike, examples: int | None = None) -> Feature:
        """Returns one feature's whole page; `examples` limits the examples of each band.

        Raises BadRequest for a malformed id and NotFound for a dictionary or index that is not there.
        """

    @abc.abstractmethod
    def vector(self, id: FeatureLike, target: int | None = None) -> numpy.ndarray:
        """Returns the feature's decoder vector, (d_out,) float32. Raises as `feature` does.

        A feature of a cross-layer transcoder has a vector for each layer it writes to: `target` is that layer.
        Searches, and calls without `target`, take the first. Raises NotFound for a layer it does not write to.
        """

    @abc.abstractmethod
    def features(self, ids: FeaturesLike, examples: int | None = None) -> Features:
        """Returns many features' pages, in the order of the ids; over HTTP 1,000 in a request.

        Raises as `feature` does.
        """

    @abc.abstractmethod
    def examples(self, ids: FeaturesLike, examples: int | None = None, band: str | None = None) -> Examples:
        """Returns examples of one feature or of many, in the order of the ids: a tuple that can be a table too.

        At most `examples` of each band, and of `band` alone where one is named, as in "top". Raises as `feature` does.
        """

    @abc.abstractmethod
    def features_where(self, where: str = "true", examples: int | None = None) -> Iterator[Feature]:
        """Yields the pages of the features for which an SQL condition over the view `features` holds, by id.

        Pages are read as they are taken, however many there are. `examples` limits the examples of each band.
        Taking the first page raises BadRequest for a malformed condition.
        """

    @abc.abstractmethod
    def scores(self, id: FeatureLike) -> Scores:
        """Returns the scores of a feature's labels, the newest by each method and judge. Raises as `feature` does."""

    @abc.abstractmethod
    def vectors(
        self,
        ids: FeaturesLike | None = None,
        dictionary: DictionaryLike | None = None,
        encoder: bool = False,
        target: int | None = None,
    ) -> numpy.ndarray:
        """Returns decoder vectors of features of one width, (n, d_out) float32, or those of a whole dictionary.

        With `dictionary` in the place of `ids` it is the matrix that the store keeps, (d_sae, d_out) float16, mapped
        to its file where it is one, for reading only. With `encoder` it is W_enc transposed, (d_sae, d_in) float32,
        from the weights that the dictionary names; a service must have them. `target` is a layer, as in `vector`.
        Raises as `feature` does, BadRequest for several widths, Unavailable where the weights are missing.
        """

    @abc.abstractmethod
    def run(self, query: Query) -> Hits:
        """Returns the answer to a query. Raises BadRequest or NotFound, naming what is wrong with it."""

    @abc.abstractmethod
    def activating(
        self,
        text: str,
        dictionary: DictionariesLike | None = None,
        k: int = 10,
        order: str = "specific",
        features: FeaturesLike | None = None,
        token: int | None = None,
    ) -> Activating:
        """Returns the k features that fire hardest on a text, with their activation on each token.

        With `features`, up to 1,000 ids of one model, the answer has these alone, in the order given, also those that
        are silent on the text; `k`, `order` and `token` then mean nothing. With `token`, the place of a token in the
        text, it has those that fire hardest on this token.

        `dictionary` names one or several (default: all of one model). `order` is "specific" (activation relative to the
        feature's largest in the corpus, weighted against dense features) or "activation" (as it is).
        Raises Unavailable when the model's files or torch are missing.
        """

    @abc.abstractmethod
    def contrast(
        self,
        texts: Sequence[str],
        against: Sequence[str],
        dictionary: DictionariesLike | None = None,
        k: int = 10,
    ) -> Contrast:
        """Returns the k features that fire more on `texts` than on `against`: 1 to 200 texts on either side.

        Of each text a feature's strongest activation counts; features are ordered by the difference of the means, as a
        share of the feature's largest. Raises as `activating` does.
        """

    @abc.abstractmethod
    def neighbourhood(self, id: FeatureLike, k: int = 8, within: DictionariesLike | None = None) -> Neighbourhood:
        """Returns a feature, its k nearest and theirs, as a graph; `within` limits them to dictionaries or models.

        The feature and its k nearest have an edge to each of their own k nearest.
        """

    @abc.abstractmethod
    def duplicates(
        self,
        dictionary: DictionaryLike,
        against: DictionariesLike | None = None,
        cosine: float = 0.9,
        k: int = 100,
        progress: Progress = no_progress,
    ) -> Duplicates:
        """Returns the k pairs of largest cosine of a dictionary's features and their nearest in other dictionaries.

        Pairs have at least this `cosine`. `against` names dictionaries of the same space (default: all others of it);
        the dictionary itself may be among them. Dead and always-on features are left out on both sides. `progress`
        shows how many features are compared.
        """

    @abc.abstractmethod
    def compare(
        self,
        *ids: FeatureLike | Dictionary | Sequence[FeatureLike | Dictionary],
        k: int = 20,
        cosine: float | Sequence[float] = (0.5, 0.7, 0.9),
        examples: int = 5,
        progress: Progress = no_progress,
    ) -> Comparison:
        """Returns what two to eight features, or two dictionaries of one space, have in common.

        The ids are given one by one or as a list. Of features it is a FeatureComparison: the matrix of cosines, for
        each pair the tokens, contexts and logits that both have, and at most `examples` examples of each, in turn.

        Of dictionaries it is a DictionaryComparison: each feature's best match in the other, by cosine, without dead
        and always-on features. It counts those that reach each `cosine`, and has the `k` first matches and the `k`
        features of either that are farthest from a match. `progress` shows how many are compared. Raises NotFound
        where a dictionary has no vectors, BadRequest for vectors of different widths.
        """

    @abc.abstractmethod
    def sql(
        self,
        statement: str,
        parameters: Parameters | None = None,
        max_rows: int | None = None,
        timeout: float | None = None,
    ) -> RowTable:
        """Returns the rows of one SELECT over the views of schema.sql, and of searches in it; `df()` makes a frame.

        A search is a table function: `FROM semantic('deception', k := 100)`.
        `parameters` are the values of the statement's parameters: `{"layer": 3}` for `$layer`, `[3]` for `?` and `$1`;
        each None, bool, int, float, str, datetime or a list of these. Searches take them: `semantic($text, k := $k)`.
        When more than `max_rows` rows exist the first are returned, and the table's schema metadata has the key
        `featurestore.truncated`. Raises BadRequest for anything but one readable SELECT, and for a parameter
        without a value or a value without a parameter; Unavailable past `timeout` (s).
        """

    @abc.abstractmethod
    def stream(self, statement: str, parameters: Parameters | None = None, timeout: float | None = None) -> RowStream:
        """Returns the rows of `sql` in batches as they come, however many. Close the stream, or read it to its end.

        Errors after the first batch are raised while the stream is read.
        """

    @abc.abstractmethod
    def graphs(self, feature: FeatureLike | None = None) -> Graphs:
        """Returns every attribution graph, ordered by name; of a `feature` those that it is a node of.

        Raises BadRequest for what is no id.
        """

    @abc.abstractmethod
    def graph(self, slug: str, node_threshold: float | None = None, edge_threshold: float | None = None) -> Graph:
        """Returns one graph: its nodes, with the best label of each feature of the store, and its links.

        With thresholds it is the part that carries these shares of the influence on the logits, 0 to 1: the nodes of
        most influence until they carry `node_threshold` of it, then the links. Tokens and logits stay. Raises NotFound,
        and BadRequest for a share out of range.
        """

    @abc.abstractmethod
    def graph_file(self, slug: str) -> dict[str, Any]:
        """Returns a graph as the JSON it was read from; `clerp` of features is their best label. Raises NotFound."""

    @abc.abstractmethod
    def add_graph(
        self,
        graph: str | Path | Mapping[str, Any],
        slug: str | None = None,
        map: Sequence[str] = (),
        replace: bool = False,
        tool: str | None = None,
    ) -> GraphAdded:
        """Keep an attribution graph of circuit-tracer or Neuronpedia, given as a file or as its JSON.

        Returns how many nodes and links it has, and how many nodes are features of the store. `slug` is a name in
        place of the file's. `map` names the dictionaries of its features, as in "12=model/source" or
        "model/{layer}-source"; without it they are found by what the file and the store's dictionaries have in
        common. `tool` is recorded as the writer; a service records itself and the key. Raises BadRequest for a
        malformed graph, Conflict for a name that exists (unless `replace`), Forbidden where a service takes no
        writes.
        """

    @abc.abstractmethod
    def save_graph(self, slug: str, view: Mapping[str, Any], tool: str | None = None) -> None:
        """Keep what a person pinned, grouped and named in a graph, in place of what was kept before.

        `view` is what front ends of graphs call qParams, such as pinnedIds, supernodes and clerps; the graph's nodes
        and links stay. Raises NotFound, BadRequest for a view larger than a megabyte, Forbidden where a service takes
        no writes.
        """

    @abc.abstractmethod
    def edit_graph(
        self,
        slug: str,
        pin: NodeLike | Sequence[NodeLike] = (),
        unpin: NodeLike | Sequence[NodeLike] = (),
        group: Mapping[str, NodeLike | Sequence[NodeLike]] | None = None,
        ungroup: Sequence[str] = (),
        name: Mapping[str, str | None] | None = None,
        tool: str | None = None,
    ) -> dict[str, Any]:
        """Change what is pinned, grouped and named in a graph. Returns its view after that, as `graph(slug).view`.

        Nodes are given by `node_id`, or by a feature's id for all its nodes. `group` has the nodes of supernodes by
        name, in place of those that they had; `name` has texts of nodes, None takes one back. Raises NotFound for a
        node or supernode that is not there, Forbidden where a service takes no writes.
        """

    @abc.abstractmethod
    def remove_graph(self, slug: str, tool: str | None = None) -> None:
        """Remove a graph. Raises NotFound."""

    @abc.abstractmethod
    def lists(self) -> FeatureLists:
        """Returns every list of features that is kept in the store, ordered by name, without its features."""

    @abc.abstractmethod
    def feature_list(self, name: str) -> FeatureList:
        """Returns one list: its features in order, each with its note and best label. Raises NotFound."""

    @abc.abstractmethod
    def save_list(
        self,
        name: str,
        features: FeatureLike | Sequence[FeatureLike | ListedFeature] = (),
        note: str | None = None,
        replace: bool = False,
        keep_missing: bool = False,
        tool: str | None = None,
    ) -> FeatureList:
        """Keep a list of features under a name, and return it. Searches then take `among="@name"`.

        `features` are given in any form of an id, or as ListedFeature with a note each; 10,000 at most. `note` is about
        the list. `keep_missing` takes features that the store has not, as of a list from elsewhere. Raises BadRequest
        for another name than of letters, digits, `_`, `-` and `.`, NotFound for a missing feature, Conflict for a name
        that exists (unless `replace`), Forbidden where a service takes no writes.
        """

    @abc.abstractmethod
    def change_list(
        self,
        name: str,
        add: FeatureLike | Sequence[FeatureLike | ListedFeature] = (),
        remove: FeaturesLike = (),
        note: str | None = None,
        tool: str | None = None,
    ) -> FeatureList:
        """Add features to a list, take some out, change its note ("" takes it away); returns the list after that.

        A feature that the list has keeps its place, and gets the new note where one is given. Raises NotFound for a
        list or feature that is not there, Conflict when another writer changes it meanwhile, and as `save_list` does.
        """

    @abc.abstractmethod
    def remove_list(self, name: str, tool: str | None = None) -> None:
        """Remove a list, but not its features. Raises NotFound."""

    @abc.abstractmethod
    def add_labels(self, given: Sequence[GivenLabel], tool: str | None = None) -> int:
        """Write labels of features, all in one commit or none. Returns the number of the commit.

        `tool` is recorded as the writer; a service records itself and the key, and takes 1,000 labels at once.
        Raises BadRequest, NotFound for a missing feature, Conflict when its dictionary is replaced meanwhile, Forbidden
        where a service takes no writes.
        """

    @abc.abstractmethod
    def remove_label(self, id: FeatureLike, explainer: str = "human", tool: str | None = None) -> None:
        """Take back what `explainer` says of a feature; what others say stays, and the history keeps the text.

        Raises NotFound when there is no such label, and as `add_labels` does.
        """

    @abc.abstractmethod
    def label_history(self, id: FeatureLike) -> tuple[LabelChange, ...]:
        """Returns every label the feature was ever given, and which were taken back, the newest first.

        Raises as `feature` does.
        """

    @abc.abstractmethod
    def vote(self, id: FeatureLike, label: str, vote: int, voter: str = "human", tool: str | None = None) -> None:
        """Vote on one of a feature's labels: 1 for it, -1 against it, 0 takes the vote back; a voter's newest counts.

        Raises NotFound when the feature has no such label, BadRequest for another vote, and as `add_labels` does.
        """

    @abc.abstractmethod
    def jobs(self) -> Jobs:
        """Returns harvests, labelling, scoring and maintenance of the store that run or ran lately, the newest first.

        They are recorded beside stores in a directory; for an object store there are none.
        """

    @abc.abstractmethod
    def job(self, id: str) -> Job:
        """Returns one job. Raises NotFound."""

    @abc.abstractmethod
    def start_job(self, kind: str) -> Job:
        """Start an index, compact or check in its own process. Returns the job as it begins; `job` gives its progress.

        Raises BadRequest for another kind, Conflict where one of this kind runs.
        """

    @abc.abstractmethod
    def cancel_job(self, id: str) -> Job:
        """End a job that `start_job` began, or forget one that has ended. Returns the job after that.

        Raises NotFound, or Conflict for a job that runs in a terminal or program of its user.
        """

    def close(self) -> None:  # noqa: B027 - a store may have nothing to close
        """Close files and connections."""

    # --- the same for all ---------------------------------------------------------------------------------------

    @check_names
    def search(
        self,
        text: str,
        *,
        mode: Mode | None = None,
        over: Over | Sequence[Over] = (),
        within: DictionariesLike | None = None,
        where: str | None = None,
        among: FeaturesLike | None = None,
        k: int = 10,
        all: bool = False,
        structural: bool | None = None,
        group: bool | None = None,
        cursor: str | None = None,
    ) -> Hits:
        """Returns the features whose labels match `text`, best first; the other arguments are fields of Query."""
        return self.run(Query.of(_list_fields(locals())))

    @check_names
    def nearest(
        self,
        to: FeaturesLike | Sequence[float] | numpy.ndarray,
        *,
        unlike: FeaturesLike = (),
        opposite: bool = False,
        space: str | None = None,
        within: DictionariesLike | None = None,
        where: str | None = None,
        among: FeaturesLike | None = None,
        k: int = 10,
        all: bool = False,
        structural: bool | None = None,
        group: bool | None = None,
        cursor: str | None = None,
    ) -> Hits:
        """Returns the features whose decoder vectors have the largest cosine to `to`: a feature, several, or a vector.

        The other arguments are fields of Query: directions of the features `unlike` are subtracted; `opposite` ranks by
        the opposite direction.
        """
        fields = _list_fields(locals())
        given: Any = fields.pop("to")
        if not is_feature(given) and not isinstance(given, Iterable):
            raise BadRequest(f"to: {given!r:.100} is no feature, no list of features and no vector")
        if isinstance(given, Iterator):
            given = list(given)
        is_vector = not is_feature(given) and not any(is_feature(item) for item in given)
        return self.run(Query.of(fields | {"vector" if is_vector else "near": given}))

    @check_names
    def rerank(
        self,
        text: str,
        ids: FeaturesLike,
        *,
        mode: Mode | None = None,
        over: Over | Sequence[Over] = (),
        within: DictionariesLike | None = None,
        where: str | None = None,
        k: int | None = None,
        all: bool = True,
        structural: bool | None = None,
        group: bool | None = None,
        cursor: str | None = None,
    ) -> Hits:
        """Returns these features, ranked by how well their labels match `text`, without those that have no label.

        `@name` among the ids stands for the features of a list. All are returned where `k` is not given; the other
        arguments are fields of Query.
        """
        fields = _list_fields(locals())
        among = id_texts(fields.pop("ids"))
        if k is None:
            fields["k"] = MAX_K if any(map(is_list_name, among)) else max(1, len(among))
        return self.run(Query.of(fields | {"among": among}))

    def set_label(self, id: FeatureLike, label: str, explainer: str = "human") -> None:
        """Write a label, which replaces the former one of `explainer`. Raises as `add_labels` does."""
        self.add_labels([GivenLabel(id=id_text(id), label=label, explainer=explainer)])

    @check_names
    def pages(
        self,
        *,
        text: str | None = None,
        near: FeaturesLike = (),
        vector: Sequence[float] | numpy.ndarray | None = None,
        unlike: FeaturesLike = (),
        opposite: bool = False,
        mode: Mode | None = None,
        over: Over | Sequence[Over] = (),
        space: str | None = None,
        within: DictionariesLike | None = None,
        where: str | None = None,
        among: FeaturesLike | None = None,
        k: int = 10,
        all: bool = False,
        structural: bool | None = None,
        group: bool | None = None,
        cursor: str | None = None,
    ) -> Iterator[Hits]:
        """Yields the answer to a query, whose fields these are, page by page, `k` hits each, to the end."""
        page_query = Query.of(_list_fields(locals()))
        while True:
            page = self.run(page_query)
            if page.hits or page_query.cursor is None:
                yield page
            if page.next is None:
                return
            page_query = msgspec.structs.replace(page_query, cursor=page.next)

    def dictionary(self, id: DictionaryLike) -> Dictionary:
        """Returns one dictionary, by its id or by its model/source on Neuronpedia.

        Raises NotFound, which names those of the store.
        """
        return pick_dictionary(self.dictionaries(), id)

    def vectors_to_arrow(
        self, dictionary: DictionaryLike, encoder: bool = False, target: int | None = None
    ) -> pyarrow.Table:
        """Returns a dictionary's vectors as a table: id, feature and vector, a list of fixed size.

        It shares the memory of `vectors(dictionary=...)`, and raises as that does.
        """
        from featurestore.values.matrix import Matrix

        matrix = self.vectors(dictionary=dictionary, encoder=encoder, target=target)
        return Matrix([matrix]).to_arrow(self.dictionary(dictionary).dictionary)

    def sae(self, dictionary: DictionaryLike, weights: str | Path | None = None) -> Weights:
        """Returns a dictionary's weights as torch tensors, read on this machine; `to_sae_lens()` is sae_lens's object.

        They are read from where the store says, or from `weights`, and must have the hash that the store has. Raises
        NotFound for another dictionary, Unavailable where the weights or torch are missing, and for a place that the
        store names and that may not be opened: SECURITY.md says which may.
        """
        return read_weights(self.dictionary(dictionary), self._may_open, weights)

    def _may_open(self, location: str) -> bool:
        """Returns whether a model or weights that the store names may be opened on this machine."""
        return False

    def plot_density(self, dictionary: DictionaryLike, bins: int = 60) -> Picture:
        """Returns a figure of matplotlib: how many features of a dictionary fire how often; dead ones are counted.

        Raises NotFound for another dictionary, Unavailable where matplotlib is not installed.
        """
        return self.plot_hist("density", dictionary=dictionary, bins=bins, log=True)

    def plot_hist(
        self,
        column: str,
        where: str = "true",
        dictionary: DictionaryLike | None = None,
        bins: int = 60,
        log: bool | None = None,
    ) -> Picture:
        """Returns a figure of matplotlib: how many features have which value of a numeric column of the view features.

        `where` is an SQL condition over that view. The axis is logarithmic where `log` says so, else by the values.
        Raises BadRequest for a column that has no numbers, and as `plot_density` does.
        """
        title, (values,) = self._read_columns([column], where, dictionary)
        from featurestore.display import plots

        return plots.plot_hist(values, column, title, bins, log)

    def plot_scatter(
        self, x: str, y: str, where: str = "true", dictionary: DictionaryLike | None = None, color: str | None = None
    ) -> Picture:
        """Returns a figure of matplotlib: a point for each feature by two numeric columns of the view features.

        `color` is a third one; all else is as in `plot_hist`.
        """
        columns = [x, y] if color is None else [x, y, color]
        title, values = self._read_columns(columns, where, dictionary)
        from featurestore.display import plots

        colors = None if color is None else values[2]
        return plots.plot_scatter(values[0], values[1], (x, y), title, colors, color or "")

    def _read_columns(
        self, columns: Sequence[str], where: str, dictionary: DictionaryLike | None
    ) -> tuple[str, list[numpy.ndarray]]:
        """Returns whose features these are, and the numbers of the columns; those without one are NaN."""
        import pyarrow

        require("matplotlib", "plot")
        for column in columns:
            if re.fullmatch("[a-z_]+", column) is None:
                raise BadRequest(f"column: '{column:.60}' is not a column of the view features, as density is")
        listed = ", ".join(columns)
        name = None if dictionary is None else self.dictionary(dictionary).dictionary
        if not where.strip():
            raise BadRequest("where: the condition is empty; leave it out to take all")
        # The condition may close its bracket, and does not reach beyond this one.
        statement = (
            f"SELECT {listed} FROM (FROM features WHERE $name IS NULL OR dictionary = $name) WHERE (\n{where}\n)"
        )
        rows = self.stream(statement, {"name": name}).to_arrow()
        for field in rows.schema:
            kinds = pyarrow.types
            if not (kinds.is_integer(field.type) or kinds.is_floating(field.type) or kinds.is_boolean(field.type)):
                raise BadRequest(f"column: {field.name} has no numbers but {field.type}")
        values = [rows.column(place).cast(pyarrow.float64()) for place in range(len(columns))]
        return name or self.location, [column.to_numpy(zero_copy_only=False) for column in values]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.location!r})"


def _list_fields(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a method, as its `locals()` are when it begins, without itself."""
    return {name: value for name, value in arguments.items() if name != "self"}
