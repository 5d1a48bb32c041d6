"""What the service says of itself: its OpenAPI document, that document as a page, and its metrics."""

from __future__ import annotations

from functools import cache
from typing import Any

from flask import Blueprint, Response, render_template

import featurestore
from featurestore.errors import FeatureStoreError
from featurestore.web import metrics, requests, responses
from featurestore.web.api.openapi import document
from featurestore.wire.questions import QUESTIONS
from featurestore.wire.requests import Nothing


def documents() -> Blueprint:
    """Returns the routes of /openapi.json, of /docs (the same document as a page) and of /metrics."""
    routes = Blueprint("documents", __name__)

    @cache
    def whole() -> dict[str, Any]:
        return document(QUESTIONS, featurestore.__version__)

    @routes.get("/openapi.json")
    def openapi() -> Response:
        requests.read(Nothing)
        return responses.json(whole())

    @routes.get("/docs")
    def docs() -> str:
        requests.read(Nothing)
        return render_template("docs.html", document=whole(), kind=_kind, errors=_errors())

    @routes.get("/metrics")
    def measured() -> Response:
        return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)

    return routes


def _errors() -> list[type[FeatureStoreError]]:
    return sorted([FeatureStoreError, *FeatureStoreError.__subclasses__()], key=lambda one: one.status)


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(one) for one in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        items = schema.get("items")
        return f"list of {_kind(items)}" if isinstance(items, dict) else "list"
    bounds = [f"{sign} {schema[key]}" for key, sign in BOUNDS.items() if key in schema]
    return f"{kind} {', '.join(bounds)}".strip()


BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<", "maxLength": "at most"}
