"""Writer: tables in, checked against schema.sql, out as parts that become visible together, in one commit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet

from featurestore.errors import BadRequest, Conflict, Unavailable
from featurestore.parts import OF_A_DICTIONARY, Directory, Part, discard
from featurestore.schema import Gate

# Rows are kept in the order they are asked for, in row groups small enough that one feature's page decodes little.
ORDER = {
    "features": ("feature", 2048),
    "examples": ("feature, band = 'top' DESC, band_low DESC, rank", 8192),
    "documents": ("document", 32),
    "labels": ("feature", 65536),
}
SHARD_FEATURES = 65_536


class Writer:
    """Adds parts to a store. A context manager: everything added becomes visible at its end, or nothing does.

    A writer takes no lock: others read and write meanwhile. When two write the same thing, the second gets Conflict.
    """

    def __init__(self, directory: Directory, tool: str):
        self._directory = directory
        self._tool = tool
        self._gate = Gate()
        self._added: list[Part] = []
        self._removed: set[str] = set()
        self._open: list[Path] = []

    def has(self, table: str, key: str) -> bool:
        """Whether the store (as committed) or this writer holds such a part."""
        mine = any(part.table == table and part.key == key for part in self._added)
        return mine or any(p.file not in self._removed for p in self._directory.snapshot().parts(table, key))

    def add(self, table: str, rows: pyarrow.Table, *, key: str, shard: int = 0) -> None:
        """Add one Parquet part.

        `rows` has columns of stored.<table> by name; nullable ones may be absent. `key` is the dictionary's id for
        dictionaries, features, examples and labels, the corpus id for documents, the tokenizer id for tokenizers.
        `shard` is feature // 65,536 for features and examples. Raises BadRequest when a row breaks the schema, Conflict
        when the store has this already (labels are always appended), Unavailable when the file cannot be written.
        """
        self._check_place(table, key, shard)
        order, group = ORDER.get(table, (None, 1024))
        checked = self._gate.checked(table, rows, order)
        if table in OF_A_DICTIONARY and checked.num_rows:
            others = [name for name in checked["dictionary"].unique().to_pylist() if name != key]
            if others:
                raise BadRequest(f"{table}: a row is of dictionary '{others[0]}', but the part is of '{key}'")
        with self._new(table, key, shard, ".parquet") as file:
            pyarrow.parquet.write_table(checked, file, compression="zstd", row_group_size=group)
        self._keep(file, table, key, shard, checked.num_rows)

    def add_vectors(self, dictionary: str, vectors: numpy.ndarray, *, shard: int = 0) -> None:
        """Add decoder vectors, (rows, d_out), of features shard * 65,536 onwards; kept as float16.

        Raises BadRequest when they are not a finite matrix, or overflow float16.
        """
        self._check_place("decoder_vectors", dictionary, shard)
        if vectors.ndim != 2:
            raise BadRequest(f"decoder vectors of {dictionary} have shape {vectors.shape}; (rows, d_out) is wanted")
        with numpy.errstate(over="ignore"):
            half = numpy.ascontiguousarray(vectors, dtype=numpy.float16)
        bad = numpy.flatnonzero(~numpy.isfinite(half).all(axis=1))
        if len(bad):
            feature = shard * SHARD_FEATURES + int(bad[0])
            raise BadRequest(f"decoder vector {dictionary}/{feature} has a number that is not finite in float16")
        with self._new("decoder_vectors", dictionary, shard, ".npy") as file:
            numpy.save(file, half)
        self._keep(file, "decoder_vectors", dictionary, shard, len(half))

    def add_built(self, table: str, key: str, suffix: str, build: Callable[[Path], int], about: dict[str, Any]) -> None:
        """Add an index: `build(path)` writes the file or directory and returns its rows. An older one is replaced."""
        for part in self._directory.snapshot().parts(table, key):
            self._removed.add(part.file)
        with self._new(table, key, 0, suffix) as file:
            rows = build(file)
        self._keep(file, table, key, 0, rows, about)

    def remove_dictionary(self, dictionary: str) -> None:
        """Remove a dictionary with its features, examples, labels and vectors, in the same commit."""
        for table in OF_A_DICTIONARY:
            for part in self._directory.snapshot().parts(table, dictionary):
                self._removed.add(part.file)

    def remove(self, table: str, key: str) -> None:
        """Remove the parts of one table and key, in the same commit."""
        self._removed |= {part.file for part in self._directory.snapshot().parts(table, key)}

    def commit(self) -> int:
        """Make everything visible; the commit's number. Raises Conflict when another writer came first."""
        number = self._directory.commit(self._added, sorted(self._removed), self._tool)
        self._added, self._removed, self._open = [], set(), []
        self._directory.sweep()
        return number

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            if kind is None and (self._added or self._removed):
                self.commit()
        except OSError as error:
            raise Unavailable(f"cannot write to {self._directory.path}: {error.strerror or error}") from None
        finally:
            for file in self._open:
                discard(file)
            self._gate.close()

    def _check_place(self, table: str, key: str, shard: int) -> None:
        if table == "labels":
            return
        taken = self._added + [p for p in self._directory.snapshot().parts(table, key) if p.file not in self._removed]
        if any(part.place == (table, key, shard) for part in taken):
            raise Conflict(f"the store has {table} of {key} already; remove it first, or choose another name")

    @contextlib.contextmanager
    def _new(self, table: str, key: str, shard: int, suffix: str) -> Iterator[Path]:
        try:
            file = self._directory.new_file(table, key, shard, suffix)
            self._open.append(file)
            yield file
        except OSError as error:
            raise Unavailable(f"cannot write to {self._directory.path}: {error.strerror or error}") from None

    def _keep(
        self, file: Path, table: str, key: str, shard: int, rows: int, about: dict[str, Any] | None = None
    ) -> None:
        self._added.append(self._directory.part(file, table=table, key=key, shard=shard, rows=rows, about=about))
