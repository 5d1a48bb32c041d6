"""The fields of a request as a value of one type, from its URL or its JSON body. Unknown fields are refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar, cast

import msgspec
from flask import request

from featurestore.errors import BadRequest
from featurestore.query import OTHER_NAMES, Query
from featurestore.refusals import describe_invalid, describe_unknown
from featurestore.wire.question import fields_of, kinds_of

T = TypeVar("T", bound=msgspec.Struct)
TRUTH = {"true": True, "false": False}
# Names that people give to the fields of requests that are no queries, beside those of queries.
OTHER_NAMES_OF_REQUESTS = (
    *(("query", "sql"), ("statement", "sql"), ("q", "sql"), ("params", "parameters"), ("limit", "max_rows")),
    *((name, "label") for name in ("text", "value", "description", "explanation")),
    *((name, "ids") for name in ("id", "feature", "features")),
    *((name, "features") for name in ("id", "ids", "hits")),
    *((name, "examples") for name in ("k", "n", "n_examples", "max_examples", "top_k")),
    *(("ids", "id"), ("feature", "id"), ("features", "id"), ("prompt", "text"), ("within", "dictionary")),
)


def read(type_: type[T], without: Collection[str] = (), requires: Collection[str] = ()) -> T:
    """Returns the request's fields as a value of `type_`; a field that is null counts as not given.

    `without` are fields that the question does not take, and does not propose; `requires` are fields of a query that it
    cannot do without. Raises BadRequest, naming the field.
    """
    in_url = request.method not in ("POST", "PUT")
    if issubclass(type_, Query):
        given = request.args.to_dict(flat=False) if in_url else _decode_body()
        unknown = [name for name in given if name not in fields_of(type_)]
        if unknown:
            taken = [name for name in fields_of(type_) if name not in without]
            raise BadRequest(describe_unknown(unknown[0], taken, OTHER_NAMES))
        missing = [name for name in requires if given.get(name) is None]
        if missing and not any(name in given for name in without):
            raise BadRequest(f"{missing[0]}: say {_describe(fields_of(type_)[missing[0]])}")
        return cast(T, Query.from_text(given) if in_url else Query.of(given))
    fields = fields_of(type_)
    values = _parse_url(type_) if in_url else _decode_body()
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise BadRequest(describe_unknown(unknown[0], list(fields), _other_names(fields)))
    values = {name: value for name, value in values.items() if value is not None}
    for name, field in fields.items():
        if field.required and name not in values:
            raise BadRequest(f"{name}: say {_describe(field)}")
    try:
        return msgspec.convert(values, type_, strict=not in_url)
    except msgspec.ValidationError as exc:
        raise BadRequest(describe_invalid(type_, values, exc)) from None


def _other_names(fields: Mapping[str, Any]) -> dict[str, str]:
    """Returns these fields by the other names that people give to them."""
    return {other: field for other, field in (*OTHER_NAMES.items(), *OTHER_NAMES_OF_REQUESTS) if field in fields}


def _decode_body() -> dict[str, Any]:
    """Returns the JSON object of the request's body. Raises BadRequest, also when the URL has fields besides."""
    if request.args:
        raise BadRequest(f"{next(iter(request.args))}: a POST takes its fields from the JSON body, not from the URL")
    try:
        body = msgspec.json.decode(request.get_data() or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"the body is not JSON: {exc}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deep") from None
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    return body


def _parse_url(type_: type[msgspec.Struct]) -> dict[str, Any]:
    """Returns the values of the URL's fields, by their types in `type_`.

    They are lists of strings where a field takes several values, decoded JSON where it takes an object, truth values
    where it takes one, else strings.
    """
    fields: dict[str, Any] = {}
    if not request.query_string:
        return fields
    for name, values in request.args.to_dict(flat=False).items():
        kinds = kinds_of(type_, name)
        if dict in kinds and len(values) == 1:
            fields[name] = _decode_json(name, values[0])
            continue
        if values[-1].lower() == "null" and kinds & {int, float} and str not in kinds:
            raise BadRequest(f"{name}: null is of JSON; in a URL, leave out what is not given")
        several = tuple in kinds or (list in kinds and dict not in kinds)
        if name in fields_of(type_) and len(values) > 1 and not several:
            raise BadRequest(f"{name}: given {len(values)} times, takes one value")
        fields[name] = values if several else values[0]
        if bool in kinds and values[0] in TRUTH:
            fields[name] = TRUTH[values[0]]
    return fields


def _decode_json(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise BadRequest(f"{name}: it is nested too deep") from None
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise BadRequest(f"{name}: {text!r:.200} cannot be read (expected JSON)") from None


def _describe(field: msgspec.structs.FieldInfo) -> str:
    """Returns what a field is for, in the words of its type."""
    for meta in getattr(field.type, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.description:
            return meta.description[0].lower() + meta.description[1:].rstrip(".")
    return "what it is"
