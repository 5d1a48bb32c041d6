"""What a feature store can be asked, wherever it is: the base that the local Store and the remote Client share.

All sugar lives here, once; a store implements the primitives below it. Reads, labels and votes are shared; all else is written locally (writer.py).
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from featurestore.errors import BadRequest
from featurestore.progress import Progress, no_progress
from featurestore.query import Query
from featurestore.values.dictionary import Dictionaries, Dictionary, StoreInfo, pick_dictionary
from featurestore.values.feature import Feature, Features, GivenLabel, Scores
from featurestore.values.graphs import Graph, GraphAdded, Graphs
from featurestore.values.hits import Activating, Contrast, Duplicates, Hits, Neighbourhood
from featurestore.values.jobs import Job, Jobs
from featurestore.values.parameters import Parameters
from featurestore.values.row_stream import RowStream

if TYPE_CHECKING:
    import numpy
    import pyarrow


class FeatureStore(abc.ABC):
    """Questions to a store of features. Use as a context manager, or call `close()`."""

    location: str

    # --- primitives ---------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def info(self) -> StoreInfo:
        """What the store holds."""

    @abc.abstractmethod
    def dictionaries(self) -> Dictionaries:
        """Every dictionary, ordered by id."""

    @abc.abstractmethod
    def feature(self, id: str, examples: int | None = None) -> Feature:
        """One feature's whole page; `examples` limits the examples of each band.

        Raises BadRequest for a malformed id and NotFound for a dictionary or index that is not there.
        """

    @abc.abstractmethod
    def vector(self, id: str, target: int | None = None) -> numpy.ndarray:
        """The feature's decoder vector, (d_out,) float32. Raises as `feature` does.

        A feature of a cross-layer transcoder has one for each layer it writes to: `target` says which, and the first is
        taken else, by searches too. Raises NotFound for a layer it does not write to.
        """

    @abc.abstractmethod
    def features(self, ids: Sequence[str], examples: int | None = None) -> Features:
        """Many features' pages, in the order of the ids; over HTTP 1,000 in a request. Raises as `feature` does."""

    @abc.abstractmethod
    def features_where(self, where: str = "true", examples: int | None = None) -> Iterator[Feature]:
        """The pages of all features for which an SQL condition over the view `features` holds, one after another by id.

        However many: they are read as they are taken. `examples` limits the examples of each band. The first one that is
        taken raises BadRequest for what is no condition.
        """

    @abc.abstractmethod
    def scores(self, id: str) -> Scores:
        """The scores of a feature's labels: the newest of each label by each method and judge. Raises as `feature` does."""

    @abc.abstractmethod
    def vectors(self, ids: Sequence[str]) -> numpy.ndarray:
        """Decoder vectors of features of one width, (n, d_out) float32. Raises as `feature` does, and BadRequest for
        several widths."""

    @abc.abstractmethod
    def run(self, query: Query) -> Hits:
        """The answer to a query. Raises BadRequest or NotFound naming what is wrong with it."""

    @abc.abstractmethod
    def activating(
        self, text: str, dictionary: str | Sequence[str] | None = None, k: int = 10, order: str = "specific"
    ) -> Activating:
        """The k features that fire hardest on a text, with their activation on each token.

        `dictionary` names one or several (default: all of one model). `order` is "specific" (activation relative to the
        feature's largest in the corpus, weighted against dense features) or "activation" (as it is).
        Raises Unavailable when the model's files or torch are not at hand.
        """

    @abc.abstractmethod
    def contrast(
        self,
        texts: Sequence[str],
        against: Sequence[str],
        dictionary: str | Sequence[str] | None = None,
        k: int = 10,
    ) -> Contrast:
        """The k features that fire more on `texts` than on `against`: 1 to 200 texts on either side.

        Of each text a feature's strongest activation counts; features are ordered by the difference of the means, as a
        share of the feature's largest. Raises as `activating` does.
        """

    @abc.abstractmethod
    def neighbourhood(self, id: str, k: int = 8, within: str | Sequence[str] = ()) -> Neighbourhood:
        """A feature, its k nearest and theirs, as a graph: an edge from each of the first k + 1 to its k nearest."""

    @abc.abstractmethod
    def duplicates(
        self,
        dictionary: str,
        against: str | Sequence[str] | None = None,
        cosine: float = 0.9,
        k: int = 100,
        progress: Progress = no_progress,
    ) -> Duplicates:
        """The k pairs of largest cosine, above `cosine`, of a dictionary's features and their nearest of other dictionaries.

        `against` names dictionaries of the same space (default: all others of it); the dictionary itself may be among
        them. Dead and always-on features are left out on both sides. `progress` is told of each advance.
        """

    @abc.abstractmethod
    def sql(
        self,
        statement: str,
        parameters: Parameters | None = None,
        max_rows: int | None = None,
        timeout: float | None = None,
    ) -> pyarrow.Table:
        """The result of one SELECT over the views of schema.sql, and of searches: `FROM semantic('deception', k := 100)`.

        `parameters` are the values of the statement's parameters: `{"layer": 3}` for `$layer`, `[3]` for `?` and `$1`;
        each None, bool, int, float, str, datetime or a list of these. A search takes them too: `semantic($text, k := $k)`.
        When more than `max_rows` rows exist the first are returned, and the table's schema metadata has the key
        `featurestore.truncated`. Raises BadRequest for anything but one readable SELECT, and for a parameter
        without a value or a value without a parameter; Unavailable past `timeout` (s).
        """

    @abc.abstractmethod
    def stream(self, statement: str, parameters: Parameters | None = None, timeout: float | None = None) -> RowStream:
        """As `sql`, the rows in batches as they come, however many: close the stream, or read it to its end.

        What goes wrong under way is raised by the stream.
        """

    @abc.abstractmethod
    def graphs(self) -> Graphs:
        """Every attribution graph, ordered by name."""

    @abc.abstractmethod
    def graph(self, slug: str) -> Graph:
        """One graph: its nodes, with the best label of those that are features of the store, and its links. Raises NotFound."""

    @abc.abstractmethod
    def graph_file(self, slug: str) -> dict[str, Any]:
        """A graph as the JSON it was read from, its features' `clerp` being their best labels. Raises NotFound."""

    @abc.abstractmethod
    def add_graph(
        self,
        graph: str | Path | Mapping[str, Any],
        slug: str | None = None,
        map: Sequence[str] = (),
        replace: bool = False,
        tool: str | None = None,
    ) -> GraphAdded:
        """Keep an attribution graph, of a file of circuit-tracer or Neuronpedia or of its JSON; what became of it.

        `slug` is its name in the place of its own. `map` says which dictionaries its features are of, as in "12=model/source"
        or "model/{layer}-source"; without it the file and the store's dictionaries say, as far as they do. `tool` is recorded as
        what wrote it; a service records itself and the key. Raises BadRequest for what is no graph, Conflict for a name that is
        taken unless `replace`, Forbidden by a service that takes none.
        """

    @abc.abstractmethod
    def remove_graph(self, slug: str, tool: str | None = None) -> None:
        """Remove a graph. Raises NotFound."""

    @abc.abstractmethod
    def add_labels(self, given: Sequence[GivenLabel], tool: str | None = None) -> int:
        """Say what features mean, all in one commit or none; the number of the commit.

        `tool` is recorded as what wrote them; a service records itself and the key, and takes 1,000 at once. Raises BadRequest,
        NotFound where a feature is not there, Conflict when its dictionary is replaced meanwhile, Forbidden by a service that
        takes none.
        """

    @abc.abstractmethod
    def vote(self, id: str, label: str, vote: int, voter: str = "human", tool: str | None = None) -> None:
        """Vote on one of a feature's labels: 1 for it, -1 against it, 0 to take the vote back; a voter's newest counts.

        Raises NotFound when the feature has no such label, BadRequest for another vote, and as `add_labels` does.
        """

    @abc.abstractmethod
    def jobs(self) -> Jobs:
        """Long work on the store that runs or ran of late, the newest first: harvests, labelling, scoring, maintenance.

        Of a store in a directory; nobody keeps account of an object store.
        """

    @abc.abstractmethod
    def job(self, id: str) -> Job:
        """One job. Raises NotFound."""

    @abc.abstractmethod
    def start_job(self, kind: str) -> Job:
        """Start an index, compact or check in its own process; the job as it begins, to be asked after by `job`.

        Raises BadRequest for another kind, Conflict where one of this kind runs.
        """

    @abc.abstractmethod
    def cancel_job(self, id: str) -> Job:
        """End a job that `start_job` began, or forget one that has ended; the job as it is then.

        Raises NotFound, or Conflict for a job that somebody runs by hand.
        """

    def close(self) -> None:  # noqa: B027 - a store may have nothing to let go of
        """Let go of files and connections."""

    # --- sugar --------------------------------------------------------------------------------------------------

    def search(self, text: str, **options: Any) -> Hits:
        """The features whose labels match `text`; options are the fields of Query (mode, over, within, where, k, all)."""
        return self.run(Query.of(text=text, **_tidy(options)))

    def nearest(self, to: str | Sequence[str] | Sequence[float] | numpy.ndarray, **options: Any) -> Hits:
        """The features whose decoder vectors have the largest cosine to a feature's (by id), several features' or a vector.

        Options are the fields of Query; `unlike` names features whose directions are subtracted, `opposite` turns round.
        """
        if isinstance(to, str) or any(isinstance(one, str) for one in to):
            return self.run(Query.of(near=to, **_tidy(options)))
        return self.run(Query.of(vector=tuple(float(x) for x in to), **_tidy(options)))

    def rerank(self, text: str, ids: Sequence[str], **options: Any) -> Hits:
        """These features, by how well their labels match `text`; those without a label are left out."""
        return self.search(text, among=tuple(ids), **{"k": max(1, len(ids)), "all": True} | options)

    def set_label(self, id: str, label: str, explainer: str = "human") -> None:
        """Say what a feature means, in place of what `explainer` said before. Raises as `add_labels` does."""
        self.add_labels([GivenLabel(id=id, label=label, explainer=explainer)])

    def pages(self, **query: Any) -> Iterator[Hits]:
        """The answer to a query (its fields, as for Query.of) page by page, `k` hits each, until there are no more."""
        asked = Query.of(**_tidy(query))
        while True:
            page = self.run(asked)
            if page.hits or asked.cursor is None:
                yield page
            if page.next is None:
                return
            asked = msgspec.structs.replace(asked, cursor=page.next)

    def dictionary(self, id: str) -> Dictionary:
        """One dictionary. Raises NotFound, naming what is there."""
        return pick_dictionary(self.dictionaries(), id)

    def __enter__(self):
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.location!r})"


def _tidy(options: dict[str, Any]) -> dict[str, Any]:
    # How Query.of reads its fields is no field of a query.
    if "strict" in options:
        raise BadRequest("Object contains unknown field `strict`")
    return options
