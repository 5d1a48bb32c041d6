"""Writer: tables in, checked against schema.sql, out as parts that become visible together, in one commit."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from featurestore.conventions import held_out
from featurestore.errors import BadRequest, Conflict, FeatureStoreError, Unavailable
from featurestore.storage.base import LEASES
from featurestore.storage.directory import APPENDED, OF_A_DICTIONARY, OF_A_GRAPH, Directory, Staging, read_content
from featurestore.storage.local import LocalStorage
from featurestore.storage.log import Part
from featurestore.tables import feature_rows, grouped_rows, token_stream
from featurestore.tables.schema import Gate


class Layout(NamedTuple):
    """How a table's parts are laid out: the order of the rows, rows in a row group, compression of lists and of the rest."""

    order: str | None
    group: int
    lists: str = "zstd"
    rest: str = "zstd"


# Rows are kept in the order they are asked for; where a page reads them, in row groups small enough that it decodes
# little. Features, of which pages read another copy, lie as aggregates read them best (docs/design.md has the figures).
LAYOUTS = {
    "features": Layout("feature", 32_768, "lz4", "none"),
    "examples": Layout("feature, band = 'top' DESC, band_low DESC, rank", 2048, "lz4", "lz4"),
    "documents": Layout("document", 65536),
    "tokens": Layout("document, run", 256),
    "labels": Layout("feature, explainer, created_at", 2048, "lz4", "lz4"),
    "votes": Layout("feature, label, created_at", 2048, "lz4", "lz4"),
    "scores": Layout("feature, label, method, negatives, created_at", 2048, "lz4", "lz4"),
    "graph_nodes": Layout("node", 65536),
    "graph_links": Layout(None, 65536),
}
OTHERS = Layout(None, 1024)
SHARD_FEATURES = 65_536


class Writer:
    """Adds parts to a store. A context manager: everything added becomes visible at its end, or nothing does.

    A writer takes no lock: others read and write meanwhile. When two write the same thing, the second gets Conflict.
    """

    def __init__(self, directory: Directory, tool: str, helped: str = ""):
        """`helped` is the writer that this one makes parts for, see Helper."""
        self._directory = directory
        self._tool = tool
        self._gate = Gate()
        self._added: list[Part] = []
        self._removed: set[str] = set()
        self._needs: set[str] = set()
        with self._told():
            self._staging = Staging(directory, helped)

    def has(self, table: str, key: str) -> bool:
        """Whether the store (as committed) or this writer holds such a part. What was said to be there must stay."""
        if any(part.table == table and part.key == key for part in self._added):
            return True
        there = [p.file for p in self._directory.snapshot().parts(table, key) if p.file not in self._removed]
        self._needs.update(there)
        return bool(there)

    def add(self, table: str, rows: pyarrow.Table, *, key: str, shard: int = 0) -> None:
        """Add one Parquet part.

        `rows` has columns of stored.<table> by name; nullable ones may be absent. `key` is the dictionary's id for
        dictionaries, features, examples, labels, votes and scores, the corpus id for documents and tokens, the tokenizer id for
        tokenizers, a graph's name for what is of it. `shard` is feature // 65,536 for features and examples. Raises BadRequest when a row breaks the
        schema, Conflict when the store has this already (labels, votes and scores are appended), Unavailable when the file cannot
        be written.
        """
        self._check_place(table, key, shard)
        checked = self._gate.checked(table, rows, LAYOUTS.get(table, OTHERS).order)
        self.add_checked(table, checked, key=key, shard=shard)

    def add_checked(
        self,
        table: str,
        checked: pyarrow.Table,
        *,
        key: str,
        shard: int = 0,
        about: dict[str, Any] | None = None,
        commit: int = 0,
    ) -> None:
        """Add one Parquet part of rows that have been through the gate, now or when they came, in the order it wants.

        `commit` is the one the rows came with, when they are not new.
        """
        _check_keys(table, checked, key)
        self._need_dictionary(table, key)
        with self._built(table, key, shard, ".parquet") as part, self._told():
            write_parquet(table, checked, part.path)
            part.rows = checked.num_rows
            part.about = about or {}
            part.commit = commit
            if table in APPENDED and checked.num_rows:
                reach = pyarrow.compute.min_max(checked["feature"]).as_py()
                part.about = part.about | {"first": reach["min"], "last": reach["max"]}
        if table == "features":
            self.add_rows(key, shard, checked)
        elif table == "examples":
            self.add_gathered("example_rows", key, shard, checked)

    def add_rows(self, key: str, shard: int, features: pyarrow.Table) -> None:
        """Add the copy of a part of features that pages read."""
        with self._built("feature_rows", key, shard, ".arrow") as part, self._told():
            part.rows = feature_rows.write(part.path, features)

    def add_gathered(
        self, table: str, key: str, shard: int, rows: pyarrow.Table, about: dict[str, Any] | None = None
    ) -> None:
        """Add the copy of a shard's examples or labels, ordered by feature, that pages read."""
        with self._built(table, key, shard, ".arrow") as part, self._told():
            part.rows = grouped_rows.write(part.path, rows, shard * SHARD_FEATURES)
            part.about = about or {}

    def add_corpus(self, corpus: str, documents: pyarrow.Table, stream: numpy.ndarray) -> None:
        """Add a corpus: `documents` (columns document, name, tokenizer, length) and the token ids of all of them.

        Which documents are held out is added here, see featurestore.held_out.

        `stream` (sum of lengths,) int32 holds the documents' tokens one after another, in the order of their numbers.
        It is kept as runs in the table `tokens`, for SQL, and whole, mapped into memory, for pages.
        Raises as `add` does, and BadRequest when lengths and tokens do not agree.
        """
        lengths = documents["length"].to_numpy()
        if int(lengths.sum()) != len(stream):
            raise BadRequest(
                f"corpus {corpus}: its documents have {lengths.sum()} tokens, but {len(stream)} were given"
            )
        names = pyarrow.array([corpus] * documents.num_rows, pyarrow.string())
        apart = pyarrow.array(held_out(token_stream.documents(lengths, stream)))
        documents = documents.append_column("corpus", names).append_column("held_out", apart)
        self.add("documents", documents, key=corpus)
        numbers = documents["document"].to_numpy()
        for shard, table in token_stream.runs(corpus, numbers, lengths, stream):
            self.add("tokens", table, key=corpus, shard=shard)
        self.add_built(
            "token_stream", corpus, "", lambda path: token_stream.write_stream(path, numbers, lengths, stream), {}
        )

    def add_vectors(
        self, dictionary: str, vectors: numpy.ndarray, *, shard: int = 0, targets: Sequence[int] | None = None
    ) -> None:
        """Add decoder vectors, (rows, d_out), of features shard * 65,536 onwards; kept as float16.

        A cross-layer transcoder has one for each layer it writes to: (rows, len(targets), d_out), and `targets` are these
        layers. Raises BadRequest when they are not finite numbers of that shape, or overflow float16.
        """
        self._check_place("decoder_vectors", dictionary, shard)
        many = 1 if targets is None else len(targets)
        if vectors.ndim != (2 if targets is None else 3) or (targets is not None and vectors.shape[1] != many):
            wanted = "(rows, d_out)" if targets is None else f"(rows, {many}, d_out)"
            raise BadRequest(f"decoder vectors of {dictionary} have shape {vectors.shape}; {wanted} is wanted")
        if targets is not None and (not many or len(set(targets)) != many):
            raise BadRequest(f"targets {list(targets)} of {dictionary} are no layers, or one stands twice")
        with numpy.errstate(over="ignore"):
            half = numpy.ascontiguousarray(vectors, dtype=numpy.float16).reshape(-1, vectors.shape[-1])
        bad = numpy.flatnonzero(~numpy.isfinite(half).all(axis=1))
        if len(bad):
            feature = shard * SHARD_FEATURES + int(bad[0]) // many
            raise BadRequest(f"decoder vector {dictionary}/{feature} has a number that is not finite in float16")
        self._need_dictionary("decoder_vectors", dictionary)
        with self._built("decoder_vectors", dictionary, shard, ".npy") as part, self._told():
            numpy.save(part.path, half)
            part.rows = len(half)
            part.about = {} if targets is None else {"targets": [int(layer) for layer in targets]}

    def add_built(self, table: str, key: str, suffix: str, build: Callable[[Path], int], about: dict[str, Any]) -> None:
        """Add an index: `build(path)` writes the file or directory and returns its rows. An older one is replaced."""
        self.remove(table, key)
        with self._built(table, key, 0, suffix) as part, self._told():
            part.rows = build(part.path)
            part.about = about

    def helper(self) -> Helper:
        """What makes parts of this writer in other processes and on other machines, to be taken in by `adopt`."""
        self._staging.expect_help()
        storage = self._directory.storage
        place = str(storage.path.resolve()) if isinstance(storage, LocalStorage) else storage.location
        return Helper(place, self._staging.writer)

    def adopt(self, made: Iterable[Made]) -> None:
        """Add parts that a helper made. Raises as `add` does."""
        for part, content in made:
            self._check_place(part.table, part.key, part.shard)
            self._need_dictionary(part.table, part.key)
            with self._told():
                self._staging.adopt(part, content)
            self._added.append(part)

    def restate(self, part: Part) -> None:
        """Say something else of a part that stays where it is."""
        self.remove_parts([part])
        self._added.append(part)

    def remove_dictionary(self, dictionary: str) -> None:
        """Remove a dictionary with its features, examples, labels, votes, scores and vectors, in the same commit."""
        for table in OF_A_DICTIONARY:
            self.remove(table, dictionary)

    def remove(self, table: str, key: str) -> None:
        """Remove the parts of one table and key, in the same commit."""
        self.remove_parts(self._directory.snapshot().parts(table, key))

    def remove_parts(self, parts: list[Part]) -> None:
        """Remove these parts, in the same commit."""
        self._removed |= {part.file for part in parts}

    def commit(self) -> int:
        """Make everything visible; the commit's number. Raises Conflict when another writer came first."""
        with self._told():
            made = self._directory.commit(
                self._added, sorted(self._removed), self._tool, self._staging.writer, self._needs - self._removed
            )
            self._staging.keep(part.file for part in made.add)
        self._added, self._removed, self._needs = [], set(), set()
        # What follows is housekeeping: the commit stands, whatever becomes of it.
        with contextlib.suppress(OSError, Unavailable):
            self._directory.sweep()
            self._directory.log.tidy()
        return made.commit

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            if kind is None and (self._added or self._removed):
                self.commit()
        finally:
            self.close()

    def close(self) -> None:
        """Leave what was not committed behind: its files are deleted."""
        with contextlib.suppress(OSError, Unavailable):
            self._staging.close()
        self._gate.close()

    def _check_place(self, table: str, key: str, shard: int) -> None:
        if table in APPENDED:
            return
        taken = self._added + [p for p in self._directory.snapshot().parts(table, key) if p.file not in self._removed]
        if any(part.place == (table, key, shard) for part in taken):
            raise Conflict(f"the store has {table} of {key} already; remove it first, or choose another name")

    def _need_dictionary(self, table: str, key: str) -> None:
        """What is added to a dictionary is of the dictionary as it is now, not of one that replaces it meanwhile."""
        if table in OF_A_DICTIONARY and table != "dictionaries":
            self.has("dictionaries", key)

    @contextlib.contextmanager
    def _built(self, table: str, key: str, shard: int, suffix: str) -> Iterator[_Building]:
        with self._told():
            name, path = self._staging.new_file(table, key, shard, suffix)
        building = _Building(path)
        yield building
        with self._told():
            self._added.append(
                self._staging.part(
                    name,
                    path,
                    table=table,
                    key=key,
                    shard=shard,
                    rows=building.rows,
                    about=building.about,
                    commit=building.commit,
                )
            )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise Unavailable(f"cannot write to {self._directory.location}: {exc.strerror or exc}") from None


class Made(NamedTuple):
    """A part that a helper made, and its content (see read_content) where the helper's machine does not see the store."""

    part: Part
    content: dict[str, bytes] | None


class Helper(NamedTuple):
    """Makes parts of a writer in another process or on another machine; can be sent there.

    Where the store is seen, files are made in it, under the writer's name, and only told of.
    """

    location: str
    writer: str

    def make(self, add: Callable[[Writer], None]) -> list[Made]:
        """The parts that `add` adds to the writer it is given. Raises as Writer.add does, then with nothing left behind."""
        with contextlib.ExitStack() as stack:
            directory = self._store()
            seen = directory is not None
            if directory is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="featurestore-parts-"))
                directory = Directory.create(folder)
            writer = stack.enter_context(contextlib.closing(_HelpingWriter(directory, "", self.writer)))
            add(writer)
            return [Made(part, None if seen else read_content(directory.local(part))) for part in writer.finished()]

    def _store(self) -> Directory | None:
        """The store, if this machine sees it: the writer's lease lies in it."""
        with contextlib.suppress(FeatureStoreError, OSError):
            directory = Directory(self.location)
            if any(one.name == f"{LEASES}/{self.writer}" for one in directory.storage.entries(LEASES)):
                return directory
        return None


class _HelpingWriter(Writer):
    """Adds parts for another writer, which looks whether they conflict with what is there when it takes them in."""

    def finished(self) -> list[Part]:
        """The parts, which are the other's from now on."""
        self._staging.keep(part.file for part in self._added)
        return self._added

    def _check_place(self, table: str, key: str, shard: int) -> None:
        pass

    def _need_dictionary(self, table: str, key: str) -> None:
        pass


class _Building:
    """A part being built."""

    def __init__(self, path: Path):
        self.path = path
        self.rows = 0
        self.commit = 0
        self.about: dict[str, Any] = {}


def write_parquet(table: str, rows: pyarrow.Table, file: Path) -> None:
    """Write rows of stored.<table> as its parts are written."""
    layout = LAYOUTS.get(table, OTHERS)
    compression = {
        path: layout.lists if pyarrow.types.is_nested(field.type) else layout.rest
        for field in rows.schema
        for path in _leaves(field.name, field.type)
    }
    pyarrow.parquet.write_table(rows, file, compression=compression, row_group_size=layout.group)


def _leaves(path: str, type_: pyarrow.DataType) -> list[str]:
    """The names Parquet has for the columns a column is kept in."""
    if pyarrow.types.is_list(type_):
        return _leaves(f"{path}.list.element", type_.value_type)
    if pyarrow.types.is_struct(type_):
        return [leaf for field in type_ for leaf in _leaves(f"{path}.{field.name}", field.type)]
    return [path]


def _check_keys(table: str, rows: pyarrow.Table, key: str) -> None:
    """Raises BadRequest when a row belongs to something else than the part's key."""
    columns = dict.fromkeys(OF_A_DICTIONARY, "dictionary") | dict.fromkeys(OF_A_GRAPH, "graph")
    column = (columns | {"tokenizers": "tokenizer"}).get(table, "corpus")
    if table not in ("decoder_vectors",) and rows.num_rows:
        others = [name for name in rows[column].unique().to_pylist() if name != key]
        if others:
            raise BadRequest(f"{table}: a row is of {column} '{others[0]}', but the part is of '{key}'")
