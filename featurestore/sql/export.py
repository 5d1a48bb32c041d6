"""Rows as bytes: JSON lines, CSV, Arrow and Parquet, written as the rows come."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow
import pyarrow.csv
import pyarrow.parquet

from featurestore.errors import BadRequest, Unavailable
from featurestore.values.row_stream import RowStream

FORMATS = ("json", "csv", "arrow", "parquet")


def write(found: RowStream, form: str, output: str | None, max_rows: int | None = None) -> int:
    """Write the rows of a stream to a file, which appears whole or not at all, or to standard output; how many.

    Raises BadRequest for a format that is none, Unavailable when the file cannot be written.
    """
    check(form)
    if output is None:
        return _copy(found, form, sys.stdout.buffer, max_rows)
    beside = Path(output).absolute().parent
    try:
        handle, name = tempfile.mkstemp(dir=beside, prefix=".featurestore-")
        try:
            with open(handle, "wb") as sink:
                rows = _copy(found, form, sink, max_rows)
            os.chmod(name, 0o644)
            os.replace(name, output)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as exc:
        raise Unavailable(f"cannot write {output}: {exc.strerror or exc}") from None
    return rows


def check(form: str) -> None:
    """Raises BadRequest unless `form` is a format."""
    if form not in FORMATS:
        raise BadRequest(f"format: '{form}' is not one of {', '.join(FORMATS)}")


def _copy(found: RowStream, form: str, sink: BinaryIO, max_rows: int | None) -> int:
    rows = 0
    with sink_of(form, sink, found.schema) as add:
        for batch in limited(found, max_rows):
            add(batch)
            rows += batch.num_rows
    return rows


def limited(found: RowStream, max_rows: int | None) -> Iterator[pyarrow.RecordBatch]:
    """The first rows of a stream, all where no limit is set."""
    left = max_rows
    for batch in found:
        if left is not None:
            batch = batch.slice(0, left)
            left -= batch.num_rows
        yield batch
        if left == 0:
            return


@contextlib.contextmanager
def sink_of(form: str, sink: BinaryIO | Any, schema: pyarrow.Schema) -> Iterator[Any]:
    """A function that writes one batch after another to `sink`."""
    if form == "arrow":
        with pyarrow.ipc.new_stream(sink, schema) as writer:
            yield writer.write_batch
    elif form == "parquet":
        with pyarrow.parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
            yield writer.write_batch
    elif form == "csv":
        plain = pyarrow.schema([(field.name, _csv_type(field.type)) for field in schema])
        with pyarrow.csv.CSVWriter(sink, plain) as writer:
            yield lambda batch: writer.write_batch(_flat(batch, plain))
    else:
        yield lambda batch: sink.write(b"".join(msgspec.json.encode(row) + b"\n" for row in batch.to_pylist()))


def _csv_type(type_: pyarrow.DataType) -> pyarrow.DataType:
    return pyarrow.string() if pyarrow.types.is_nested(type_) or pyarrow.types.is_binary(type_) else type_


def _flat(batch: pyarrow.RecordBatch, plain: pyarrow.Schema) -> pyarrow.RecordBatch:
    """Lists and structs as JSON, since CSV has no cells in cells."""
    columns = [
        column
        if field.type == column.type
        else pyarrow.array(
            [None if value is None else msgspec.json.encode(value).decode() for value in column.to_pylist()], field.type
        )
        for column, field in zip(batch.columns, plain, strict=True)
    ]
    return pyarrow.record_batch(columns, schema=plain)
