"""/v1, questions about several features or texts: rerank, contrast, neighbourhood, duplicates."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from featurestore.errors import BadRequest
from featurestore.interface import FeatureStore
from featurestore.web import reply

# Comparing a dictionary's features takes a millisecond each, and keeps a thread of the service for it.
MOST_COMPARED = 65_536


def blueprint(store: FeatureStore) -> Blueprint:
    """The routes over `store`."""
    api = Blueprint("questions", __name__)

    @api.route("/rerank", methods=["GET", "POST"])
    def rerank() -> Response:
        fields = _with(reply.given(text=reply.text, features=reply.many, mode=reply.text), "text", "features")
        text, ids = fields.pop("text"), fields.pop("features")
        hits = store.rerank(text, ids, **fields)
        return reply.json({"query": hits.query, "hits": hits.hits, "notes": hits.notes, "next": None})

    @api.post("/contrast")
    def contrast() -> Response:
        fields = reply.given(texts=reply.several, against=reply.several, dictionary=reply.many, k=reply.whole)
        return reply.json(store.contrast(**_with(fields, "texts", "against")))

    @api.get("/neighbourhood/<model>/<source>/<index>")
    def neighbourhood(model: str, source: str, index: str) -> Response:
        return reply.json(
            store.neighbourhood(f"{model}/{source}/{index}", **reply.given(k=reply.whole, within=reply.many))
        )

    @api.route("/duplicates", methods=["GET", "POST"])
    def duplicates() -> Response:
        fields = reply.given(dictionary=reply.text, against=reply.many, cosine=reply.real, k=reply.whole)
        name = _with(fields, "dictionary")["dictionary"]
        d_sae = store.dictionary(name).d_sae
        if d_sae > MOST_COMPARED:
            raise BadRequest(
                f"dictionary: {name} has {d_sae:,} features; a service compares {MOST_COMPARED:,} at most. Run "
                "`featurestore duplicates` beside the store"
            )
        return reply.json(store.duplicates(**fields))

    return api


def _with(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        if name not in fields:
            raise BadRequest(f"{name}: it is needed here")
    return fields
