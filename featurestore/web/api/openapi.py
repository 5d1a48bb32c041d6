"""The OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.0), made from the types that check the requests."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from featurestore.web.api.models import Problem
from featurestore.web.api.routes import JSON, Operation

REF = "#/components/schemas/{name}"
PARTS = {
    "model": {"type": "string", "pattern": r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"},
    "source": {"type": "string", "pattern": r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"},
    "index": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    "job": {"type": "string", "pattern": "^[a-z]+-[0-9a-f]{12}$"},
    "slug": {"type": "string", "pattern": r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}$"},
}
# What any route may answer beside its own; `default` stands for the rest of them.
REFUSALS = {
    "400": "The request cannot mean anything.",
    "401": "A key is needed, or the one given is not known.",
    "403": "The key does not allow this.",
    "404": "There is no such thing.",
    "409": "Somebody else changed the same thing meanwhile: ask again.",
    "413": "The request is too large.",
    "429": "Too many requests: ask again after Retry-After seconds.",
    "503": "Something needed is not there now, or busy: ask again after Retry-After seconds where it is given.",
    "default": "Any other error.",
}


def document(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """The document of these operations, as JSON takes it."""
    operations = list(operations)
    types = list({id(type_): type_ for one in operations for type_ in (one.takes, one.gives)}.values())
    _, components = msgspec.json.schema_components([*types, Problem], ref_template=REF)
    # Through JSON: tuples become lists.
    schemas = {name: _nulls(schema) for name, schema in msgspec.json.decode(msgspec.json.encode(components)).items()}
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        path = one.prefix + re.sub("<([a-z]+)>", r"{\1}", one.path)
        made = paths.setdefault(path, {})
        made |= {method.lower(): _operation(one, method, schemas) for method in one.methods}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "featurestore",
            "version": version,
            "description": "Features of sparse autoencoders, by meaning, by geometry and by SQL.",
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key, where one is asked for."}
            },
            "responses": {
                code: {
                    "description": said,
                    "content": {"application/problem+json": {"schema": {"$ref": REF.format(name="Problem")}}},
                }
                for code, said in REFUSALS.items()
            },
        },
    }


def _operation(one: Operation, method: str, schemas: dict[str, Any]) -> dict[str, Any]:
    asked = _asked(one, schemas)
    made: dict[str, Any] = {
        "operationId": f"{method.lower()}_{one.name}",
        "summary": one.summary,
        "tags": [one.scope],
        "parameters": [_part(name) for name in re.findall("<([a-z]+)>", one.path)],
        "responses": {str(one.status): _answer(one)}
        | {code: {"$ref": f"#/components/responses/{code}"} for code in REFUSALS},
    }
    if method in ("POST", "PUT"):
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": asked}}}
    else:
        made["parameters"] += [
            _parameter(name, schema, name in asked.get("required", ())) for name, schema in asked["properties"].items()
        ]
    return made


def _asked(one: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of what the route takes: its type's, narrowed to the route."""
    schema = copy.deepcopy(schemas[one.takes.__name__])
    for name in one.without:
        schema["properties"].pop(name, None)
    for name in one.requires:
        schema["properties"][name] = _without_null(schema["properties"][name])
    schema["required"] = sorted({*schema.get("required", ()), *one.requires})
    return schema


def _answer(one: Operation) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([one.gives], ref_template=REF)
    content: dict[str, Any] = {JSON: {"schema": schema}}
    return {"description": one.summary, "content": content | {form: {} for form in one.media}}


def _part(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": PARTS.get(name, {"type": "string"})}


def _parameter(name: str, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    """A field of the request in the URL, where there is no null."""
    plain = _without_null(schema)
    made = {
        "name": name,
        "in": "query",
        "required": required,
        "description": plain.pop("description", ""),
        "schema": plain,
    }
    if plain.get("type") == "array":
        # One field for each value; numbers are shorter with commas.
        made |= {"style": "form", "explode": plain["items"].get("type") != "number"}
    return made


def _nulls(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of a request in which every field that may be left out may be null too, which means the same."""
    if schema.get("additionalProperties") is not False:
        return schema
    made = copy.deepcopy(schema)
    for name, one in made["properties"].items():
        if name in schema.get("required", ()) or any(kind == {"type": "null"} for kind in one.get("anyOf", ())):
            continue
        aside = {key: one.pop(key) for key in ("description", "default") if key in one}
        made["properties"][name] = aside | {"anyOf": [one, {"type": "null"}]}
    return made


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(schema)
    kinds = [kind for kind in made.pop("anyOf", ()) if kind != {"type": "null"}]
    if made.get("default", 0) is None:
        del made["default"]
    return made | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})
