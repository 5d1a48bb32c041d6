"""Rows as bytes: JSON lines, CSV, Arrow and Parquet, written as the rows come."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from featurestore.display.text import show_controls
from featurestore.errors import BadRequest, Unavailable
from featurestore.sql.results import check_digits, plain_rows, plain_values
from featurestore.values.row_stream import RowStream

FORMATS = ("json", "csv", "spreadsheet", "arrow", "parquet")
BINARY = ("arrow", "parquet")
# A spreadsheet takes a cell that begins so for a formula, which can send the other cells anywhere.
FORMULA = r"^[=+\-@\t\r]"


def write(rows: RowStream, form: str, output: str | None, max_rows: int | None = None) -> int:
    """Write the rows of a stream to a file or, without `output`, to standard output. Returns how many rows it wrote.

    A file appears whole or not at all. Raises BadRequest for an unknown format, Unavailable when the file cannot be
    written.
    """
    check(form)
    if output is None:
        # JSON has escapes for all control characters; the other forms are changed for a terminal only.
        if form != "json" and not sys.stdout.isatty():
            return _copy(rows, form, sys.stdout.buffer, max_rows)
        if form in BINARY:
            raise BadRequest(f"format: {form} is no text for a terminal; name a file (-o), or write into a pipe")
        return _copy(rows, form, _Terminal(), max_rows)
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


class _Terminal:
    """Writes bytes of text to the terminal: control characters in them are shown, not sent."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, content: Any) -> int:
        sys.stdout.write(show_controls(self._decoder.decode(bytes(content))))
        return len(content)

    closed = False

    def flush(self) -> None:
        sys.stdout.flush()

    def tell(self) -> int:
        return 0

    def close(self) -> None:
        pass

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def check(form: str) -> None:
    """Check that `form` is a format. Raises BadRequest otherwise."""
    if form not in FORMATS:
        raise BadRequest(f"format: '{form}' is not one of {', '.join(FORMATS)}")


def _copy(rows: RowStream, form: str, sink: BinaryIO | Any, max_rows: int | None) -> int:
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
    elif form in ("csv", "spreadsheet"):
        mask = _mask_formulas if form == "spreadsheet" else _keep
        names = [f"'{name}" if form == "spreadsheet" and re.match(FORMULA, name) else name for name in schema.names]
        plain = pyarrow.schema([(name, _csv_type(type_)) for name, type_ in zip(names, schema.types, strict=True)])
        with pyarrow.csv.CSVWriter(sink, plain) as writer:
            yield lambda batch: writer.write_batch(mask(_flat(batch, plain)))
    else:
        yield lambda batch: sink.write(b"".join(msgspec.json.encode(row) + b"\n" for row in plain_rows(batch)))


def _csv_type(type_: pyarrow.DataType) -> pyarrow.DataType:
    types = pyarrow.types
    text = types.is_nested(type_) or types.is_binary(type_) or types.is_dictionary(type_)
    return pyarrow.string() if text else type_


def _keep(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    return batch


def _mask_formulas(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """Return the batch with an apostrophe before each text that a spreadsheet would take for a formula."""
    columns = []
    for column in batch.columns:
        if pyarrow.types.is_string(column.type):
            is_formula = pyarrow.compute.match_substring_regex(column, FORMULA)
            masked = pyarrow.compute.binary_join_element_wise("'", column, "")
            column = pyarrow.compute.if_else(is_formula, masked, column)
        columns.append(column)
    return pyarrow.record_batch(columns, schema=batch.schema)


def _flat(batch: pyarrow.RecordBatch, plain: pyarrow.Schema) -> pyarrow.RecordBatch:
    """Return the batch with lists and structs as JSON text, since a CSV cell holds a plain value."""
    columns = [
        column
        if field.type == column.type
        else column.cast(field.type)
        if pyarrow.types.is_dictionary(column.type)
        else pyarrow.array(
            [None if value is None else msgspec.json.encode(value).decode() for value in plain_values(column)],
            field.type,
        )
        for column, field in zip(batch.columns, plain, strict=True)
    ]
    return pyarrow.record_batch(columns, schema=plain)
