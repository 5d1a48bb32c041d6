"""Answers: JSON, Arrow and problem documents. And reading requests: unknown parameters are refused."""

from __future__ import annotations

import http
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow
from flask import Response, request

from featurestore.errors import BadRequest, FeatureStoreError

ARROW = "application/vnd.apache.arrow.stream"


def json(value: Any, status: int = 200) -> Response:
    """`value` (records, objects, lists) as JSON; NaN and infinity become null."""
    return Response(msgspec.json.encode(value), status=status, mimetype="application/json")


def arrow(table: pyarrow.Table) -> Response:
    """A table as an Arrow IPC stream."""
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(sink.getvalue().to_pybytes(), mimetype=ARROW)


def problem(exc: FeatureStoreError, status: int) -> Response:
    """An RFC 9457 problem document; `code` names the error's class for clients."""
    body = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": str(exc),
        "code": exc.code,
    }
    return Response(msgspec.json.encode(body), status=status, mimetype="application/problem+json")


def given(**kinds: Callable[[str], Any]) -> dict[str, Any]:
    """The request's fields, from its URL or its JSON body, each read by its kind; absent ones are left out.

    Raises BadRequest for an unknown field or a value of another kind.
    """
    if request.method == "POST":
        fields = body()
    else:
        fields = {
            name: values if kinds.get(name) is many else values[-1]
            for name, values in request.args.to_dict(flat=False).items()
        }
    unknown = sorted(set(fields) - set(kinds))
    if unknown:
        raise BadRequest(f"unknown field '{unknown[0]}'; there are: {', '.join(kinds)}")
    found = {}
    for name, value in fields.items():
        if value is None:
            continue
        try:
            found[name] = kinds[name](value)
        except (TypeError, ValueError):
            raise BadRequest(f"{name}: {value!r} cannot be read") from None
    return found


def body() -> dict[str, Any]:
    """The JSON object of a request's body. Raises BadRequest."""
    try:
        found = msgspec.json.decode(request.get_data() or b"{}")
    except msgspec.DecodeError as exc:
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
