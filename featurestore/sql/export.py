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
from featurestore.sql.results import check_digits, plain_rows, plain_values
from featurestore.values.row_stream import RowStream

FORMATS = ("json", "csv", "arrow", "parquet")


def write(rows: RowStream, form: str, output: str | None, max_rows: int | None = None) -> int:
    """Write the rows of a stream to a file or, without `output`, to standard output. Returns how many rows it wrote.

    A file appears whole or not at all. Raises BadRequest for an unknown format, Unavailable when the file cannot be
    written.
    """
    check(form)
    if output is None:
        return _copy(rows, form, sys.stdout.buffer, max_rows)
    beside = Path(output).absolute().parent
    try:
        handle, name = tempfile.mkstemp(dir=beside, prefix=".featurestore-")
        try:
            with open(handle, "wb") as sink:
                count = _copy(rows, form, sink, max_rows)
            os.chmod(name, 0o644)
            os.replace(name, output)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as exc:
        raise Unavailable(f"cannot write {output}: {exc.strerror or exc}") from None
    return count


def check(form: str) -> None:
    """Check that `form` is a format. Raises BadRequest otherwise."""
    if form not in FORMATS:
        raise BadRequest(f"format: '{form}' is not one of {', '.join(FORMATS)}")


def _copy(rows: RowStream, form: str, sink: BinaryIO, max_rows: int | None) -> int:
    count = 0
    with open_sink(form, sink, rows.schema) as add:
        for batch in take(rows, max_rows):
            add(batch)
            count += batch.num_rows
    return count


def take(rows: RowStream, max_rows: int | None) -> Iterator[pyarrow.RecordBatch]:
    """Yield the first `max_rows` rows of a stream, or all of them when it is None."""
    left = max_rows
    for batch in rows:
        if left is not None:
            batch = batch.slice(0, left)
            left -= batch.num_rows
        yield batch
        if left == 0:
            return


@contextlib.contextmanager
def open_sink(form: str, sink: BinaryIO | Any, schema: pyarrow.Schema) -> Iterator[Any]:
    """Return a function that writes one batch after another to `sink`."""
    if form == "arrow":
        with pyarrow.ipc.new_stream(sink, schema) as writer:
            yield writer.write_batch
    elif form == "parquet":
        with pyarrow.parquet.ParquetWriter(sink, schema, compression="zstd") as writer:

            def add(batch: pyarrow.RecordBatch) -> None:
                check_digits(batch)
                writer.write_batch(batch)

            yield add
    elif form == "csv":
        plain = pyarrow.schema([(field.name, _csv_type(field.type)) for field in schema])
        with pyarrow.csv.CSVWriter(sink, plain) as writer:
            yield lambda batch: writer.write_batch(_flat(batch, plain))
    else:
        yield lambda batch: sink.write(b"".join(msgspec.json.encode(row) + b"\n" for row in plain_rows(batch)))


def _csv_type(type_: pyarrow.DataType) -> pyarrow.DataType:
    return pyarrow.string() if pyarrow.types.is_nested(type_) or pyarrow.types.is_binary(type_) else type_


def _flat(batch: pyarrow.RecordBatch, plain: pyarrow.Schema) -> pyarrow.RecordBatch:
    """Return the batch with lists and structs as JSON text, since a CSV cell holds a plain value."""
    columns = [
        column
        if field.type == column.type
        else pyarrow.array(
            [None if value is None else msgspec.json.encode(value).decode() for value in plain_values(column)],
            field.type,
        )
        for column, field in zip(batch.columns, plain, strict=True)
    ]
    return pyarrow.record_batch(columns, schema=plain)
