"""/llms.txt and /llms-full.txt: what the service is and how it is asked, as Markdown for language models.

They tell nothing of what the store holds, so no key is asked for them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any

from flask import Blueprint, Response

import featurestore
from featurestore.tables import schema
from featurestore.web.api.openapi import document
from featurestore.web.requests import read
from featurestore.wire.questions import QUESTIONS
from featurestore.wire.requests import Nothing

MIME = "text/plain; charset=utf-8"
HEAD = """\
# featurestore

> A database of features of sparse autoencoders and transcoders: directions in the activations of a language model, with
> labels, examples of text and statistics. Answers are JSON.

An id of a feature is model/source/index, as in gpt2-small/8-res-jb/1234; model/source is its dictionary. A label is
somebody's guess at what a feature means: check it against the feature's examples and scores. Unknown fields are
errors; errors have a `code`, and their `detail` says what to do. Where an answer's `next` is not null, it is the
`cursor` of the following page.

## Ask

- [Dictionaries](/v1/dictionaries): begin here
- [Search by words](/v1/search?text=closing+brackets&k=5): `text`, and `mode`, `within`, `where`, `k`
- [Nearest by direction](/v1/nearest): `near` (ids) or `vector`, and `within`, `k`
- [One feature](/v1/features/MODEL/SOURCE/INDEX?examples=3): labels, scores, logits, examples
- [What fires on a text](/v1/activating?text=raise+ValueError): runs the model
- [SQL](/v1/sql?sql=select+count(*)+from+features): one SELECT (DuckDB) over the views

## Read on

- [Every route with its fields, and every column](/llms-full.txt)
- [The OpenAPI document](/openapi.json)
- [The same as a page](/docs)

Assistants that speak the Model Context Protocol use the command `featurestore mcp --store URL`.
"""


def create_llms() -> Blueprint:
    """Return the routes of /llms.txt and /llms-full.txt."""
    blueprint = Blueprint("llms", __name__)
    build = cache(describe_service)

    @blueprint.get("/llms.txt")
    def short() -> Response:
        """Return what the service is and where to ask what."""
        read(Nothing)
        return Response(HEAD, content_type=MIME)

    @blueprint.get("/llms-full.txt")
    def full() -> Response:
        """Return the same with every route and every column."""
        read(Nothing)
        return Response(build(), content_type=MIME)

    return blueprint


def describe_service() -> str:
    """Return HEAD, then every route with its fields, and every view with its columns."""
    routes = document(QUESTIONS, featurestore.__version__)
    return "\n".join([HEAD, "## Routes", "", *_describe_routes(routes), "## Views of SQL", "", *_describe_views()])


def _describe_routes(routes: dict[str, Any]) -> Iterator[str]:
    for path, methods in routes["paths"].items():
        for method, route in methods.items():
            yield f"### {method.upper()} {path}\n\n{route['summary']}\n"
            fields = [(field["name"], field) for field in route.get("parameters", [])]
            body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            if "$ref" in body:
                body = routes["components"]["schemas"][body["$ref"].rpartition("/")[2]]
            fields += body.get("properties", {}).items()
            for name, field in fields:
                text = field.get("description") or field.get("schema", {}).get("description") or ""
                yield f"- `{name}`: {text}" if text else f"- `{name}`"
            yield ""


def _describe_views() -> Iterator[str]:
    for view, columns in itertools.groupby(schema.columns(), key=lambda column: column.relation):
        yield f"### {view}\n"
        for column in columns:
            yield f"- `{column.column}` {column.type}" + (f": {column.comment}" if column.comment else "")
        yield ""
