"""What was read from files, kept beside the store until all is read; an interrupted import goes on from there."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy
import pyarrow
import pyarrow.compute
import pyarrow.ipc

from featurestore import Unavailable
from ingest.formats.batches import Batch, Effects
from ingest.formats.records.windows import Packed, pack

DONE = "done.json"
TABLES = ("features", "labels", "scores")
GROUP = 16  # batches of windows that are held at once
REACH = b"features"  # in the metadata of a spooled table: its smallest and its largest feature

NONE = b"0 -1"


class Reach(NamedTuple):
    """Features from the first to the last, which is one of them."""

    first: int
    last: int


class FileSummary(msgspec.Struct):
    """What one file held: rows by table, rejected records, rows that say nothing, and facts by dictionary."""

    file: str
    rows: dict[str, int]
    rejects: dict[str, int]
    dropped: dict[str, int]
    facts: dict[str, dict[str, Any]]


@contextlib.contextmanager
def name_write_errors(place: Path) -> Iterator[None]:
    """Raise Unavailable, with the place, for what the system raises where nothing can be written: the disk is full."""
    try:
        yield
    except OSError as exc:
        cause = exc.strerror or f"{exc} (is the disk full?)"  # NumPy says how many bytes were written, and not why
        raise Unavailable(f"cannot write to {place}: {cause}; make room, and run the same command again") from None


class Spool:
    """A folder with a folder for each file that was read."""

    def __init__(self, folder: Path):
        self.folder = folder

    def place(self, file: str | Path, identity: str) -> Path:
        """Return the folder of a file; `identity` changes with its content."""
        name = hashlib.sha256(f"{file}\0{identity}".encode()).hexdigest()[:20]
        return self.folder / name

    def summary(self, place: Path) -> FileSummary | None:
        """Return the summary of a file that was read to its end, or None."""
        try:
            return msgspec.json.decode((place / DONE).read_bytes(), type=FileSummary)
        except (OSError, msgspec.MsgspecError):
            return None

    def begin(self, place: Path) -> FileWriter:
        """Return a writer of a file's batches; what an interrupted one left is removed."""
        shutil.rmtree(place, ignore_errors=True)
        with name_write_errors(self.folder):
            place.mkdir(parents=True)
        return FileWriter(place)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class FileWriter:
    """Writes the batches of one file."""

    def __init__(self, place: Path):
        self._place = place
        self._number = 0
        self._rows: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._facts: dict[str, dict[str, Any]] = {}

    def add(self, batch: Batch) -> None:
        """Write one batch. Raises Unavailable when the disk is full."""
        folder = self._place / batch.dictionary.replace("/", "@", 1)
        self._facts.setdefault(batch.dictionary, {}).update(batch.facts)
        self._count(batch.dropped, self._dropped)
        with name_write_errors(self._place.parent):
            folder.mkdir(exist_ok=True)
            for table in TABLES:
                rows = getattr(batch, table)
                if rows:
                    self._write(folder, table, rows if isinstance(rows, pyarrow.Table) else to_table(rows))
                    self._count({table: len(rows)}, self._rows)
            if batch.windows is not None and batch.windows.size:
                packed, cut = pack(batch.windows)
                self._count({"windows cut to 512 tokens": cut}, self._dropped)
                self._count({"examples": packed.rows.num_rows}, self._rows)
                self._write(folder, "pieces", pyarrow.table({"piece": packed.pieces}))
                self._write(folder, "windows", packed.rows)
            if batch.vectors is not None:
                numbers, vectors = batch.vectors
                numpy.save(folder / f"numbers-{self._number:06d}.npy", numbers)
                numpy.save(folder / f"vectors-{self._number:06d}.npy", vectors)
                self._count({"vectors": len(vectors)}, self._rows)
        self._number += 1

    def end(self, file: str, rejects: dict[str, int]) -> FileSummary:
        """Mark the file as read to its end, and return its summary."""
        summary = FileSummary(file, self._rows, rejects, {k: n for k, n in self._dropped.items() if n}, self._facts)
        with name_write_errors(self._place.parent):
            (self._place / DONE).write_bytes(msgspec.json.encode(summary))
        return summary

    def _count(self, counts: dict[str, int], into: dict[str, int]) -> None:
        for name, count in counts.items():
            into[name] = into.get(name, 0) + count

    def _write(self, folder: Path, name: str, table: pyarrow.Table) -> None:
        options = pyarrow.ipc.IpcWriteOptions(compression="lz4")
        if "feature" in table.column_names:
            table = table.replace_schema_metadata({REACH: _find_ends(table["feature"])})
        with pyarrow.ipc.new_file(folder / f"{name}-{self._number:06d}.arrow", table.schema, options=options) as file:
            file.write_table(table.combine_chunks())


def to_table(rows: list[dict[str, Any]]) -> pyarrow.Table:
    """Return rows as a table of all their columns, with whatever types they need."""
    names = {name: None for row in rows for name in row}
    return pyarrow.table({name: _make_column([row.get(name) for row in rows]) for name in names})


def _make_column(cells: list[Any]) -> pyarrow.Array:
    """Return cells as a column; effects on logits, of which there are many, without a value of Python for each."""
    if not any(isinstance(cell, Effects) for cell in cells):
        return pyarrow.array(cells)
    tokens, values = zip(*(cell or ([], []) for cell in cells), strict=True)
    structs = pyarrow.StructArray.from_arrays(
        [
            pyarrow.array(list(itertools.chain.from_iterable(tokens)), pyarrow.string()),
            pyarrow.array(list(itertools.chain.from_iterable(values)), pyarrow.float64()),
        ],
        names=["token", "value"],
    )
    ends = numpy.append(0, numpy.cumsum(list(map(len, tokens)))).astype(numpy.int32)
    is_null = numpy.array([cell is None for cell in cells] + [False])
    return pyarrow.ListArray.from_arrays(pyarrow.array(ends, mask=is_null), structs)


class DictionarySpool:
    """The spooled parts of one dictionary, in the order of the files. Each is read when it is wanted."""

    def __init__(self, folders: list[Path]):
        self._folders = folders
        self._reaches: dict[str, list[tuple[Path, Reach]]] = {}

    def table(self, name: str, within: Reach | None = None) -> pyarrow.Table | None:
        """Return the rows of one table from all files, or those of features `within`; None where there are none."""
        tables = [read_table(path) for path, reach in self._files(name) if _meet(reach, within)]
        if within is not None:
            tables = [keep_within(table, within) for table in tables]
        tables = [table for table in tables if table.num_rows]
        return pyarrow.concat_tables(tables, promote_options="permissive") if tables else None

    def has(self, name: str) -> bool:
        """Return whether there are rows of a table."""
        return bool(self._files(name))

    def find_largest(self) -> int:
        """Return the largest feature of any table; -1 without any."""
        reaches = [reach for name in (*TABLES, "windows") for _, reach in self._files(name)]
        return max(
            [reach.last for reach in reaches] + [int(numbers.max()) for numbers, _ in self.vectors()], default=-1
        )

    def window_reaches(self) -> list[Reach]:
        """Return which features the windows of each batch are of."""
        return [reach for _, reach in self._files("windows")]

    def windows(self) -> Iterator[Packed]:
        """Yield the windows of each batch."""
        for path, _ in self._files("windows"):
            pieces = read_table(path.with_name(path.name.replace("windows", "pieces")))
            yield Packed(read_table(path), pieces["piece"].combine_chunks())

    def windows_without_tokens(self, number: int) -> pyarrow.Table:
        """Return the windows of a batch. Their tokens, which are most of it, are not unpacked."""
        return read_table(self._files("windows")[number][0], but="tokens")

    def window_groups(self) -> Iterator[list[Packed]]:
        """Yield the same in groups, of which together the pieces are numbered more quickly than one by one."""
        windows = self.windows()
        while group := list(itertools.islice(windows, GROUP)):
            yield group

    def vectors(self) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
        """Return arrays of features' numbers and of their vectors, mapped from their files."""
        paths = [path for folder in self._folders for path in sorted(folder.glob("vectors-*.npy"))]
        numbers = [path.with_name(path.name.replace("vectors", "numbers")) for path in paths]
        return [(numpy.load(n), numpy.load(v, mmap_mode="r")) for n, v in zip(numbers, paths, strict=True)]

    def _files(self, name: str) -> list[tuple[Path, Reach]]:
        if name not in self._reaches:
            paths = [path for folder in self._folders for path in sorted(folder.glob(f"{name}-*.arrow"))]
            self._reaches[name] = [(path, _read_reach(path)) for path in paths]
        return self._reaches[name]


def read_table(path: Path, but: str = "") -> pyarrow.Table:
    """Return a spooled table, without the column `but`."""
    options = None
    if but:
        with pyarrow.ipc.open_file(path) as file:
            names = file.schema.names
        options = pyarrow.ipc.IpcReadOptions(included_fields=[n for n, name in enumerate(names) if name != but])
    with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_file(source, options=options) as file:
        return file.read_all().replace_schema_metadata(None)


def keep_within(table: pyarrow.Table, within: Reach) -> pyarrow.Table:
    """Return the rows of a table that are of these features."""
    feature = table["feature"].to_numpy()
    keep = (feature >= within.first) & (feature <= within.last)
    return table if keep.all() else table.filter(pyarrow.array(keep))


def _find_ends(features: pyarrow.ChunkedArray) -> bytes:
    """Return the smallest and the largest feature, as they stand in a spooled table; NONE of no features."""
    ends = pyarrow.compute.min_max(features).as_py()
    return NONE if ends["min"] is None else f"{ends['min']} {ends['max']}".encode()


def _read_reach(path: Path) -> Reach:
    """Return which features a spooled table is of."""
    with pyarrow.ipc.open_file(path) as file:
        said = (file.schema.metadata or {}).get(REACH)
        if said is None and "feature" in file.schema.names:  # spooled by an earlier version
            said = _find_ends(file.read_all()["feature"])
    first, last = (said or NONE).split()
    return Reach(int(first), int(last))


def _meet(reach: Reach, within: Reach | None) -> bool:
    return within is None or (reach.first <= within.last and within.first <= reach.last)
