"""What was read from files, kept beside the store until all is read; an interrupted import goes on from there."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy
import pyarrow
import pyarrow.ipc

from featurestore import Unavailable
from ingest.formats.batches import Batch
from ingest.formats.records.windows import Packed, pack

DONE = "done.json"
TABLES = ("features", "labels", "scores")
GROUP = 16  # batches of windows that are held at once


class FileSummary(msgspec.Struct):
    """What one file held: rows by table, rejected records, rows that say nothing, and facts by dictionary."""

    file: str
    rows: dict[str, int]
    rejects: dict[str, int]
    dropped: dict[str, int]
    facts: dict[str, dict[str, Any]]


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
        try:
            place.mkdir(parents=True)
        except OSError as exc:
            raise Unavailable(f"cannot write to {self.folder}: {exc.strerror or exc}") from None
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
        try:
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
        except OSError as exc:
            raise Unavailable(f"cannot write to {self._place.parent}: {exc.strerror or exc}") from None
        self._number += 1

    def end(self, file: str, rejects: dict[str, int]) -> FileSummary:
        """Mark the file as read to its end, and return its summary."""
        summary = FileSummary(file, self._rows, rejects, {k: n for k, n in self._dropped.items() if n}, self._facts)
        try:
            (self._place / DONE).write_bytes(msgspec.json.encode(summary))
        except OSError as exc:
            raise Unavailable(f"cannot write to {self._place.parent}: {exc.strerror or exc}") from None
        return summary

    def _count(self, counts: dict[str, int], into: dict[str, int]) -> None:
        for name, count in counts.items():
            into[name] = into.get(name, 0) + count

    def _write(self, folder: Path, name: str, table: pyarrow.Table) -> None:
        options = pyarrow.ipc.IpcWriteOptions(compression="lz4")
        with pyarrow.ipc.new_file(folder / f"{name}-{self._number:06d}.arrow", table.schema, options=options) as file:
            file.write_table(table.combine_chunks())


def to_table(rows: list[dict[str, Any]]) -> pyarrow.Table:
    """Return rows as a table of all their columns, with whatever types they need."""
    names = {name: None for row in rows for name in row}
    return pyarrow.table({name: pyarrow.array([row.get(name) for row in rows]) for name in names})


class DictionarySpool(NamedTuple):
    """The spooled parts of one dictionary, in the order of the files."""

    folders: list[Path]

    def table(self, name: str) -> pyarrow.Table | None:
        """Return the rows of one table from all files, or None."""
        tables = [read_table(path) for path in self._files(name)]
        tables = [table for table in tables if table.num_rows]
        return pyarrow.concat_tables(tables, promote_options="permissive") if tables else None

    def has_windows(self) -> bool:
        """Return whether there are any windows."""
        return bool(self._files("windows"))

    def windows(self) -> Iterator[Packed]:
        """Yield the windows of each batch."""
        for rows, pieces in zip(self._files("windows"), self._files("pieces"), strict=True):
            yield Packed(read_table(rows), read_table(pieces)["piece"].combine_chunks())

    def window_groups(self) -> Iterator[list[Packed]]:
        """Yield the same in groups, of which together the pieces are numbered more quickly than one by one."""
        windows = self.windows()
        while group := list(itertools.islice(windows, GROUP)):
            yield group

    def vectors(self) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
        """Return arrays of features' numbers and of their vectors, mapped from their files."""
        paths = [path for folder in self.folders for path in sorted(folder.glob("vectors-*.npy"))]
        numbers = [path.with_name(path.name.replace("vectors", "numbers")) for path in paths]
        return [(numpy.load(n), numpy.load(v, mmap_mode="r")) for n, v in zip(numbers, paths, strict=True)]

    def _files(self, name: str) -> list[Path]:
        return [path for folder in self.folders for path in sorted(folder.glob(f"{name}-*.arrow"))]


def read_table(path: Path) -> pyarrow.Table:
    """Return a spooled table."""
    with pyarrow.ipc.open_file(path) as file:
        return file.read_all()
