"""/v1: the interface of FeatureStore over HTTP, one route for each question. Parse, call, encode."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from flask import Response, request

from featurestore.errors import BadRequest
from featurestore.interface import FeatureStore
from featurestore.query import Query
from featurestore.sql import export
from featurestore.values.dictionary import Dictionary, StoreInfo
from featurestore.values.feature import Feature
from featurestore.values.hits import Activating
from featurestore.values.parameters import from_json
from featurestore.web import responses
from featurestore.web.api.models import (
    MOST_ROWS,
    ActivatingAsked,
    Dictionaries,
    FeatureAsked,
    Found,
    Nothing,
    Scores,
    SqlAsked,
    Table,
    Vector,
    VectorAsked,
)
from featurestore.web.api.routes import Routes

MAX_ROWS = 10_000
SQL_SECONDS = 30.0
BOTH = ("GET", "POST")


def routes(store: FeatureStore) -> Routes:
    """The routes of /v1 over `store`."""
    api = Routes("v1")

    @api.add("/info", gives=StoreInfo)
    def info(asked: Nothing) -> StoreInfo:
        """What the store holds."""
        found = store.info()
        # Where the store lies on the server's disk is nobody's business.
        return msgspec.structs.replace(found, location=_last_name(found.location))

    @api.add("/dictionaries", gives=Dictionaries, tagged=True)
    def dictionaries(asked: Nothing) -> Dictionaries:
        """Every dictionary, ordered by id."""
        return Dictionaries(store.dictionaries())

    @api.add("/dictionaries/<model>/<source>", gives=Dictionary, tagged=True)
    def dictionary(asked: Nothing, model: str, source: str) -> Dictionary:
        """One dictionary."""
        return store.dictionary(f"{model}/{source}")

    @api.add("/features/<model>/<source>/<index>", gives=Feature, takes=FeatureAsked, tagged=True)
    def feature(asked: FeatureAsked, model: str, source: str, index: str) -> Feature:
        """One feature's whole page: statistics, histogram, examples, logit effects, labels."""
        return store.feature(f"{model}/{source}/{index}", asked.examples)

    @api.add("/scores/<model>/<source>/<index>", gives=Scores, tagged=True)
    def scores(asked: Nothing, model: str, source: str, index: str) -> Scores:
        """The scores of a feature's labels."""
        return Scores(store.scores(f"{model}/{source}/{index}"))

    @api.add("/vectors/<model>/<source>/<index>", gives=Vector, takes=VectorAsked, tagged=True)
    def vector(asked: VectorAsked, model: str, source: str, index: str) -> Vector:
        """A feature's decoder vector."""
        id = f"{model}/{source}/{index}"
        return Vector(id, store.vector(id, asked.target).tolist())

    @api.add(
        "/search",
        gives=Found,
        takes=Query,
        methods=BOTH,
        requires=("text",),
        without=("near", "vector", "unlike", "opposite", "space"),
        lane="search",
    )
    def search(query: Query) -> Found:
        """The features whose labels match a text, best first."""
        if query.text is None:
            raise BadRequest("text: say what to search for; /v1/nearest takes near or vector")
        return _found(store, query)

    @api.add("/nearest", gives=Found, takes=Query, methods=BOTH, without=("text", "mode", "over"), lane="search")
    def nearest(query: Query) -> Found:
        """The features whose decoder vectors have the largest cosine to a feature's, or to a vector."""
        if query.text is not None:
            raise BadRequest("text: /v1/nearest takes near (a feature's id) or vector; /v1/search takes text")
        return _found(store, query)

    @api.add("/activating", gives=Activating, takes=ActivatingAsked, methods=BOTH, lane="activating")
    def activating(asked: ActivatingAsked) -> Activating:
        """The features that fire hardest on a text, with their activation on each token."""
        return store.activating(asked.text, asked.dictionary, asked.k, asked.order)

    @api.add(
        "/sql",
        gives=Table,
        takes=SqlAsked,
        methods=BOTH,
        media=tuple(responses.MIME.values()),
        scope="sql",
        lane="sql",
    )
    def sql(asked: SqlAsked) -> Response:
        """The rows of one SELECT over the views of schema.sql, and of searches inside it."""
        return _rows(store, asked)

    return api


def _found(store: FeatureStore, query: Query) -> Found:
    hits = store.run(query)
    return Found(query, hits.hits, hits.notes, hits.next)


def _rows(store: FeatureStore, asked: SqlAsked) -> Response:
    timeout = min(asked.timeout or SQL_SECONDS, SQL_SECONDS)
    parameters = from_json(asked.parameters)
    as_arrow = responses.ARROW in request.accept_mimetypes.values()
    if asked.format is not None or (as_arrow and asked.stream):
        form = asked.format or "arrow"
        export.check(form)
        return responses.stream(store.stream(asked.sql, parameters, timeout), form, asked.max_rows)
    max_rows = MAX_ROWS if asked.max_rows is None else asked.max_rows
    if max_rows > MOST_ROWS:
        raise BadRequest(f"max_rows: {max_rows} is more than {MOST_ROWS:,}; give a format, and rows are streamed")
    table = store.sql(asked.sql, parameters, max_rows, timeout)
    answer = responses.arrow(table) if as_arrow else responses.json(responses.rows(table))
    answer.headers["Vary"] = "Accept"
    return answer


def _last_name(location: str) -> Any:
    return re.split(r"[/\\]", location.rstrip("/\\"))[-1] or "store"
