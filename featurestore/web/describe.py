"""What the service says of itself: whether it lives and is ready, its OpenAPI document, and that document to be read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from flask import Blueprint, Response, render_template

import featurestore
from featurestore.errors import FeatureStoreError, Unavailable
from featurestore.interface import FeatureStore
from featurestore.web import metrics, responses
from featurestore.web.api.models import Health, Nothing
from featurestore.web.api.openapi import document
from featurestore.web.api.routes import Operation, Routes


def health(store: FeatureStore) -> Routes:
    """For whoever restarts a service, and whoever sends requests to it."""
    api = Routes("health", prefix="")

    @api.add("/healthz", gives=Health, scope="")
    def healthz(asked: Nothing) -> Health:
        """The process is alive."""
        return Health("ok")

    @api.add("/readyz", gives=Health, scope="")
    def readyz(asked: Nothing) -> Health:
        """The store can be read: send requests here."""
        try:
            store.dictionaries()
        except FeatureStoreError as exc:
            raise Unavailable(f"not ready: {exc}") from None
        return Health("ok")

    return api


def documents(operations: Sequence[Operation]) -> Blueprint:
    """/openapi.json, and /docs for people: drawn from the same document, with nothing fetched from elsewhere."""
    made = Blueprint("documents", __name__)

    @cache
    def whole() -> dict[str, Any]:
        return document(operations, featurestore.__version__)

    @made.get("/openapi.json")
    def openapi() -> Response:
        responses.given()
        return responses.json(whole())

    @made.get("/docs")
    def docs() -> str:
        responses.given()
        return render_template("docs.html", document=whole(), kind=_kind, errors=_errors())

    @made.get("/metrics")
    def measured() -> Response:
        return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)

    return made


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
