"""Writer: checks tables against schema.sql and adds them as parts that become visible together, in one commit."""

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

from featurestore.errors import Conflict, FeatureStoreError, Unavailable
from featurestore.storage.base import LEASES
from featurestore.storage.border import APPENDED, OF_A_DICTIONARY
from featurestore.storage.directory import Directory
from featurestore.storage.local import LocalStorage
from featurestore.storage.log_files import Part
from featurestore.storage.staging import Staging, read_content
from featurestore.tables import feature_rows, grouped_rows, token_stream
from featurestore.tables.completeness import Contents, Shape, fill_rows
from featurestore.tables.decoder_vectors import to_half
from featurestore.tables.layout import LAYOUTS, OTHERS, SHARD_FEATURES, check_keys, write_parquet
from featurestore.tables.schema import Gate, arrow_schema
from featurestore.values.dictionary_name import find_alike

# Tables whose rows refer to features.
OF_FEATURES = ("examples", "contexts", *APPENDED)


class Writer:
    """Adds parts to a store. A context manager: everything added becomes visible at its end, or nothing does.

    A writer takes no lock: others read and write meanwhile. When two write the same thing, the second gets Conflict.
    """

    def __init__(self, directory: Directory, tool: str, helped: str = ""):
        """Open a writer; `helped` is the writer that this one makes parts for, see Helper."""
        self._directory = directory
        self._tool = tool
        self._gate = Gate()
        self._contents = Contents(self._read_committed)
        self._held_back: dict[str, tuple[int, pyarrow.Table]] = {}
        self._added: list[Part] = []
        self._removed: set[str] = set()
        self._needs: set[str] = set()
        with self._name_write_errors():
            self._staging = Staging(directory.storage, helped)

    def has(self, table: str, key: str) -> bool:
        """Return whether the store (as committed) or this writer holds such a part.

        A commit fails with Conflict when a part reported here has been removed since.
        """
        if any(part.table == table and part.key == key for part in self._added):
            return True
        files = [p.file for p in self._directory.snapshot().parts(table, key) if p.file not in self._removed]
        self._needs.update(files)
        return bool(files)

    def add(self, table: str, rows: pyarrow.Table, *, key: str, shard: int = 0) -> None:
        """Add one Parquet part.

        `rows` has columns of stored.<table> by name; nullable ones may be absent. `key` is the dictionary's id for
        dictionaries, features, examples, labels, votes and scores, the corpus id for documents and tokens, the
        tokenizer id for tokenizers, a graph's name for its tables. `shard` is feature // 65,536 for features and
        examples.

        Features without a row get one, with null in every column, before the commit: a dictionary may be added with its
        own row alone. Raises BadRequest when a row breaks the schema or refers to what is not there, Conflict when the
        store has this already (labels, votes and
        scores are appended), Unavailable when the file cannot be written.
        """
        self._check_place(table, key, shard)
        checked = self._gate.check(table, rows, LAYOUTS.get(table, OTHERS).order)
        if table == "features" and self._contents.shape(key) is None:
            self._hold_back(key, shard, checked)
            return
        self.add_checked(table, checked, key=key, shard=shard)
        if key in self._held_back and table == "dictionaries":
            shard, held_back = self._held_back.pop(key)
            self.add_checked("features", held_back, key=key, shard=shard)

    def _hold_back(self, key: str, shard: int, features: pyarrow.Table) -> None:
        """Add features of a dictionary whose size is not known yet: all but the last shard are full."""
        last = self._held_back.pop(key, None)
        if last is not None and last[0] == shard:
            raise Conflict(f"shard {shard} of the features of {key} was added already")
        self._held_back[key] = max(last or (shard, features), (shard, features), key=lambda held: held[0])
        if last is not None:
            shard, features = min(last, (shard, features), key=lambda held: held[0])
            features = fill_rows(features, key, shard, SHARD_FEATURES)
            self.add_checked("features", features, key=key, shard=shard)

    def add_checked(
        self,
        table: str,
        checked: pyarrow.Table,
        *,
        key: str,
        shard: int = 0,
        about: dict[str, Any] | None = None,
        commit: int = 0,
    ) -> Part:
        """Add one Parquet part of rows that the gate has checked, in the layout's order, and return it.

        `commit` is the number of the commit that first added the rows, when they are not new.
        """
        check_keys(table, checked, key)
        self._need_dictionary(table, key)
        if table == "features":
            checked = self._complete_rows(key, shard, checked)
        elif table in OF_FEATURES:
            self._contents.check_rows(table, key, checked)
        self._contents.learn(table, key, checked)
        with self._build(table, key, shard, ".parquet") as part, self._name_write_errors():
            write_parquet(table, checked, part.path)
            part.rows = checked.num_rows
            part.about = about or {}
            part.commit = commit
            if table in APPENDED and checked.num_rows:
                reach = pyarrow.compute.min_max(checked["feature"]).as_py()
                part.about = part.about | {"first": reach["min"], "last": reach["max"]}
        added = self._added[-1]
        if table == "features":
            self.add_rows(key, shard, checked)
        elif table == "examples":
            self.add_gathered("example_rows", key, shard, checked)
        return added

    def add_rows(self, key: str, shard: int, features: pyarrow.Table) -> None:
        """Add the copy of a part of features that pages read."""
        with self._build("feature_rows", key, shard, ".arrow") as part, self._name_write_errors():
            part.rows = feature_rows.write_thin(part.path, features)

    def add_gathered(
        self, table: str, key: str, shard: int, rows: pyarrow.Table, about: dict[str, Any] | None = None
    ) -> None:
        """Add the copy of a shard's examples or labels, ordered by feature, that pages read."""
        with self._build(table, key, shard, ".arrow") as part, self._name_write_errors():
            part.rows = grouped_rows.write(part.path, rows, shard * SHARD_FEATURES)
            part.about = about or {}

    def add_corpus(
        self, corpus: str, documents: pyarrow.Table, stream: numpy.ndarray, *, excerpts: bool = False
    ) -> None:
        """Add a corpus: `documents` (columns document, name, tokenizer, length) and the token ids of all of them.

        `stream` (sum of lengths,) int32 holds the documents' tokens in a row, in the order of their numbers. It
        is kept as runs in the table `tokens`, for SQL, and whole, mapped into memory, for pages.
        Which documents are held out is added here, see featurestore.held_out. `excerpts` are windows that another tool
        cut: none of them is held out.
        Raises as `add` does, and BadRequest when lengths and tokens do not agree.
        """
        lengths = documents["length"].to_numpy()
        documents = token_stream.complete_documents(corpus, documents, stream, excerpts)
        tokenizers = documents["tokenizer"].unique().to_pylist()
        self._contents.check_tokens(corpus, tokenizers, int(numpy.max(stream, initial=0)))
        self.add("documents", documents, key=corpus)
        numbers = documents["document"].to_numpy()
        # Runs of documents that the gate let through are as the schema wants them, where they come in its order.
        add = self.add_checked if (numpy.diff(numbers) > 0).all() else self.add
        for shard, table in token_stream.runs(corpus, numbers, lengths, stream):
            add("tokens", table, key=corpus, shard=shard)
        self.add_built(
            "token_stream", corpus, "", lambda path: token_stream.write_stream(path, numbers, lengths, stream), {}
        )

    def add_vectors(
        self, dictionary: str, vectors: numpy.ndarray, *, shard: int = 0, targets: Sequence[int] | None = None
    ) -> None:
        """Add decoder vectors, (rows, d_out), of features shard * 65,536 onwards; kept as float16.

        A cross-layer transcoder has one for each layer it writes to: (rows, len(targets), d_out), and `targets` are
        these layers. Raises BadRequest for another shape, and for numbers that are not finite in float16.
        """
        self._check_place("decoder_vectors", dictionary, shard)
        half = to_half(dictionary, vectors, shard * SHARD_FEATURES, targets)
        self._need_dictionary("decoder_vectors", dictionary)
        shape = self._contents.shape(dictionary)
        if shape is not None:
            shape.check_vectors(shard, len(half), len(targets or [0]), half.shape[1])
        with self._build("decoder_vectors", dictionary, shard, ".npy") as part, self._name_write_errors():
            numpy.save(part.path, half)
            part.rows = len(half)
            part.about = {} if targets is None else {"targets": [int(layer) for layer in targets]}

    def add_built(self, table: str, key: str, suffix: str, build: Callable[[Path], int], about: dict[str, Any]) -> None:
        """Add an index: `build(path)` writes the file or directory and returns its rows. An older one is replaced."""
        self.remove(table, key)
        with self._build(table, key, 0, suffix) as part, self._name_write_errors():
            part.rows = build(part.path)
            part.about = about

    def helper(self) -> Helper:
        """Return what makes parts for this writer in other processes and on other machines; `adopt` adds them."""
        self._staging.expect_help()
        storage = self._directory.storage
        place = str(storage.path.resolve()) if isinstance(storage, LocalStorage) else storage.location
        return Helper(place, self._staging.writer)

    def adopt(self, parts: Iterable[HelperPart]) -> None:
        """Add parts that a helper made. Raises as `add` does."""
        for part, content in parts:
            self._check_place(part.table, part.key, part.shard)
            self._need_dictionary(part.table, part.key)
            with self._name_write_errors():
                self._staging.adopt(part, content)
            self._added.append(part)

    def restate(self, part: Part) -> None:
        """Replace what the log says of a part whose file stays where it is."""
        self.remove_parts([part])
        self._added.append(part)

    def remove_dictionary(self, dictionary: str) -> None:
        """Remove a dictionary with its features, examples, labels, votes, scores and vectors, in the same commit."""
        for table in OF_A_DICTIONARY:
            self.remove(table, dictionary)

    def remove(self, table: str, key: str) -> None:
        """Remove the parts of one table and key, in the same commit."""
        self.remove_parts(self._directory.snapshot().parts(table, key))
        if table == "dictionaries":
            self._contents.forget(key)

    def remove_parts(self, parts: list[Part]) -> None:
        """Remove these parts, in the same commit."""
        self._removed |= {part.file for part in parts}

    def commit(self) -> int:
        """Make everything visible and return the commit's number.

        Raises Conflict when another writer came first, BadRequest when something refers to what is not there.
        """
        self._complete()
        with self._name_write_errors():
            commit = self._directory.commit(
                self._added, sorted(self._removed), self._tool, self._staging.writer, self._needs - self._removed
            )
            self._staging.keep(part.file for part in commit.add)
        self._added, self._removed, self._needs = [], set(), set()
        # What follows is housekeeping: the commit stands even if it fails.
        with contextlib.suppress(OSError, Unavailable):
            self._directory.sweep()
            self._directory.log.tidy()
        return commit.commit

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            if kind is None and (self._added or self._removed):
                self.commit()
        finally:
            self.close()

    def close(self) -> None:
        """Delete the files of what was not committed."""
        with contextlib.suppress(OSError, Unavailable):
            self._staging.close()
        self._gate.close()

    def _check_place(self, table: str, key: str, shard: int) -> None:
        if table in APPENDED:
            return
        taken = self._added + [p for p in self._directory.snapshot().parts(table, key) if p.file not in self._removed]
        if any(part.place == (table, key, shard) for part in taken):
            raise Conflict(f"the store has {table} of {key} already; remove it first, or choose another name")
        if table == "dictionaries":
            names = [*self._directory.snapshot().keys(table), *(p.key for p in self._added if p.table == table)]
            alike = find_alike(key, names, case=False)
            if alike:
                raise Conflict(
                    f"the store has a dictionary {alike!a}, and {key!a} is the same text in another form of Unicode: "
                    "choose another name"
                )

    def _complete_rows(self, key: str, shard: int, features: pyarrow.Table) -> pyarrow.Table:
        """Return a shard's features with a row for each; of a dictionary of unknown size, up to the last given."""
        shape = self._contents.shape(key)
        if shape is not None and features.num_rows:
            shape.check_below("features", features["feature"][-1].as_py())
        return fill_rows(features, key, shard, None if shape is None else shape.size(shard))

    def _complete(self) -> None:
        """Add the rows of features that are lacking, and check what the commit will hold. Raises BadRequest."""
        for key, (shard, features) in self._held_back.items():
            self.add_checked("features", features, key=key, shard=shard)
        self._held_back = {}
        self._contents.check_waiting()
        snapshot = self._directory.snapshot()
        removed = [part for table in ("features", "decoder_vectors") for part in snapshot.parts(table)]
        touched = {part.key for part in self._added if part.table in OF_A_DICTIONARY}
        touched |= {part.key for part in removed if part.file in self._removed}
        for key in sorted(touched):
            parts = {table: self._parts_after(table, key) for table in ("dictionaries", "features", "decoder_vectors")}
            if not parts["dictionaries"]:
                continue
            for shard in self._contents.check_parts(key, parts):
                empty = arrow_schema("features").empty_table()
                self.add_checked("features", empty, key=key, shard=shard)

    def _parts_after(self, table: str, key: str) -> list[Part]:
        """Return the parts of a table and key that the store will have after the commit."""
        kept = [part for part in self._directory.snapshot().parts(table, key) if part.file not in self._removed]
        return kept + [part for part in self._added if part.table == table and part.key == key]

    def _read_committed(self, table: str, key: str) -> pyarrow.Table | None:
        """Return the rows of a committed part that stays; None where there is no such part."""
        parts = [part for part in self._directory.snapshot().parts(table, key) if part.file not in self._removed]
        if not parts:
            return None
        columns = {"documents": ["document", "length"], "tokenizers": ["bytes"]}.get(table, list(Shape._fields))
        with pyarrow.parquet.ParquetFile(self._directory.open(parts[0])) as file:
            return file.read(columns=columns)

    def _need_dictionary(self, table: str, key: str) -> None:
        """Let the commit fail when another dictionary of this name has replaced the present one meanwhile."""
        if table in OF_A_DICTIONARY and table != "dictionaries":
            self.has("dictionaries", key)

    @contextlib.contextmanager
    def _build(self, table: str, key: str, shard: int, suffix: str) -> Iterator[_Building]:
        with self._name_write_errors():
            name, path = self._staging.new_file(table, key, shard, suffix)
        building = _Building(path)
        yield building
        with self._name_write_errors():
            fields = {"rows": building.rows, "about": building.about, "commit": building.commit}
            self._added.append(self._staging.part(name, path, table=table, key=key, shard=shard, **fields))

    @contextlib.contextmanager
    def _name_write_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise Unavailable(f"cannot write to {self._directory.location}: {exc.strerror or exc}") from None


class HelperPart(NamedTuple):
    """A part that a helper made, and its content (see read_content) where the helper cannot reach the store."""

    part: Part
    content: dict[str, bytes] | None


class Helper(NamedTuple):
    """Makes parts of a writer in another process or on another machine; can be sent there.

    A helper that can reach the store makes files there, under the writer's name, and returns only what the log needs.
    """

    location: str
    writer: str

    def make(self, add: Callable[[Writer], None]) -> list[HelperPart]:
        """Return the parts that `add` adds to the writer it gets. Raises as Writer.add, then without leaving files."""
        with contextlib.ExitStack() as stack:
            directory = self._store()
            seen = directory is not None
            if directory is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="featurestore-parts-"))
                directory = Directory.create(folder)
            writer = stack.enter_context(contextlib.closing(_HelpingWriter(directory, "", self.writer)))
            add(writer)
            parts = writer.release_parts()
            return [HelperPart(part, None if seen else read_content(directory.local(part))) for part in parts]

    def _store(self) -> Directory | None:
        """Return the store if this machine reaches it: then it holds the writer's lease."""
        with contextlib.suppress(FeatureStoreError, OSError):
            directory = Directory(self.location)
            if any(entry.name == f"{LEASES}/{self.writer}" for entry in directory.storage.entries(LEASES)):
                return directory
        return None


class _HelpingWriter(Writer):
    """Adds parts for another writer, which checks for conflicts when it adopts them."""

    def release_parts(self) -> list[Part]:
        """Return the parts, whose files now belong to the writer that is helped."""
        self._staging.keep(part.file for part in self._added)
        return self._added

    def _check_place(self, table: str, key: str, shard: int) -> None:
        pass

    def _need_dictionary(self, table: str, key: str) -> None:
        pass

    def _hold_back(self, key: str, shard: int, features: pyarrow.Table) -> None:
        self.add_checked("features", features, key=key, shard=shard)  # the writer that adopts it knows the size


class _Building:
    """A part that is being built."""

    def __init__(self, path: Path):
        self.path = path
        self.rows = 0
        self.commit = 0
        self.about: dict[str, Any] = {}
