"""Answers: JSON, Arrow and problem documents. And reading requests: unknown parameters are refused."""

from __future__ import annotations

import functools
import http
import io
from collections.abc import Callable, Iterable, Iterator
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

import msgspec
import pyarrow
from flask import Response, g, request

from featurestore.errors import BadRequest, FeatureStoreError
from featurestore.query import Query
from featurestore.sql import export
from featurestore.values.row_stream import RowStream
from featurestore.web.api.models import Problem

T = TypeVar("T", bound=msgspec.Struct)
TRUTH = {"true": True, "false": False}
ARROW = "application/vnd.apache.arrow.stream"
MIME = {
    "json": "application/x-ndjson",
    "csv": "text/csv",
    "arrow": ARROW,
    "parquet": "application/vnd.apache.parquet",
}


def json(value: Any, status: int = 200) -> Response:
    """`value` (records, objects, lists) as JSON; NaN and infinity become null, times are ISO 8601, bytes base64."""
    return Response(msgspec.json.encode(value), status=status, mimetype="application/json")


def arrow(table: pyarrow.Table) -> Response:
    """A table as an Arrow IPC stream."""
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(sink.getvalue().to_pybytes(), mimetype=ARROW)


def stream(found: RowStream, form: str, max_rows: int | None) -> Response:
    """The rows of a stream in one of formats.FORMATS, sent as they come.

    What goes wrong under way breaks the answer off, so that nobody takes it for whole.
    """
    export.check(form)
    return Response(_pieces(found, form, max_rows), mimetype=MIME[form])


def _pieces(found: RowStream, form: str, max_rows: int | None) -> Iterator[bytes]:
    buffer = _Buffer()
    with found:
        with export.sink_of(form, buffer, found.schema) as add:
            for batch in export.limited(found, max_rows):
                add(batch)
                yield buffer.taken()
        yield buffer.taken()


def pieces(schema: pyarrow.Schema, tables: Iterable[pyarrow.Table]) -> Iterator[bytes]:
    """An Arrow IPC stream of tables of one schema, as they come."""
    buffer = _Buffer()
    with pyarrow.ipc.new_stream(buffer, schema) as writer:
        for table in tables:
            writer.write_table(table)
            yield buffer.taken()
    yield buffer.taken()


class _Buffer(io.RawIOBase):
    """A file to write to, whose bytes are taken away as they come."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._before = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._bytes += bytes(data)
        return len(data)

    def tell(self) -> int:
        return self._before + len(self._bytes)

    def taken(self) -> bytes:
        """What was written since it was last asked."""
        found = bytes(self._bytes)
        self._before += len(found)
        self._bytes.clear()
        return found


def rows(table: pyarrow.Table) -> dict[str, Any]:
    """A table as JSON takes it: columns with types, and rows as lists.

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
        return column.to_pylist()
    except (OverflowError, ValueError):
        raise BadRequest(
            f"column '{table.column_names[n]}' holds a date or time that JSON has no form for: cast it to VARCHAR, "
            f"or ask for an Arrow stream (Accept: {ARROW})"
        ) from None


def problem(exc: FeatureStoreError, status: int) -> Response:
    """An RFC 9457 problem document; `code` names the error's class for clients."""
    body = Problem(
        type="about:blank",
        title=http.HTTPStatus(status).phrase,
        status=status,
        detail=str(exc),
        code=exc.code,
        request=g.get("request_id"),
    )
    return Response(msgspec.json.encode(body), status=status, mimetype="application/problem+json")


def read(type_: type[T]) -> T:
    """The request as a value of `type_`, from its URL or its JSON body. Raises BadRequest, naming the field.

    A field that is null counts as not given.
    """
    if issubclass(type_, Query):
        return cast(T, query())
    fields = _fields(type_)
    in_url = request.method not in ("POST", "PUT")
    found = _from_url(type_) if in_url else body()
    unknown = sorted(set(found) - set(fields))
    if unknown:
        raise BadRequest(f"unknown field '{unknown[0]}'; there are: {', '.join(fields) or 'none here'}")
    found = {name: value for name, value in found.items() if value is not None}
    for name, field in fields.items():
        if field.required and name not in found:
            raise BadRequest(f"{name}: say {_said(field)}")
    try:
        return msgspec.convert(found, type_, strict=not in_url)
    except msgspec.ValidationError as exc:
        what, _, where = str(exc).partition(" - at `$.")
        name = where.partition("[")[0].rstrip("`")
        raise BadRequest(f"{name}: {found.get(name)!r:.200} cannot be read ({what[0].lower()}{what[1:]})") from None


@functools.cache
def _fields(type_: type[msgspec.Struct]) -> dict[str, Any]:
    # Reading a type's annotations takes as long as answering.
    return {field.name: field for field in msgspec.structs.fields(type_)}


def _from_url(type_: type[msgspec.Struct]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if not request.query_string:
        return found
    fields = _fields(type_)
    for name, values in request.args.to_dict(flat=False).items():
        kinds = _kinds_of(type_, name)
        if dict in kinds and len(values) == 1:
            found[name] = _from_json(name, values[0])
            continue
        several = tuple in kinds or (list in kinds and dict not in kinds)
        if name in fields and len(values) > 1 and not several:
            raise BadRequest(f"{name}: given {len(values)} times, takes one value")
        found[name] = values if several else values[0]
        if bool in kinds and values[0] in TRUTH:
            found[name] = TRUTH[values[0]]
    return found


def _from_json(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise BadRequest(f"{name}: {text!r:.200} cannot be read (expected JSON)") from None


@functools.cache
def _kinds_of(type_: type[msgspec.Struct], name: str) -> set[Any]:
    """The plain types that a field takes."""
    return _kinds(_fields(type_)[name].type) if name in _fields(type_) else set()


def _kinds(annotation: Any) -> set[Any]:
    """The plain types that a field's annotation allows."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    return {get_origin(annotation) or annotation}


def _said(field: Any) -> str:
    """What a field is for, in the words of its type."""
    for one in getattr(field.type, "__metadata__", ()):
        if isinstance(one, msgspec.Meta) and one.description:
            return one.description[0].lower() + one.description[1:].rstrip(".")
    return "what it is"


def given(**kinds: Callable[[str], Any]) -> dict[str, Any]:
    """The request's fields, from its URL or its JSON body, each read by its kind; absent ones are left out.

    Raises BadRequest for an unknown field or a value of another kind.
    """
    if request.method == "POST":
        fields = body()
    else:
        several = request.args.to_dict(flat=False)
        for name, values in several.items():
            if len(values) > 1 and kinds.get(name, many) is not many:
                raise BadRequest(f"{name}: given {len(values)} times, takes one value")
        fields = {name: values if kinds.get(name) is many else values[0] for name, values in several.items()}
    unknown = sorted(set(fields) - set(kinds))
    if unknown:
        raise BadRequest(f"unknown field '{unknown[0]}'; there are: {', '.join(kinds) or 'none here'}")
    found = {}
    for name, value in fields.items():
        if value is None:
            continue
        try:
            found[name] = kinds[name](value)
        except (TypeError, ValueError):
            raise BadRequest(f"{name}: {value!r} cannot be read") from None
    return found


def query() -> Query:
    """The Query of the request: its URL's fields, or its JSON body's. Raises BadRequest."""
    fields = body() if request.method == "POST" else request.args.to_dict(flat=False)
    return query_of(fields, text=request.method != "POST")


def query_of(fields: dict[str, Any], text: bool) -> Query:
    """The Query with these fields, each a list of strings where `text`. Raises BadRequest."""
    # Names are checked before they become arguments, whose own names (`strict`) are no field of a query.
    unknown = [name for name in fields if name not in Query.__struct_fields__]
    if unknown:
        raise BadRequest(f"Object contains unknown field `{unknown[0]}`")
    return Query.from_text(fields) if text else Query.of(**fields)


def body() -> dict[str, Any]:
    """The JSON object of a request's body. Raises BadRequest, also when the URL has fields besides."""
    if request.args:
        raise BadRequest(f"{next(iter(request.args))}: a POST takes its fields from the JSON body, not from the URL")
    try:
        found = msgspec.json.decode(request.get_data() or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"the body is not JSON: {exc}") from None
    if not isinstance(found, dict):
        raise BadRequest("the body is not a JSON object")
    return found


def text(value: Any) -> str:
    """A kind for `given`: a string."""
    if not isinstance(value, str):
        raise TypeError
    return value


def whole(value: Any) -> int:
    """A kind for `given`: a whole number."""
    if isinstance(value, bool | float):
        raise TypeError
    return int(value)


def many(value: Any) -> list[str]:
    """A kind for `given`: one string or several."""
    return [value] if isinstance(value, str) else [text(one) for one in value]
