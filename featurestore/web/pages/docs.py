"""The description of the HTTP interface: /openapi.json for programs, and /docs for people, of the same document."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from flask import Blueprint, Response, render_template

import featurestore
from featurestore.errors import FeatureStoreError
from featurestore.web import responses
from featurestore.web.api.openapi import document
from featurestore.web.requests import read
from featurestore.wire.call_examples import EXAMPLES, SERVICE, write_curl
from featurestore.wire.questions import QUESTIONS
from featurestore.wire.requests import Nothing

# What a store of the demo answered to the examples: docs/record_answers.py.
ANSWERS = Path(__file__).parent / "api_answers.json"
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<", "maxLength": "at most"}


def create_docs() -> Blueprint:
    """Return the routes of /openapi.json and /docs."""
    blueprint = Blueprint("docs", __name__)

    @cache
    def build() -> dict[str, Any]:
        """Return the OpenAPI document."""
        return document(QUESTIONS, featurestore.__version__)

    @blueprint.get("/openapi.json")
    def openapi() -> Response:
        """Return the OpenAPI document as JSON."""
        read(Nothing)
        return responses.json(build())

    @blueprint.get("/docs")
    def docs() -> str:
        """Return the OpenAPI document as a page."""
        read(Nothing)
        return render_template(
            "docs.html",
            document=build(),
            routes=list_routes(build()),
            describe=describe_schema,
            errors=_list_errors(),
            calls=read_calls(),
            service=SERVICE,
        )

    return blueprint


class Route(NamedTuple):
    """A question in the document: the name it has there, its methods and path, and its first operation."""

    name: str
    methods: str
    path: str
    operation: dict[str, Any]

    @property
    def anchor(self) -> str:
        """The id of the route's section on the page."""
        return str(self.operation["operationId"])


def list_routes(document: dict[str, Any]) -> list[Route]:
    """Return the routes of the document: one for each question, also where several share a path."""
    routes: dict[str, Route] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = operation["operationId"].removesuffix("_post")
            if name in routes:
                routes[name] = routes[name]._replace(methods=f"{routes[name].methods}, {method.upper()}")
            else:
                routes[name] = Route(name, method.upper(), path, operation)
    return list(routes.values())


class Call(NamedTuple):
    """An example of a question: the call for a shell and in Python, and what a store of the demo answered."""

    curl: str
    python: str
    answer: str


@cache
def read_calls() -> dict[str, Call]:
    """Return the example of each question, by its name; of a question without one there is none."""
    answers = json.loads(ANSWERS.read_text(encoding="utf-8"))
    return {
        question.name: Call(
            write_curl(question, EXAMPLES[question.name]),
            f"store.{EXAMPLES[question.name].python}" if EXAMPLES[question.name].python else "",
            json.dumps(answers[question.name], ensure_ascii=False, indent=1),
        )
        for question in QUESTIONS
        if question.name in EXAMPLES and question.name in answers
    }


def _list_errors() -> list[type[FeatureStoreError]]:
    return sorted([FeatureStoreError, *FeatureStoreError.__subclasses__()], key=lambda error: error.status)


def describe_schema(schema: dict[str, Any]) -> str:
    """Return a JSON schema in a few words, as in "list of integer ≥ 0"."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(describe_schema(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        items = schema.get("items")
        return f"list of {describe_schema(items)}" if isinstance(items, dict) else "list"
    bounds = [f"{sign} {schema[key]}" for key, sign in BOUNDS.items() if key in schema]
    return f"{kind} {', '.join(bounds)}".strip()
