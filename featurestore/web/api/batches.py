"""Many features or vectors in one request: by their ids, or page by page by an SQL condition."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated

import msgspec
import numpy
import pyarrow
from flask import Response, request
from msgspec import Meta

from featurestore.errors import BadRequest
from featurestore.interface import FeatureStore
from featurestore.records import Feature, FeatureId
from featurestore.web import reply
from featurestore.web.api.models import Asked, Vector, told
from featurestore.web.api.routes import Routes

MOST = 1000  # features of one answer
SECONDS = 30.0

_Ids = Annotated[
    Annotated[tuple[str, ...], Meta(max_length=MOST)] | None,
    Meta(description="Which features: model/source/index each."),
]


class FeaturesAsked(Asked, frozen=True):
    """Features by their ids, or those for which a condition holds."""

    ids: _Ids = None
    where: Annotated[
        Annotated[str, Meta(max_length=4000)] | None,
        Meta(description="Instead of ids: an SQL condition over the view `features`, a page of `limit` at a time."),
    ] = None
    limit: Annotated[int, Meta(description="Features of a page, with where.", ge=1, le=MOST)] = 100
    cursor: Annotated[str | None, Meta(description="`next` of the page before; the first page without.")] = None
    examples: Annotated[int | None, told("At most this many examples of each band.", minimum=0)] = None


class VectorsAsked(Asked, frozen=True):
    """Decoder vectors by ids."""

    ids: Annotated[tuple[str, ...], Meta(description="Which features: model/source/index each.", max_length=MOST)]


class Features(msgspec.Struct, frozen=True):
    """Whole pages of features, in the order of the ids; `next` is the cursor of the page that follows, null at the end."""

    features: list[Feature]
    next: str | None = None


class Vectors(msgspec.Struct, frozen=True):
    """Decoder vectors, in the order of the ids."""

    vectors: list[Vector]


def routes(store: FeatureStore) -> Routes:
    """The routes of many at once over `store`."""
    api = Routes("batches")

    @api.add(
        "/features", gives=Features, takes=FeaturesAsked, methods=("POST",), media=(reply.MIME["json"],), lane="search"
    )
    def features(asked: FeaturesAsked) -> Features | Response:
        """Up to 1,000 features' whole pages at once; with Accept: application/x-ndjson a line for each, sent as they come."""
        if (asked.ids is None) == (asked.where is None):
            raise BadRequest("say either ids or where: which features to give")
        if asked.where is None:
            if asked.cursor is not None:
                raise BadRequest("cursor: it goes with where; ids are answered at once")
            ids, following = list(asked.ids or ()), None
        else:
            ids, following = _page(store, asked.where, asked.limit, asked.cursor)
        if reply.MIME["json"] not in request.accept_mimetypes.values():
            return Features(store.features(ids, asked.examples), following)
        first = store.features(ids[:1], asked.examples)  # what is wrong with the request is told before the first line
        answer = Response(_lines(store, first, ids[1:], asked.examples), mimetype=reply.MIME["json"])
        if following:
            answer.headers["Link"] = f'<?cursor={following}>; rel="next"'
        return answer

    @api.add("/vectors", gives=Vectors, takes=VectorsAsked, methods=("POST",), media=(reply.ARROW,), lane="search")
    def vectors(asked: VectorsAsked) -> Vectors | Response:
        """Up to 1,000 decoder vectors of one width at once; as an Arrow stream with Accept: Arrow."""
        found = store.vectors(asked.ids)
        if reply.ARROW not in request.accept_mimetypes.values():
            return Vectors([Vector(id, row.tolist()) for id, row in zip(asked.ids, found, strict=True)])
        values = pyarrow.array(numpy.ascontiguousarray(found).reshape(-1), pyarrow.float32())
        lists = pyarrow.FixedSizeListArray.from_arrays(values, found.shape[1] or 1)
        return reply.arrow(pyarrow.table({"id": pyarrow.array(asked.ids, pyarrow.string()), "vector": lists}))

    return api


def _lines(store: FeatureStore, first: list[Feature], ids: list[str], examples: int | None) -> Iterator[bytes]:
    for one in first:
        yield msgspec.json.encode(one) + b"\n"
    for id in ids:
        yield msgspec.json.encode(store.feature(id, examples)) + b"\n"


def _page(store: FeatureStore, where: str, limit: int, cursor: str | None) -> tuple[list[str], str | None]:
    """The ids of a page, and the cursor of the next. The statement is guarded as anybody's SQL is."""
    after = ""
    if cursor is not None:
        last = _read(cursor)
        name = last.dictionary.replace("'", "''")
        after = f"(dictionary > '{name}' OR (dictionary = '{name}' AND feature > {last.feature})) AND "
    rows = store.sql(
        # A comment in the condition ends with its line.
        f"SELECT dictionary, feature FROM features WHERE {after}({where}\n) ORDER BY dictionary, feature LIMIT {limit + 1}",
        timeout=SECONDS,
    ).to_pylist()
    ids = [f"{row['dictionary']}/{row['feature']}" for row in rows[:limit]]
    return ids, base64.urlsafe_b64encode(ids[-1].encode()).decode() if len(rows) > limit else None


def _read(cursor: str) -> FeatureId:
    try:
        return FeatureId.parse(base64.urlsafe_b64decode(cursor.encode()).decode())
    except (BadRequest, binascii.Error, UnicodeError, ValueError):
        raise BadRequest(f"cursor: {cursor!r:.100} is not what an answer's `next` said") from None
