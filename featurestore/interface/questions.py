"""What every store can be asked; each kind of store answers it in its own way."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from featurestore.ids import DictionariesLike, DictionaryLike, FeaturesLike
from featurestore.progress import Progress, no_progress
from featurestore.query import Query
from featurestore.values.comparisons import Comparison
from featurestore.values.dictionary import Coverage, Dictionaries, Dictionary, StoreInfo
from featurestore.values.examples import Examples
from featurestore.values.feature import (
    Feature,
    FeatureLike,
    Features,
    LabelChange,
    Scores,
)
from featurestore.values.graphs import Graph, Graphs
from featurestore.values.hits import Activating, Contrast, Duplicates, Hits, Neighbourhood
from featurestore.values.jobs import Job, Jobs
from featurestore.values.lists import FeatureList, FeatureLists
from featurestore.values.parameters import Parameters
from featurestore.values.row_stream import RowStream, RowTable

if TYPE_CHECKING:
    import numpy


class Questions(abc.ABC):
    """Features, searches, SQL, graphs, lists and jobs, for reading."""

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

        At most `examples` of each band, and of `band` alone where one is named, as in "top". Raises as `feature` does,
        and BadRequest for a band that no example of the store is in.
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
    def lists(self) -> FeatureLists:
        """Returns every list of features that is kept in the store, ordered by name, without its features."""

    @abc.abstractmethod
    def feature_list(self, name: str) -> FeatureList:
        """Returns one list: its features in order, each with its note and best label. Raises NotFound."""

    @abc.abstractmethod
    def label_history(self, id: FeatureLike) -> tuple[LabelChange, ...]:
        """Returns every label the feature was ever given, and which were taken back, the newest first.

        Raises as `feature` does.
        """

    @abc.abstractmethod
    def jobs(self) -> Jobs:
        """Returns harvests, labelling, scoring and maintenance of the store that run or ran lately, the newest first.

        They are recorded beside stores in a directory; for an object store there are none.
        """

    @abc.abstractmethod
    def job(self, id: str) -> Job:
        """Returns one job. Raises NotFound."""
