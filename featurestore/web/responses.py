"""Answers: JSON, Arrow, streams of rows and problem documents."""

from __future__ import annotations

import http
import io
import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import pyarrow
from flask import Response, g, request

from featurestore.display.text import shorten
from featurestore.errors import BadRequest, FeatureStoreError
from featurestore.sql import export
from featurestore.sql.batches import check_row, split_batch
from featurestore.sql.engine import TRUNCATED
from featurestore.sql.results import plain_values
from featurestore.values.row_stream import RowStream
from featurestore.wire.answers import Problem
from featurestore.wire.question import ARROW, CSV, LINES, PARQUET

MOST_WHOLE = 8_000_000  # bytes of an answer that is sent as a whole; more is sent as it comes
# Rows are turned into text by pieces: a byte of a list of truth values takes 64 as objects of Python.
JSON_PIECE = 250_000  # bytes
JSON_ROW = 4_000_000
IN_JSON = " as JSON and CSV (as Arrow and Parquet more)"
MOST_DETAIL = 2900  # characters of what a problem document says
MIME = {"json": LINES, "csv": CSV, "spreadsheet": CSV, "arrow": ARROW, "parquet": PARQUET}


def choose_media(*forms: str) -> str | None:
    """Returns the form that the request likes best (`Accept`) of these; None where it takes JSON as gladly."""
    best = request.accept_mimetypes.best_match(["application/json", *forms], default="application/json")
    return None if best == "application/json" else best


def json(value: Any, status: int = 200) -> Response:
    """Encode `value` (structs, objects, lists) as JSON; NaN and infinity become null, times ISO 8601, bytes base64."""
    return Response(msgspec.json.encode(value), status=status, mimetype="application/json")


def arrow(table: pyarrow.Table) -> Response:
    """Encode a table as an Arrow IPC stream."""
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(sink.getvalue().to_pybytes(), mimetype=ARROW)


def whole_or_stream(pieces: Generator[bytes, None, None], mimetype: str) -> Response:
    """Answer with these pieces: as a whole where they are small, else as they come.

    What goes wrong under way breaks the answer off, so that its reader does not take it for complete.
    """
    first = bytearray()
    for piece in pieces:
        first += piece
        if len(first) > MOST_WHOLE:
            answer = Response(itertools.chain([bytes(first)], pieces), mimetype=mimetype)
            answer.call_on_close(pieces.close)
            return answer
    return Response(bytes(first), mimetype=mimetype)


def json_list(
    name: str, batches: Iterable[Iterable[Any]], rest: Mapping[str, Any] | None = None
) -> Generator[bytes, None, None]:
    """Yield a JSON object whose field `name` is a list of the values in `batches`; the fields of `rest` follow."""
    yield b'{"%b":[' % name.encode()
    comma = b""
    for values in batches:
        for value in values:
            yield comma + msgspec.json.encode(value)
            comma = b","
    following = (b',"%b":%b' % (key.encode(), msgspec.json.encode(value)) for key, value in (rest or {}).items())
    yield b"]" + b"".join(following) + b"}"


def table(rows: RowStream, max_rows: int) -> Response:
    """Send the first `max_rows` rows of a stream as JSON, and whether there are more."""
    return whole_or_stream(_encode_table(rows, max_rows), "application/json")


def _encode_table(stream: RowStream, max_rows: int) -> Generator[bytes, None, None]:
    with stream:
        described = rows(stream.schema.empty_table())["columns"]
        yield b'{"columns":%b,"rows":[' % msgspec.json.encode(described)
        left, comma, truncated = max_rows, b"", False
        for batch in stream:
            for piece in split_batch(batch.slice(0, left), JSON_PIECE):
                check_row(piece, JSON_ROW, IN_JSON)
                encoded = msgspec.json.encode(rows(pyarrow.Table.from_batches([piece]))["rows"])
                yield comma + encoded[1:-1]
                comma = b","
            truncated = batch.num_rows > left
            left -= min(left, batch.num_rows)
            if truncated:
                break
        yield b'],"truncated":%b}' % msgspec.json.encode(truncated)


def arrow_table(stream: RowStream, max_rows: int) -> Response:
    """Send the first `max_rows` rows of a stream as Arrow.

    Where there are more, the metadata says so: that of the schema in an answer sent as a whole, else that of a last
    batch without rows.
    """
    batches, size, left = [], 0, max_rows
    for batch in stream:
        batches.append(batch)
        size, left = size + batch.nbytes, left - batch.num_rows
        if left < 0:
            break
        if size > MOST_WHOLE:
            pieces = _encode_arrow(stream, batches, max_rows)
            answer = Response(pieces, mimetype=ARROW)
            answer.call_on_close(stream.close)
            return answer
    stream.close()
    whole = pyarrow.Table.from_batches(batches, schema=stream.schema)
    return arrow(whole if left >= 0 else whole.slice(0, max_rows).replace_schema_metadata({TRUNCATED: str(max_rows)}))


def _encode_arrow(stream: RowStream, begun: list[pyarrow.RecordBatch], max_rows: int) -> Generator[bytes, None, None]:
    buffer, left = ByteBuffer(), max_rows
    with stream, pyarrow.ipc.new_stream(buffer, stream.schema) as writer:
        for batch in itertools.chain(begun, stream):
            writer.write_batch(batch.slice(0, left))
            yield buffer.take()
            if batch.num_rows > left:
                writer.write_batch(batch.slice(0, 0), custom_metadata={TRUNCATED: str(max_rows)})
                break
            left -= batch.num_rows
    yield buffer.take()


def first_rows(stream: RowStream, max_rows: int, skip: int = 0) -> pyarrow.Table:
    """Returns rows of a stream after `skip` rows, of at most JSON_ROW bytes; the metadata says if there are more."""
    batches: list[pyarrow.RecordBatch] = []
    size, left, truncated = 0, max_rows, False
    with stream:
        for whole in stream:
            batch = whole.slice(skip)
            skip -= min(skip, whole.num_rows)
            for piece in split_batch(batch.slice(0, left), JSON_PIECE):
                check_row(piece, JSON_ROW, IN_JSON)
                truncated = truncated or size + piece.nbytes > JSON_ROW
                if truncated:
                    break
                batches, size = [*batches, piece], size + piece.nbytes
            truncated = truncated or batch.num_rows > left
            left -= min(left, batch.num_rows)
            if truncated:
                break
    found = pyarrow.Table.from_batches(batches, schema=stream.schema)
    return found.replace_schema_metadata({TRUNCATED: str(max_rows)}) if truncated else found


def stream(rows: RowStream, form: str, max_rows: int | None) -> Response:
    """Send at most `max_rows` rows of a stream as they come, in one of `export.FORMATS`. Raises BadRequest for another.

    The first piece is made before the answer begins, so that what is wrong with it is answered as such. What goes wrong
    later breaks the answer off, so that its reader does not take it for complete.
    """
    export.check(form)
    pieces = _encode_rows(rows, form, max_rows)
    first = next((piece for piece in pieces if piece), b"")
    answer = Response(itertools.chain([first], pieces), mimetype=MIME[form])
    answer.call_on_close(pieces.close)
    return answer


def _encode_rows(rows: RowStream, form: str, max_rows: int | None) -> Generator[bytes, None, None]:
    buffer = ByteBuffer()
    as_text = form in ("json", "csv", "spreadsheet")
    try:
        with rows:
            with export.open_sink(form, buffer, rows.schema) as add:
                for batch in export.take(rows, max_rows):
                    for piece in split_batch(batch, JSON_PIECE) if as_text else [batch]:
                        if as_text:
                            check_row(piece, JSON_ROW, IN_JSON)
                        add(piece)
                        yield buffer.take()
            yield buffer.take()
    except (pyarrow.ArrowException, OverflowError) as exc:
        reason = str(exc).partition("\n")[0]
        raise BadRequest(f"format: {form} has no form for a column ({reason}); cast it to VARCHAR") from None


def encode_tables(schema: pyarrow.Schema, tables: Iterable[pyarrow.Table]) -> Iterator[bytes]:
    """Yield an Arrow IPC stream of tables of one schema, a piece for each table as it comes."""
    buffer = ByteBuffer()
    with pyarrow.ipc.new_stream(buffer, schema) as writer:
        for table in tables:
            writer.write_table(table)
            yield buffer.take()
    yield buffer.take()


class ByteBuffer(io.RawIOBase):
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
        detail=shorten(str(exc), MOST_DETAIL),  # a name that the sender wrote may be as long as a URL
        code=exc.code,
        request=g.get("request_id"),
    )
    return Response(msgspec.json.encode(body), status=status, mimetype="application/problem+json")
