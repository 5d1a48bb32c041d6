"""Client: a remote store over HTTP, with the same methods and equal results. Needs no DuckDB, FAISS or torch."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from featurestore.client.transport import Transport, Wire
from featurestore.errors import BadRequest
from featurestore.graphs import file_format
from featurestore.interface import FeatureStore
from featurestore.progress import Progress, no_progress
from featurestore.query import Query
from featurestore.values.dictionary import Dictionaries, Dictionary, StoreInfo
from featurestore.values.feature import Feature, FeatureId, Features, GivenLabel, Label, Score, Scores
from featurestore.values.graphs import Graph, GraphAdded, Graphs, GraphSummary
from featurestore.values.hits import Activating, Contrast, Duplicates, Hit, Hits, Neighbourhood
from featurestore.values.jobs import Job, Jobs
from featurestore.values.parameters import Parameters, normalize, to_json
from featurestore.values.row_stream import RowStream

if TYPE_CHECKING:
    import numpy
    import pyarrow

# The most rows one SQL answer of a service holds; asked for where the caller sets no limit.
MOST_ROWS = 100_000
# The most features a service gives in one answer, and how many whole pages are asked for at once.
MOST_IDS = 1000
PAGES = 100


class Client(FeatureStore):
    """The store behind a URL. Safe to share between threads."""

    def __init__(self, url: str, transport: Wire | None = None, timeout: float = 60.0, retries: int = 3):
        """Raises BadRequest when `url` is none; whether something answers there shows with the first question.

        A key is taken from the URL (`https://any:KEY@host`) or from $FEATURESTORE_KEY. `timeout` is how many seconds an answer,
        or the next piece of it, may take. A service that is busy, restarting or not there is asked again `retries` times,
        after pauses that double or that it names itself.
        """
        self._http = Transport(url, transport, timeout, retries)
        self.location = self._http.location

    def info(self) -> StoreInfo:
        return self._http.get("info", StoreInfo)

    def dictionaries(self) -> Dictionaries:
        return Dictionaries(self._http.get("dictionaries", _Dictionaries).dictionaries)

    def feature(self, id: str, examples: int | None = None) -> Feature:
        return self._http.get(f"features/{_path(id)}", Feature, {} if examples is None else {"examples": examples})

    def vector(self, id: str, target: int | None = None) -> numpy.ndarray:
        import numpy

        which = {} if target is None else {"target": target}
        return numpy.asarray(self._http.get(f"vectors/{_path(id)}", _Vector, which).vector, dtype=numpy.float32)

    def features(self, ids: Sequence[str], examples: int | None = None) -> Features:
        more = {} if examples is None else {"examples": examples}
        # As JSON, which becomes Features in a third of the time that rows of Arrow take.
        asked = [self._http.post("features", {"ids": some, **more}, _Features) for some in _batches_of(ids)]
        return Features(one for answer in asked for one in answer.features)

    def features_where(self, where: str = "true", examples: int | None = None) -> Iterator[Feature]:
        """As the interface says, a hundred in a request; what is written meanwhile may be seen by the later ones."""
        asked: dict[str, Any] = {"where": where, "limit": PAGES} | ({} if examples is None else {"examples": examples})
        while True:
            page = self._http.post("features", asked, _Features)
            yield from page.features
            if page.next is None:
                return
            asked["cursor"] = page.next

    def scores(self, id: str) -> Scores:
        return Scores(self._http.get(f"scores/{_path(id)}", _Scores).scores)

    def vectors(self, ids: Sequence[str]) -> numpy.ndarray:
        import numpy

        found = [self._vectors(some) for some in _batches_of(ids)]
        widths = sorted({rows.shape[1] for rows in found})
        if len(widths) > 1:
            raise BadRequest(
                f"ids: their vectors have several widths ({', '.join(map(str, widths))}): ask for each alone"
            )
        return numpy.concatenate(found) if found else numpy.zeros((0, 0), dtype=numpy.float32)

    def _vectors(self, ids: list[str]) -> numpy.ndarray:
        # As they are: bits of directions hardly compress, and trying takes longer than sending them.
        column = self._http.table("vectors", {"ids": ids}, encoding="identity").column("vector").combine_chunks()
        return column.flatten().to_numpy().reshape(len(ids), -1)

    def run(self, query: Query) -> Hits:
        found = self._http.post("search" if query.text is not None else "nearest", query.to_dict(), _Found)
        return Hits(found.query, found.hits, found.notes, found.next)

    def activating(
        self, text: str, dictionary: str | Sequence[str] | None = None, k: int = 10, order: str = "specific"
    ) -> Activating:
        fields: dict[str, Any] = {"text": text, "k": k, "order": order}
        if dictionary:
            fields["dictionary"] = [dictionary] if isinstance(dictionary, str) else list(dictionary)
        return self._http.post("activating", fields, Activating)

    def contrast(
        self,
        texts: Sequence[str],
        against: Sequence[str],
        dictionary: str | Sequence[str] | None = None,
        k: int = 10,
    ) -> Contrast:
        fields: dict[str, Any] = {"texts": _listed(texts), "against": _listed(against), "k": k}
        if dictionary:
            fields["dictionary"] = [dictionary] if isinstance(dictionary, str) else list(dictionary)
        return self._http.post("contrast", fields, Contrast)

    def neighbourhood(self, id: str, k: int = 8, within: str | Sequence[str] = ()) -> Neighbourhood:
        only = [within] if isinstance(within, str) else list(within)
        return self._http.get(f"neighbourhood/{_path(id)}", Neighbourhood, {"k": k, "within": only})

    def duplicates(
        self,
        dictionary: str,
        against: str | Sequence[str] | None = None,
        cosine: float = 0.9,
        k: int = 100,
        progress: Progress = no_progress,
    ) -> Duplicates:
        """As the interface says, of dictionaries of at most 65,536 features; a service tells nothing of its progress."""
        fields: dict[str, Any] = {"dictionary": dictionary, "cosine": cosine, "k": k}
        if against is not None:
            fields["against"] = [against] if isinstance(against, str) else list(against)
        return self._http.post("duplicates", fields, Duplicates)

    def sql(
        self,
        statement: str,
        parameters: Parameters | None = None,
        max_rows: int | None = None,
        timeout: float | None = None,
    ) -> pyarrow.Table:
        """As the interface says, and the service has limits of its own: 100,000 rows (more are cut off, and the
        metadata says so) and 30 seconds."""
        fields: dict[str, Any] = {"sql": statement, "max_rows": MOST_ROWS if max_rows is None else max_rows}
        if parameters is not None:
            fields["parameters"] = to_json(normalize(parameters))
        if timeout:
            fields["timeout"] = timeout
        # The service stops the query; waiting ends later, so that its answer arrives.
        return self._http.table("sql", fields, max(self._http.timeout, (timeout or 0) + 10))

    def stream(self, statement: str, parameters: Parameters | None = None, timeout: float | None = None) -> RowStream:
        """As the interface says; the service's limit on time, 30 seconds, holds for all of it."""
        fields: dict[str, Any] = {"sql": statement, "stream": True} | ({"timeout": timeout} if timeout else {})
        if parameters is not None:
            fields["parameters"] = to_json(normalize(parameters))
        return RowStream(self._rows(fields))

    def _rows(self, fields: dict[str, Any]) -> Generator[Any, None, None]:
        with self._http.batches("sql", fields) as reader:
            yield reader.schema
            yield from reader

    def graphs(self) -> Graphs:
        return Graphs(self._http.get("graphs", _Graphs).graphs)

    def graph(self, slug: str) -> Graph:
        return self._http.get(f"graphs/{quote(slug, safe='')}", Graph)

    def graph_file(self, slug: str) -> dict[str, Any]:
        return self._http.get(f"graphs/{quote(slug, safe='')}/file", dict[str, Any])

    def add_graph(
        self,
        graph: str | Path | Mapping[str, Any],
        slug: str | None = None,
        map: Sequence[str] = (),
        replace: bool = False,
        tool: str | None = None,
    ) -> GraphAdded:
        """As the interface says, where the service takes writes; of at most 100 MB."""
        given = file_format.load(graph)
        # What is no graph is told here, in the same words, and not sent.
        name = file_format.parse(given, slug).slug
        fields = {"graph": given, "map": list(map), "replace": replace}
        return self._http.write(f"graphs/{name}", fields, GraphAdded, "PUT", repeatable=replace)

    def remove_graph(self, slug: str, tool: str | None = None) -> None:
        self._http.write(f"graphs/{quote(slug, safe='')}", None, dict[str, Any], "DELETE")

    def add_labels(self, given: Sequence[GivenLabel], tool: str | None = None) -> int:
        if not given:
            raise BadRequest("labels: there are none")
        if len(given) > MOST_IDS:
            raise BadRequest(f"labels: {len(given):,} are more than the {MOST_IDS:,} that a service writes at once")
        return self._http.write("labels", {"labels": list(given)}, _Written).commit

    def vote(self, id: str, label: str, vote: int, voter: str = "human", tool: str | None = None) -> None:
        self._http.write(f"votes/{_path(id)}", {"label": label, "vote": vote, "voter": voter}, _Labels)

    def jobs(self) -> Jobs:
        return Jobs(self._http.get("jobs", _Jobs).jobs)

    def job(self, id: str) -> Job:
        return self._http.get(f"jobs/{quote(id, safe='')}", Job)

    def start_job(self, kind: str) -> Job:
        return self._http.write("jobs", {"kind": kind}, Job)

    def cancel_job(self, id: str) -> Job:
        return self._http.write(f"jobs/{quote(id, safe='')}", None, Job, "DELETE")

    def close(self) -> None:
        self._http.close()


class _Dictionaries(msgspec.Struct):
    dictionaries: list[Dictionary]


class _Scores(msgspec.Struct):
    scores: list[Score]


class _Graphs(msgspec.Struct):
    graphs: list[GraphSummary]


class _Jobs(msgspec.Struct):
    jobs: list[Job]


class _Vector(msgspec.Struct):
    vector: list[float]


class _Features(msgspec.Struct):
    features: list[Feature]
    next: str | None = None


class _Written(msgspec.Struct):
    commit: int


class _Labels(msgspec.Struct):
    labels: list[Label]


class _Found(msgspec.Struct):
    query: Query
    hits: tuple[Hit, ...]
    notes: tuple[str, ...]
    next: str | None


def _listed(texts: Sequence[str]) -> Any:
    return texts if isinstance(texts, str) else list(texts)


def _batches_of(ids: Sequence[str]) -> list[list[str]]:
    return [list(ids[at : at + MOST_IDS]) for at in range(0, len(ids), MOST_IDS)]


def _path(id: str) -> str:
    parsed = FeatureId.parse(id)
    return f"{quote(parsed.dictionary, safe='/')}/{parsed.feature}"
