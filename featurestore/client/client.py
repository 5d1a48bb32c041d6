"""Client: a remote store over HTTP, with the same methods and equal results. Needs no DuckDB, FAISS or torch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

import msgspec

from featurestore.client.transport import Transport, Wire
from featurestore.errors import BadRequest
from featurestore.graphs import file_format
from featurestore.ids import DictionariesLike, DictionaryLike, FeaturesLike
from featurestore.interface import FeatureStore
from featurestore.progress import Progress, no_progress
from featurestore.query import Query
from featurestore.storage.user_files import find_remembered, holds_data, is_remembered
from featurestore.values.comparisons import Comparison, are_dictionaries, list_thresholds, name_compared
from featurestore.values.dictionary import Dictionaries, Dictionary
from featurestore.values.examples import Examples, FeatureExample
from featurestore.values.feature import (
    Feature,
    FeatureLike,
    Features,
    GivenLabel,
    Scores,
    id_text,
    id_texts,
    note_service,
)
from featurestore.values.graphs import GraphAdded, Graphs, NodeLike, node_texts
from featurestore.values.hits import Activating, Hits
from featurestore.values.jobs import Jobs
from featurestore.values.lists import FeatureList, FeatureLists, ListedFeature, check_name, convert_features
from featurestore.values.parameters import Parameters, normalize, to_json
from featurestore.values.row_stream import RowStream, RowTable
from featurestore.weights import allows_locations
from featurestore.wire import limits, questions, requests
from featurestore.wire.question import Question

if TYPE_CHECKING:
    import numpy

Given = ParamSpec("Given")
Answer = TypeVar("Answer")
Value = TypeVar("Value")


@overload
def ask(
    method: Callable[Concatenate[FeatureStore, Given], Answer], question: Question[Any, Answer]
) -> Callable[Concatenate[FeatureStore, Given], Answer]: ...
@overload
def ask(
    method: Callable[Concatenate[FeatureStore, Given], Value],
    question: Question[Any, Answer],
    value_of: Callable[[Answer], Value],
) -> Callable[Concatenate[FeatureStore, Given], Value]: ...
def ask(
    method: Callable[..., Any], question: Question[Any, Any], value_of: Callable[[Any], Any] | None = None
) -> Callable[..., Any]:
    """Returns the client's form of a store's method: its arguments fill the question's path and request.

    The first argument is the id where the path has one; arguments that the request has no field for stay here.
    `value_of` gives the method's value from the answer, where they differ.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def _call(self: Client, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        id: Any = list(arguments.values())[1] if question.parts else None
        if "<index>" in question.path:
            id = id_text(id)
        answer = self._http.ask(question, question.request(arguments), id)
        return answer if value_of is None else value_of(answer)

    _call.__dict__.pop("__isabstractmethod__", None)  # which `wraps` copies from the interface
    return _call


class Client(FeatureStore):
    """The store behind a URL. Safe to share between threads."""

    def __init__(self, url: str, transport: Wire | None = None, timeout: float = 60.0, retries: int = 3):
        """Raises BadRequest for a malformed `url`; whether a service answers there shows with the first question.

        A key is taken from the URL (`https://any:KEY@host`) or from $FEATURESTORE_KEY. `timeout` is how many seconds an
        answer, or the next piece of it, may take. A service that is busy, restarting or unreachable is asked again
        `retries` times, after pauses that double or that it names itself. `transport` takes the place of the network.
        """
        self._given = (url, transport, timeout, retries)
        self._http = Transport(url, transport, timeout, retries)
        self.location = self._http.location

    def __reduce__(self) -> tuple[Any, ...]:
        """A client is pickled as what it was made from: a key of its URL travels along, one of the environment not."""
        return type(self), self._given

    def _may_open(self, location: str) -> bool:
        return allows_locations() or is_remembered(location) or holds_data(location)

    def _find_weights(self, entry: Dictionary) -> str | None:
        return find_remembered(entry.weights_location)  # a service says the last name of the place alone

    info = ask(FeatureStore.info, questions.INFO)
    dictionaries = ask(
        FeatureStore.dictionaries, questions.DICTIONARIES, lambda answer: Dictionaries(answer.dictionaries)
    )
    coverage = ask(FeatureStore.coverage, questions.COVERAGE, lambda answer: answer.dictionaries)
    contrast = ask(FeatureStore.contrast, questions.CONTRAST)
    neighbourhood = ask(FeatureStore.neighbourhood, questions.NEIGHBOURHOOD)
    duplicates = ask(FeatureStore.duplicates, questions.DUPLICATES)
    graphs = ask(FeatureStore.graphs, questions.GRAPHS, lambda answer: Graphs(answer.graphs))
    graph = ask(FeatureStore.graph, questions.GRAPH)
    graph_file = ask(FeatureStore.graph_file, questions.GRAPH_FILE)
    save_graph = ask(FeatureStore.save_graph, questions.SAVE_GRAPH, lambda answer: None)
    remove_graph = ask(FeatureStore.remove_graph, questions.REMOVE_GRAPH, lambda answer: None)
    lists = ask(FeatureStore.lists, questions.LISTS, lambda answer: FeatureLists(answer.lists))
    remove_label = ask(FeatureStore.remove_label, questions.REMOVE_LABEL, lambda answer: None)
    label_history = ask(FeatureStore.label_history, questions.LABEL_HISTORY, lambda answer: answer.changes)
    vote = ask(FeatureStore.vote, questions.VOTE, lambda answer: None)
    jobs = ask(FeatureStore.jobs, questions.JOBS, lambda answer: Jobs(answer.jobs))
    job = ask(FeatureStore.job, questions.JOB)
    start_job = ask(FeatureStore.start_job, questions.START_JOB)
    cancel_job = ask(FeatureStore.cancel_job, questions.CANCEL_JOB)

    def feature(self, id: FeatureLike, examples: int | None = None) -> Feature:
        """As the interface says; the page has the address of its page here."""
        page = self._http.ask(questions.FEATURE, requests.FeatureRequest(examples=examples), id_text(id))
        return note_service(page, self.location)

    def scores(self, id: FeatureLike) -> Scores:
        answer = self._http.ask(questions.SCORES, requests.Nothing(), id_text(id))
        return Scores(answer.scores, id_text(id))

    def run(self, query: Query) -> Hits:
        """As the interface says."""
        answer = self._http.ask(questions.NEAREST if query.text is None else questions.SEARCH, query)
        return Hits(**msgspec.structs.asdict(answer))

    def activating(
        self,
        text: str,
        dictionary: DictionariesLike | None = None,
        k: int = 10,
        order: str = "specific",
        features: FeaturesLike | None = None,
        token: int | None = None,
    ) -> Activating:
        """As the interface says."""
        ids = None if features is None else tuple(id_texts(features))
        arguments = {"text": text, "dictionary": dictionary, "k": k, "order": order, "feature": ids, "token": token}
        return self._http.ask(questions.ACTIVATING, questions.ACTIVATING.request(arguments))

    def compare(
        self,
        *ids: FeatureLike | Dictionary | Sequence[FeatureLike | Dictionary],
        k: int = 20,
        cosine: float | Sequence[float] = (0.5, 0.7, 0.9),
        examples: int = 5,
        progress: Progress = no_progress,
    ) -> Comparison:
        """As the interface says; a service compares dictionaries up to a size."""
        named = name_compared(ids)
        are_dictionaries(named)  # what cannot be compared is refused here, in the same words
        cosines = tuple(list_thresholds(cosine))
        request = requests.CompareRequest(id=named, k=k, cosine=cosines, examples=examples)
        answer: Comparison = self._http.ask(questions.COMPARE, request)
        return answer

    def vector(self, id: FeatureLike, target: int | None = None) -> numpy.ndarray:
        """As the interface says."""
        import numpy

        answer = self._http.ask(questions.VECTOR, requests.VectorRequest(target=target), id_text(id))
        return numpy.asarray(answer.vector, dtype=numpy.float32)

    def vectors(
        self,
        ids: FeaturesLike | None = None,
        dictionary: DictionaryLike | None = None,
        encoder: bool = False,
        target: int | None = None,
    ) -> numpy.ndarray:
        """As the interface says: of ids 1,000 in a request, of a dictionary as a stream, mapped to a temporary file
        where it is large.
        """
        import numpy

        from featurestore.values.matrix import check_vectors

        if (named := check_vectors(ids, dictionary, encoder, target)) is not None:
            request = requests.MatrixRequest(encoder=encoder, target=target, format="npy")
            return self._http.array(questions.MATRIX, request, self.dictionary(named).dictionary)
        parts = [self._vectors(batch) for batch in _batches_of([] if ids is None else id_texts(ids))]
        widths = sorted({rows.shape[1] for rows in parts})
        if len(widths) > 1:
            raise BadRequest(
                f"ids: their vectors have several widths ({', '.join(map(str, widths))}): ask for each alone"
            )
        return numpy.concatenate(parts) if parts else numpy.zeros((0, 0), dtype=numpy.float32)

    def _vectors(self, ids: tuple[str, ...]) -> numpy.ndarray:
        # Uncompressed: bits of directions hardly compress, and trying takes longer than sending them.
        table = self._http.table(questions.VECTORS, requests.VectorsRequest(ids=ids), encoding="identity")
        column = table.column("vector").combine_chunks()
        vectors: numpy.ndarray = column.flatten().to_numpy()
        return vectors.reshape(len(ids), -1)

    def features(self, ids: FeaturesLike, examples: int | None = None) -> Features:
        """As the interface says, 1,000 in a request."""
        # As JSON, which becomes Features in a third of the time that rows of Arrow take.
        answers = [
            self._http.ask(questions.FEATURES, requests.FeaturesRequest(ids=batch, examples=examples))
            for batch in _batches_of(id_texts(ids))
        ]
        return Features(note_service(page, self.location) for answer in answers for page in answer.features)

    def examples(self, ids: FeaturesLike, examples: int | None = None, band: str | None = None) -> Examples:
        """As the interface says, 1,000 features in a request."""
        answers = [
            self._http.ask(questions.EXAMPLES, requests.ExamplesRequest(ids=batch, examples=examples, band=band))
            for batch in _batches_of(id_texts(ids))
        ]
        groups = (group for answer in answers for group in answer.features)
        return Examples(FeatureExample.of(group.id, example) for group in groups for example in group.examples)

    def features_where(self, where: str = "true", examples: int | None = None) -> Iterator[Feature]:
        """As the interface says, a hundred in a request; later requests may see what is written meanwhile."""
        request = requests.FeaturesRequest(where=where, limit=limits.FEATURES_A_PAGE, examples=examples)
        while True:
            page = self._http.ask(questions.FEATURES, request)
            yield from (note_service(feature, self.location) for feature in page.features)
            if page.next is None:
                return
            request = msgspec.structs.replace(request, cursor=page.next)

    def sql(
        self,
        statement: str,
        parameters: Parameters | None = None,
        max_rows: int | None = None,
        timeout: float | None = None,
    ) -> RowTable:
        """As the interface says, within the limits of a service: 100,000 rows (more are cut off, and the metadata says
        so), and 30 seconds (a longer `timeout` raises BadRequest).
        """
        request = requests.SqlRequest(
            sql=statement,
            parameters=_encode(parameters),
            max_rows=limits.MOST_ROWS if max_rows is None else max_rows,
            timeout=timeout or None,
        )
        # The service stops the query; waiting ends later, so that its answer arrives.
        return RowTable(self._http.table(questions.SQL, request, max(self._http.timeout, (timeout or 0) + 10)))

    def stream(self, statement: str, parameters: Parameters | None = None, timeout: float | None = None) -> RowStream:
        """As the interface says; the service's limit on time, 30 seconds, holds for all of it."""
        request = requests.SqlRequest(
            sql=statement, parameters=_encode(parameters), stream=True, timeout=timeout or None
        )
        return RowStream(self._rows(request))

    def _rows(self, request: requests.SqlRequest) -> Generator[Any, None, None]:
        with self._http.batches(questions.SQL, request) as reader:
            yield reader.schema
            yield from reader

    def add_graph(
        self,
        graph: str | Path | Mapping[str, Any],
        slug: str | None = None,
        map: Sequence[str] = (),
        replace: bool = False,
        tool: str | None = None,
    ) -> GraphAdded:
        """As the interface says, where the service takes writes; of at most 100 MB."""
        content = file_format.load(graph)
        # What is no graph is refused here, in the same words, and not sent.
        name = file_format.parse(content, slug).slug
        request = requests.GraphRequest(graph=content, map=tuple(map), replace=replace)
        return self._http.ask(questions.PUT_GRAPH, request, name, repeatable=replace)

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
        """As the interface says, where the service takes writes."""
        request = requests.GraphEditRequest(
            pin=tuple(node_texts(pin)),
            unpin=tuple(node_texts(unpin)),
            group=None if group is None else {title: node_texts(nodes) for title, nodes in group.items()},
            ungroup=tuple(ungroup),
            name=None if name is None else dict(name),
        )
        return self._http.ask(questions.EDIT_GRAPH, request, slug).view

    def feature_list(self, name: str) -> FeatureList:
        """As the interface says."""
        return self._http.ask(questions.FEATURE_LIST, requests.Nothing(), check_name(name))

    def save_list(
        self,
        name: str,
        features: FeatureLike | Sequence[FeatureLike | ListedFeature] = (),
        note: str | None = None,
        replace: bool = False,
        keep_missing: bool = False,
        tool: str | None = None,
    ) -> FeatureList:
        """As the interface says, where the service takes writes."""
        listed = _encode_features(features)
        request = requests.ListRequest(features=listed, note=note, replace=replace, keep_missing=keep_missing)
        return self._http.ask(questions.SAVE_LIST, request, check_name(name), repeatable=replace)

    def change_list(
        self,
        name: str,
        add: FeatureLike | Sequence[FeatureLike | ListedFeature] = (),
        remove: FeaturesLike = (),
        note: str | None = None,
        tool: str | None = None,
    ) -> FeatureList:
        """As the interface says, where the service takes writes."""
        ids = tuple(id_texts(remove))
        request = requests.ListChangeRequest(add=_encode_features(add), remove=ids, note=note)
        return self._http.ask(questions.CHANGE_LIST, request, check_name(name))

    def remove_list(self, name: str, tool: str | None = None) -> None:
        """As the interface says, where the service takes writes."""
        self._http.ask(questions.REMOVE_LIST, requests.Nothing(), check_name(name))

    def add_labels(self, given: Sequence[GivenLabel], tool: str | None = None) -> int:
        """As the interface says; raises BadRequest for more than 1,000 labels too."""
        if not given:
            raise BadRequest("labels: there are none")
        most = limits.MOST_LABELS
        if len(given) > most:
            raise BadRequest(f"labels: {len(given):,} are more than the {most:,} that a service writes at once")
        labels = tuple(requests.LabelOf(**msgspec.structs.asdict(label) | {"id": id_text(label.id)}) for label in given)
        return self._http.ask(questions.LABEL_MANY, requests.LabelsRequest(labels=labels)).commit

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _encode(parameters: Parameters | None) -> Any:
    return None if parameters is None else to_json(normalize(parameters))


def _encode_features(
    features: FeatureLike | Sequence[FeatureLike | ListedFeature],
) -> tuple[requests.ListedRequest, ...]:
    return tuple(requests.ListedRequest(id=each.id, note=each.note) for each in convert_features(features))


def _batches_of(ids: Sequence[str]) -> list[tuple[str, ...]]:
    most = limits.MOST_IDS
    return [tuple(ids[first : first + most]) for first in range(0, len(ids), most)]
