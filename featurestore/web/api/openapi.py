"""The OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.0), made from the types that check the requests."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from featurestore.wire.answers import Problem
from featurestore.wire.question import Question

REF = "#/components/schemas/{name}"
JSON = "application/json"
# Classes by other names in the document; besides, a `...Request` is a `...Asked` there.
SCHEMA_NAMES = {
    "DictionariesAnswer": "Dictionaries",
    "ExamplesAnswer": "ExamplesFound",
    "FeaturesAnswer": "Features",
    "LabelsAnswer": "Labels",
    "ListsAnswer": "Lists",
    "ScoresAnswer": "Scores",
    "SearchAnswer": "Found",
    "VectorAnswer": "Vector",
    "VectorsAnswer": "Vectors",
}
PARTS = {
    "model": {"type": "string", "pattern": r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"},
    "source": {"type": "string", "pattern": r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"},
    "index": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    "job": {"type": "string", "pattern": "^[a-z]+-[0-9a-f]{12}$"},
    "list": {"type": "string", "pattern": r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}$"},
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


def document(questions: Iterable[Question[Any, Any]], version: str) -> dict[str, Any]:
    """Returns the document of these questions, as JSON takes it."""
    questions = list(questions)
    types = list({id(type_): type_ for question in questions for type_ in (question.takes, question.gives)}.values())
    _, components = msgspec.json.schema_components([*types, Problem], ref_template=REF)
    schemas = {_schema_name(name): _with_nulls(schema) for name, schema in _as_json(components).items()}
    paths: dict[str, dict[str, Any]] = {}
    for question in questions:
        path = question.prefix + re.sub("<([a-z]+)>", r"{\1}", question.path)
        methods = paths.setdefault(path, {})
        methods |= {method.lower(): _operation(question, method, schemas) for method in question.methods}
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
                    "description": description,
                    "content": {"application/problem+json": {"schema": {"$ref": REF.format(name="Problem")}}},
                }
                for code, description in REFUSALS.items()
            },
        },
    }


def _operation(question: Question[Any, Any], method: str, schemas: dict[str, Any]) -> dict[str, Any]:
    request = _request_schema(question, schemas)
    operation: dict[str, Any] = {
        "operationId": question.name if method == question.methods[0] else f"{question.name}_{method.lower()}",
        "summary": question.summary,
        "tags": [question.scope],
        "parameters": [_path_parameter(name) for name in question.parts],
        "responses": {str(question.status): _answer(question)}
        | {code: {"$ref": f"#/components/responses/{code}"} for code in REFUSALS},
    }
    if method in ("POST", "PUT"):
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": request}}}
    else:
        operation["parameters"] += [
            _query_parameter(name, schema, name in request.get("required", ()))
            for name, schema in request["properties"].items()
        ]
    return operation


def _request_schema(question: Question[Any, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of the type that the question takes, narrowed to the question."""
    schema: dict[str, Any] = copy.deepcopy(schemas[_schema_name(question.takes.__name__)])
    for name in question.without:
        schema["properties"].pop(name, None)
    for name in question.requires:
        schema["properties"][name] = _without_null(schema["properties"][name])
    schema["required"] = sorted({*schema.get("required", ()), *question.requires})
    return schema


def _answer(question: Question[Any, Any]) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([question.gives], ref_template=REF)
    content: dict[str, Any] = {JSON: {"schema": _as_json(schema)}}
    return {"description": question.summary, "content": content | {form: {} for form in question.media}}


def _schema_name(name: str) -> str:
    """Returns the document's name of a class: generated clients use it, so it stays when a class is renamed."""
    return SCHEMA_NAMES.get(name) or re.sub("Request$", "Asked", name)


def _as_json(value: Any) -> Any:
    """Returns schemas as JSON has them: lists in the place of tuples, and the document's names of classes."""
    return _rename(msgspec.json.decode(msgspec.json.encode(value)))


def _rename(part: Any) -> Any:
    if isinstance(part, list):
        return [_rename(item) for item in part]
    if not isinstance(part, dict):
        return part
    renamed = {key: _rename(item) for key, item in part.items()}
    if isinstance(part.get("$ref"), str):
        head, _, name = part["$ref"].rpartition("/")
        renamed["$ref"] = f"{head}/{_schema_name(name)}"
    if isinstance(part.get("title"), str):
        renamed["title"] = _schema_name(part["title"])
    return renamed


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": PARTS.get(name, {"type": "string"})}


def _query_parameter(name: str, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    """Returns a field of the request as it stands in the URL, where there is no null."""
    plain = _without_null(schema)
    parameter = {
        "name": name,
        "in": "query",
        "required": required,
        "description": plain.pop("description", ""),
        "schema": plain,
    }
    if plain.get("type") == "array":
        # One field for each value; numbers are shorter with commas.
        parameter |= {"style": "form", "explode": plain["items"].get("type") != "number"}
    return parameter


def _with_nulls(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns a request's schema in which every optional field may be null too, which means that it is not given."""
    if schema.get("additionalProperties") is not False:
        return schema
    nullable = copy.deepcopy(schema)
    for name, field in nullable["properties"].items():
        if name in schema.get("required", ()) or any(kind == {"type": "null"} for kind in field.get("anyOf", ())):
            continue
        around = {key: field.pop(key) for key in ("description", "default") if key in field}
        nullable["properties"][name] = around | {"anyOf": [field, {"type": "null"}]}
    return nullable


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    plain = copy.deepcopy(schema)
    kinds = [kind for kind in plain.pop("anyOf", ()) if kind != {"type": "null"}]
    if plain.get("default", 0) is None:
        del plain["default"]
    return plain | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})
