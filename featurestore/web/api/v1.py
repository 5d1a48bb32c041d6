"""/v1: the interface of FeatureStore over HTTP, one route for each question. Parse, call, encode."""

from __future__ import annotations

from flask import Blueprint, Response, request

from featurestore import formats
from featurestore.errors import BadRequest
from featurestore.interface import FeatureStore
from featurestore.web import reply

MAX_ROWS, MOST_ROWS = 10_000, 100_000
SQL_SECONDS = 30.0


def blueprint(store: FeatureStore) -> Blueprint:
    """The routes of /v1 over `store`."""
    api = Blueprint("v1", __name__)

    @api.get("/info")
    def info() -> Response:
        reply.given()
        return reply.json(store.info())

    @api.get("/dictionaries")
    def dictionaries() -> Response:
        reply.given()
        return reply.json({"dictionaries": store.dictionaries(), "next": None})

    @api.get("/dictionaries/<model>/<source>")
    def dictionary(model: str, source: str) -> Response:
        reply.given()
        return reply.json(store.dictionary(f"{model}/{source}"))

    @api.get("/features/<model>/<source>/<index>")
    def feature(model: str, source: str, index: str) -> Response:
        return reply.json(store.feature(f"{model}/{source}/{index}", **reply.given(examples=reply.whole)))

    @api.get("/vectors/<model>/<source>/<index>")
    def vector(model: str, source: str, index: str) -> Response:
        id = f"{model}/{source}/{index}"
        return reply.json({"id": id, "vector": store.vector(id, **reply.given(target=reply.whole)).tolist()})

    @api.route("/search", methods=["GET", "POST"])
    @api.route("/nearest", methods=["GET", "POST"])
    def search() -> Response:
        query = reply.query()
        if request.path.endswith("/search") and query.text is None:
            raise BadRequest("text: say what to search for; /v1/nearest takes near or vector")
        if request.path.endswith("/nearest") and query.text is not None:
            raise BadRequest("text: /v1/nearest takes near (a feature's id) or vector; /v1/search takes text")
        hits = store.run(query)
        return reply.json({"query": query, "hits": hits.hits, "notes": hits.notes, "next": hits.next})

    @api.route("/activating", methods=["GET", "POST"])
    def activating() -> Response:
        fields = reply.given(text=reply.text, dictionary=reply.many, k=reply.whole, order=reply.text)
        if "text" not in fields:
            raise BadRequest("text: say which text to run the model on")
        return reply.json(store.activating(**fields))

    @api.route("/sql", methods=["GET", "POST"])
    def sql() -> Response:
        fields = reply.given(
            sql=reply.text, max_rows=reply.whole, timeout=reply.seconds, format=reply.text, stream=reply.truth
        )
        if "sql" not in fields:
            raise BadRequest("sql: say which SELECT to run")
        timeout = min(fields.get("timeout", SQL_SECONDS), SQL_SECONDS)
        as_arrow = reply.ARROW in request.accept_mimetypes.values()
        if "format" in fields or (as_arrow and fields.get("stream")):
            form = fields.get("format", "arrow")
            formats.check(form)
            most = fields.get("max_rows")
            if most is not None and most < 1:
                raise BadRequest(f"max_rows: {most} is not a number of rows")
            return reply.stream(store.stream(fields["sql"], timeout), form, most)
        max_rows = fields.get("max_rows", MAX_ROWS)
        if not 1 <= max_rows <= MOST_ROWS:
            raise BadRequest(f"max_rows: {max_rows} is not between 1 and {MOST_ROWS:,}")
        table = store.sql(fields["sql"], max_rows=max_rows, timeout=timeout)
        answer = reply.arrow(table) if as_arrow else reply.json(reply.rows(table))
        answer.headers["Vary"] = "Accept"
        return answer

    return api
