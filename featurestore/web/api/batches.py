"""/v1/features, /v1/examples and /v1/vectors: many features by their ids, or page by page by an SQL condition."""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Iterator, Sequence

import msgspec
import numpy
import pyarrow
from flask import Response, request

from featurestore.display.float32 import round_floats32
from featurestore.errors import BadRequest, Unavailable
from featurestore.ids import id_texts
from featurestore.interface import FeatureStore
from featurestore.sql.conditions import Selection, compose
from featurestore.store.store import Store
from featurestore.values import tables
from featurestore.values.examples import Example
from featurestore.values.feature import Feature, FeatureId
from featurestore.web import responses
from featurestore.web.api.routes import answers
from featurestore.wire import limits, questions
from featurestore.wire.answers import ExamplesAnswer, ExamplesOf, FeaturesAnswer, VectorAnswer, VectorsAnswer
from featurestore.wire.question import ARROW, LINES
from featurestore.wire.requests import ExamplesRequest, FeaturesRequest, SelectionRequest, VectorsRequest

JSON = "application/json"
TOGETHER = 50  # features that are read at once, where they are sent as they come


@answers(questions.FEATURES)
def features(store: FeatureStore, selection: FeaturesRequest) -> FeaturesAnswer | Response:
    """Returns whole feature pages, as JSON or streamed."""
    ids, cursor, total = _select(store, selection)
    form = _choose_form()
    if form is None:
        rest = {"next": cursor, "total": total}
        pages = responses.json_list("features", _read_pages(store, ids, selection.examples), rest)
        return responses.whole_or_stream(pages, JSON)
    return _stream(form, Feature, _read_pages(store, ids, selection.examples), cursor)


@answers(questions.EXAMPLES)
def examples(store: FeatureStore, selection: ExamplesRequest) -> ExamplesAnswer | Response:
    """Returns the features' examples of one band or of all, as JSON or streamed."""
    ids, cursor, total = _select(store, selection)
    if selection.band is not None:
        store.examples(ids[:1], band=selection.band)  # which refuses a band that is none
    batches = (
        [ExamplesOf(page.id, _examples_of_band(page, selection.band)) for page in pages]
        for pages in _read_pages(store, ids, selection.examples)
    )
    form = _choose_form()
    if form is None:
        return responses.whole_or_stream(
            responses.json_list("features", batches, {"next": cursor, "total": total}), JSON
        )
    return _stream(form, ExamplesOf, batches, cursor)


@answers(questions.VECTORS)
def vectors(store: FeatureStore, selection: VectorsRequest) -> VectorsAnswer | Response:
    """Returns decoder vectors, as JSON or as one Arrow table."""
    rows, ids = store.vectors(selection.ids), id_texts(selection.ids)
    if ARROW not in request.accept_mimetypes.values():
        values = (VectorAnswer(id, round_floats32(row)) for id, row in zip(ids, rows, strict=True))
        return responses.whole_or_stream(responses.json_list("vectors", [values]), JSON)
    numbers = pyarrow.array(numpy.ascontiguousarray(rows).reshape(-1), pyarrow.float32())
    lists = pyarrow.FixedSizeListArray.from_arrays(numbers, rows.shape[1] or 1)
    return responses.arrow(pyarrow.table({"id": pyarrow.array(ids, pyarrow.string()), "vector": lists}))


def _select(store: FeatureStore, selection: SelectionRequest) -> tuple[list[str], str | None, int | None]:
    """Returns the ids of the features that are asked for, the cursor of the page after them, and how many there are in
    all; None where this is not known. Raises BadRequest.
    """
    if (selection.ids is None) == (selection.where is None):
        raise BadRequest("say either ids or where: which features to give")
    if selection.where is not None:
        ids, cursor = _select_page(store, selection.where, selection.limit, selection.cursor)
        return ids, cursor, _count(store, selection.where) if _choose_form() is None else None
    if selection.cursor is not None:
        raise BadRequest("cursor: it goes with where; ids are answered at once")
    ids = list(selection.ids or ())
    return ids, None, len(ids)


def _count(store: FeatureStore, where: str) -> int | None:
    """Returns how many features a condition chooses; None where that is not known, or takes too long."""
    try:
        return store.count(where) if isinstance(store, Store) else None
    except Unavailable:
        return None


def _read_pages(store: FeatureStore, ids: list[str], examples: int | None) -> Iterator[Sequence[Feature]]:
    """Yield the features' pages, TOGETHER at a time."""
    if not ids:
        store.features(ids, examples)  # which refuses a number of examples that is none
    for first in range(0, len(ids), TOGETHER):
        yield store.features(ids[first : first + TOGETHER], examples)


def _examples_of_band(page: Feature, band: str | None) -> tuple[Example, ...]:
    return tuple(example for example in page.examples if band in (None, example.band))


def _choose_form() -> str | None:
    """Returns the first form of a stream that the request accepts; None for JSON."""
    return next((form for form in request.accept_mimetypes.values() if form in (LINES, ARROW)), None)


def _stream(
    form: str, type_: type[msgspec.Struct], batches: Iterator[Sequence[msgspec.Struct]], cursor: str | None
) -> Response:
    """Send values as they come, a line or a row each.

    The first batch is read before the answer begins, so that a mistake in the request is answered with its own status.
    """
    first = next(batches, ())
    every = itertools.chain([first], batches)
    if form == ARROW:
        schema = tables.table(type_, []).schema
        pieces = responses.encode_tables(schema, (tables.table(type_, batch) for batch in every))
    else:
        pieces = (b"".join(msgspec.json.encode(value) + b"\n" for value in batch) for batch in every)
    answer = Response(pieces, mimetype=form)
    if cursor:
        answer.headers["Link"] = f'<?cursor={cursor}>; rel="next"'
    return answer


def _select_page(store: FeatureStore, where: str, limit: int, cursor: str | None) -> tuple[list[str], str | None]:
    """Returns the ids of a page, and the cursor of the next."""
    last = None if cursor is None else _decode_cursor(cursor)
    after = None if last is None else (last.dictionary, last.feature)
    if isinstance(store, Store):
        selected = store.select(where, limit + 1, after)
    else:  # a service in front of another
        statement, parameters = compose(Selection.of(where, after=after, limit=limit + 1))
        rows = store.sql(statement, parameters, timeout=limits.SQL_SECONDS).to_pylist()
        selected = [f"{row['dictionary']}/{row['feature']}" for row in rows]
    ids = selected[:limit]
    return ids, base64.urlsafe_b64encode(ids[-1].encode()).decode() if len(selected) > limit else None


def _decode_cursor(cursor: str) -> FeatureId:
    try:
        return FeatureId.parse(base64.urlsafe_b64decode(cursor.encode()).decode())
    except (BadRequest, binascii.Error, UnicodeError, ValueError):
        raise BadRequest(f"cursor: {cursor!r:.100} is not what an answer's `next` said") from None
