"""Many features, examples or vectors in one request: by their ids, or page by page by an SQL condition."""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import numpy
import pyarrow
from flask import Response, request
from msgspec import Meta

from featurestore.errors import BadRequest
from featurestore.interface import FeatureStore
from featurestore.sql.statements import condition
from featurestore.values import tables
from featurestore.values.feature import Example, Feature, FeatureId
from featurestore.web import responses
from featurestore.web.api.models import Asked, Vector, told
from featurestore.web.api.routes import Routes

MOST = 1000  # features of one answer
TOGETHER = 50  # of them read at once, where they are sent as they come
SECONDS = 30.0
LINES, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
STREAMS = (LINES, ARROW)

_Ids = Annotated[
    Annotated[tuple[str, ...], Meta(max_length=MOST)] | None,
    Meta(description="Which features: model/source/index each."),
]


class SomeAsked(Asked, frozen=True):
    """Features by their ids, or those for which a condition holds."""

    ids: _Ids = None
    where: Annotated[
        Annotated[str, Meta(max_length=4000)] | None,
        Meta(description="Instead of ids: an SQL condition over the view `features`, a page of `limit` at a time."),
    ] = None
    limit: Annotated[int, Meta(description="Features of a page, with where.", ge=1, le=MOST)] = 100
    cursor: Annotated[str | None, Meta(description="`next` of the page before; the first page without.")] = None
    examples: Annotated[int | None, told("At most this many examples of each band.", minimum=0)] = None


class FeaturesAsked(SomeAsked, frozen=True):
    """Whole pages of features, by their ids or a condition."""


class ExamplesAsked(SomeAsked, frozen=True):
    """Examples of features, by their ids or a condition."""

    band: Annotated[str | None, Meta(description="Of this band only: top, or an interval as in [1, 2).")] = None


class VectorsAsked(Asked, frozen=True):
    """Decoder vectors by ids."""

    ids: Annotated[tuple[str, ...], Meta(description="Which features: model/source/index each.", max_length=MOST)]


class Features(msgspec.Struct, frozen=True):
    """Whole pages of features, in the order of the ids; `next` is the cursor of the page that follows, null at the end."""

    features: list[Feature]
    next: str | None = None


class ExamplesOf(msgspec.Struct, frozen=True):
    """A feature's examples, the top band first."""

    id: str
    examples: tuple[Example, ...]


class ExamplesFound(msgspec.Struct, frozen=True):
    """Examples of features, in the order of the ids; `next` is the cursor of the page that follows, null at the end."""

    features: list[ExamplesOf]
    next: str | None = None


class Vectors(msgspec.Struct, frozen=True):
    """Decoder vectors, in the order of the ids."""

    vectors: list[Vector]


def routes(store: FeatureStore) -> Routes:
    """The routes of many at once over `store`."""
    api = Routes("batches")

    @api.add("/features", gives=Features, takes=FeaturesAsked, methods=("POST",), media=STREAMS, lane="search")
    def features(asked: FeaturesAsked) -> Features | Response:
        """Up to 1,000 features' whole pages at once; sent as they come where lines (x-ndjson) or Arrow are accepted."""
        ids, following = _ids(store, asked)
        form = _form()
        if form is None:
            return Features(store.features(ids, asked.examples), following)
        return _sent(form, Feature, _few(store, ids, asked.examples), following)

    @api.add("/examples", gives=ExamplesFound, takes=ExamplesAsked, methods=("POST",), media=STREAMS, lane="search")
    def examples(asked: ExamplesAsked) -> ExamplesFound | Response:
        """The examples of up to 1,000 features; sent as they come where lines (x-ndjson) or Arrow are accepted."""
        ids, following = _ids(store, asked)
        found = ([_examples(one, asked.band) for one in some] for some in _few(store, ids, asked.examples))
        form = _form()
        if form is None:
            return ExamplesFound([one for some in found for one in some], following)
        return _sent(form, ExamplesOf, found, following)

    @api.add("/vectors", gives=Vectors, takes=VectorsAsked, methods=("POST",), media=(ARROW,), lane="search")
    def vectors(asked: VectorsAsked) -> Vectors | Response:
        """Up to 1,000 decoder vectors of one width at once; as an Arrow stream with Accept: Arrow."""
        found = store.vectors(asked.ids)
        if ARROW not in request.accept_mimetypes.values():
            return Vectors([Vector(id, row.tolist()) for id, row in zip(asked.ids, found, strict=True)])
        values = pyarrow.array(numpy.ascontiguousarray(found).reshape(-1), pyarrow.float32())
        lists = pyarrow.FixedSizeListArray.from_arrays(values, found.shape[1] or 1)
        return responses.arrow(pyarrow.table({"id": pyarrow.array(asked.ids, pyarrow.string()), "vector": lists}))

    return api


def _ids(store: FeatureStore, asked: SomeAsked) -> tuple[list[str], str | None]:
    """Which features are asked for, and the cursor of those that follow. Raises BadRequest."""
    if (asked.ids is None) == (asked.where is None):
        raise BadRequest("say either ids or where: which features to give")
    if asked.where is not None:
        return _page(store, asked.where, asked.limit, asked.cursor)
    if asked.cursor is not None:
        raise BadRequest("cursor: it goes with where; ids are answered at once")
    return list(asked.ids or ()), None


def _few(store: FeatureStore, ids: list[str], examples: int | None) -> Iterator[Sequence[Feature]]:
    """The features, some at a time."""
    for first in range(0, len(ids), TOGETHER):
        yield store.features(ids[first : first + TOGETHER], examples)


def _examples(one: Feature, band: str | None) -> ExamplesOf:
    return ExamplesOf(one.id, tuple(example for example in one.examples if band in (None, example.band)))


def _form() -> str | None:
    """The form of STREAMS the request accepts, in the order it has them; None for JSON."""
    return next((form for form in request.accept_mimetypes.values() if form in STREAMS), None)


def _sent(
    form: str, of: type[msgspec.Struct], found: Iterator[Sequence[msgspec.Struct]], following: str | None
) -> Response:
    """Values as they come, a line or a row each. The first are made at once: what is wrong with the request is told before."""
    first = next(found, ())
    every = itertools.chain([first], found)
    if form == ARROW:
        schema = tables.table(of, []).schema
        pieces = responses.pieces(schema, (tables.table(of, some) for some in every))
    else:
        pieces = (b"".join(msgspec.json.encode(one) + b"\n" for one in some) for some in every)
    answer = Response(pieces, mimetype=form)
    if following:
        answer.headers["Link"] = f'<?cursor={following}>; rel="next"'
    return answer


def _page(store: FeatureStore, where: str, limit: int, cursor: str | None) -> tuple[list[str], str | None]:
    """The ids of a page, and the cursor of the next. The statement is guarded as anybody's SQL is."""
    after = ""
    parameters: dict[str, Any] = {"rows": limit + 1}
    if cursor is not None:
        last = _read(cursor)
        after = "WHERE dictionary > $last OR (dictionary = $last AND feature > $feature) "
        parameters |= {"last": last.dictionary, "feature": last.feature}
    rows = store.sql(
        # Apart from the cursor's condition: "a) OR (b" would take that one apart, and pages would never end.
        f"FROM (SELECT dictionary, feature FROM features WHERE {condition(where)}) {after}"
        "ORDER BY dictionary, feature LIMIT $rows",
        parameters,
        timeout=SECONDS,
    ).to_pylist()
    ids = [f"{row['dictionary']}/{row['feature']}" for row in rows[:limit]]
    return ids, base64.urlsafe_b64encode(ids[-1].encode()).decode() if len(rows) > limit else None


def _read(cursor: str) -> FeatureId:
    try:
        return FeatureId.parse(base64.urlsafe_b64decode(cursor.encode()).decode())
    except (BadRequest, binascii.Error, UnicodeError, ValueError):
        raise BadRequest(f"cursor: {cursor!r:.100} is not what an answer's `next` said") from None
