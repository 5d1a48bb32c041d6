"""The description of the HTTP interface: /openapi.json for programs, and /docs for people, of the same document."""

from __future__ import annotations

from functools import cache
from typing import Any

from flask import Blueprint, Response, render_template

import featurestore
from featurestore.errors import FeatureStoreError
from featurestore.web import responses
from featurestore.web.api.openapi import document
from featurestore.web.requests import read
from featurestore.wire.questions import QUESTIONS
from featurestore.wire.requests import Nothing

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
        return render_template("docs.html", document=build(), describe=describe_schema, errors=_list_errors())

    return blueprint


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
