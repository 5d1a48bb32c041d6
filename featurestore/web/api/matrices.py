"""/v1/matrices: the vectors of a whole dictionary, as NumPy's file (whole or by Range) or as an Arrow stream."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy
from flask import Response

from featurestore.interface import FeatureStore
from featurestore.store.store import Store
from featurestore.values.matrix import Matrix
from featurestore.web import responses
from featurestore.web.api.routes import answers
from featurestore.web.ranges import parse_range, refuse_range
from featurestore.wire import questions
from featurestore.wire.answers import MatrixAnswer
from featurestore.wire.question import ARROW, NPY
from featurestore.wire.requests import MatrixRequest

PIECE = 4_000_000  # bytes that are sent at once


@answers(questions.MATRIX)
def matrix(store: FeatureStore, wanted: MatrixRequest, id: str) -> MatrixAnswer | Response:
    """Return what a dictionary's matrix is or, with a format, its rows."""
    name = store.dictionary(id).dictionary
    if isinstance(store, Store):
        whole = store.matrix(name, wanted.encoder, wanted.target)
    else:  # a service in front of another
        whole = Matrix([store.vectors(dictionary=name, encoder=wanted.encoder, target=wanted.target)])
    header = _make_header(whole)
    form = wanted.format or {NPY: "npy", ARROW: "arrow"}.get(responses.choose_media(NPY, ARROW) or "")
    if form == "npy":
        return _send_file(whole, header)
    if form == "arrow":
        return _send_arrow(whole, name)
    return MatrixAnswer(
        dictionary=name,
        rows=whole.shape[0],
        columns=whole.shape[1],
        dtype="float16" if whole.dtype == numpy.float16 else "float32",
        header=len(header),
        bytes=len(header) + whole.nbytes,
    )


def _make_header(whole: Matrix) -> bytes:
    buffer = io.BytesIO()
    fields = {"descr": numpy.lib.format.dtype_to_descr(whole.dtype), "fortran_order": False, "shape": whole.shape}
    numpy.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()


def _send_file(whole: Matrix, header: bytes) -> Response:
    size = len(header) + whole.nbytes
    asked = parse_range(size)
    if asked is not None and not asked:
        return refuse_range(size)
    part = range(size) if asked is None else asked
    answer = Response(_read_bytes(whole, header, part), 200 if asked is None else 206, mimetype=NPY)
    answer.content_length = len(part)
    answer.headers["Accept-Ranges"] = "bytes"
    if asked is not None:
        answer.headers["Content-Range"] = f"bytes {part[0]}-{part[-1]}/{size}"
    return answer


def _read_bytes(whole: Matrix, header: bytes, part: range) -> Iterator[bytes]:
    """Yield some bytes of the file: its header, then its rows."""
    if part[0] < len(header):
        yield header[part[0] : part[-1] + 1]
    first, last = max(part[0] - len(header), 0), part[-1] + 1 - len(header)  # in the rows
    width = whole.shape[1] * whole.dtype.itemsize
    step = max(1, PIECE // width) * width
    while first < last:
        row, until = first // width, min(last, (first // width) * width + step)
        rows = whole.rows(row, -(-until // width)).tobytes()
        yield rows[first - row * width : until - row * width]
        first = until


def _send_arrow(whole: Matrix, name: str) -> Response:
    table = whole.to_arrow(name)
    rows = max(1, PIECE // (whole.shape[1] * whole.dtype.itemsize))
    pieces = (table.slice(first, rows) for first in range(0, len(table), rows))
    return Response(responses.encode_tables(table.schema, pieces), mimetype=ARROW)
