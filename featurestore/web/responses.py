"""Answers: JSON, Arrow, streams of rows and problem documents."""

from __future__ import annotations

import http
import io
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pyarrow
from flask import Response, g

from featurestore.errors import BadRequest, FeatureStoreError
from featurestore.sql import export
from featurestore.sql.results import plain_values
from featurestore.values.row_stream import RowStream
from featurestore.wire.answers import Problem
from featurestore.wire.question import ARROW, CSV, LINES, PARQUET

MIME = {"json": LINES, "csv": CSV, "arrow": ARROW, "parquet": PARQUET}


def json(value: Any, status: int = 200) -> Response:
    """Encode `value` (structs, objects, lists) as JSON; NaN and infinity become null, times ISO 8601, bytes base64."""
    return Response(msgspec.json.encode(value), status=status, mimetype="application/json")


def arrow(table: pyarrow.Table) -> Response:
    """Encode a table as an Arrow IPC stream."""
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(sink.getvalue().to_pybytes(), mimetype=ARROW)


def stream(rows: RowStream, form: str, max_rows: int | None) -> Response:
    """Send at most `max_rows` rows of a stream as they come, in one of `export.FORMATS`. Raises BadRequest for another.

    What goes wrong under way breaks the answer off, so that its reader does not take it for complete.
    """
    export.check(form)
    return Response(_encode_rows(rows, form, max_rows), mimetype=MIME[form])


def _encode_rows(rows: RowStream, form: str, max_rows: int | None) -> Iterator[bytes]:
    buffer = _Buffer()
    with rows:
        with export.open_sink(form, buffer, rows.schema) as add:
            for batch in export.take(rows, max_rows):
                add(batch)
                yield buffer.take()
        yield buffer.take()


def encode_tables(schema: pyarrow.Schema, tables: Iterable[pyarrow.Table]) -> Iterator[bytes]:
    """Yield an Arrow IPC stream of tables of one schema, a piece for each table as it comes."""
    buffer = _Buffer()
    with pyarrow.ipc.new_stream(buffer, schema) as writer:
        for table in tables:
            writer.write_table(table)
            yield buffer.take()
    yield buffer.take()


class _Buffer(io.RawIOBase):
    """A file to write to, whose bytes are taken away as they come."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._before = 0

    def writable(self) -> bool:
        """Returns True: Arrow's writers ask."""
        return True

    def write(self, data: Any) -> int:
        """Keep these bytes until `take`. Returns how many they are."""
        self._bytes += bytes(data)
        return len(data)

    def tell(self) -> int:
        """Returns how many bytes were written, those taken away included."""
        return self._before + len(self._bytes)

    def take(self) -> bytes:
        """Returns the bytes written since the last call."""
        taken = bytes(self._bytes)
        self._before += len(taken)
        self._bytes.clear()
        return taken


def rows(table: pyarrow.Table) -> dict[str, Any]:
    """Returns a table as JSON takes it: columns with their Arrow types, and rows as lists.

    Raises BadRequest naming the column when one holds dates that neither Python nor ISO 8601 can write.
    """
    return {
        "columns": [{"name": field.name, "type": str(field.type)} for field in table.schema],
        "rows": [list(row) for row in zip(*(_values(table, n) for n in range(table.num_columns)), strict=True)],
        "truncated": b"featurestore.truncated" in (table.schema.metadata or {}),
    }


def _values(table: pyarrow.Table, n: int) -> list[Any]:
    column = table.column(n)
    if pyarrow.types.is_timestamp(column.type) and column.type.unit == "ns":
        # Python's datetime ends at microseconds; text keeps all nine digits.
        return [None if text is None else text.replace(" ", "T", 1) for text in column.cast("string").to_pylist()]
    try:
        values: list[Any] = plain_values(column)
    except (OverflowError, ValueError):
        raise BadRequest(
            f"column '{table.column_names[n]}' holds a date or time that JSON has no form for: cast it to VARCHAR, "
            f"or ask for an Arrow stream (Accept: {ARROW})"
        ) from None
    return values


def problem(exc: FeatureStoreError, status: int) -> Response:
    """Returns an RFC 9457 problem document; `code` names the error's class for clients."""
    body = Problem(
        type="about:blank",
        title=http.HTTPStatus(status).phrase,
        status=status,
        detail=str(exc),
        code=exc.code,
        request=g.get("request_id"),
    )
    return Response(msgspec.json.encode(body), status=status, mimetype="application/problem+json")
