"""/v1/matrices: what a matrix is, all of it, and any part of it by Range."""

import io

import numpy
import pyarrow
import pytest

import featurestore
from featurestore.web import create_app
from featurestore.web.api import matrices
from tests.support import tiny

PATH = "/v1/matrices/tiny/1-res"


@pytest.fixture(scope="module")
def http(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield create_app(store).test_client()


@pytest.fixture(scope="module")
def file():
    buffer = io.BytesIO()
    numpy.save(buffer, tiny.vectors(1).astype(numpy.float16))
    return buffer.getvalue()


def test_what_it_is(http, file):
    assert http.get(PATH).json == {
        "dictionary": "tiny/1-res",
        "rows": 24,
        "columns": 8,
        "dtype": "float16",
        "header": 128,
        "bytes": len(file),
    }


@pytest.mark.parametrize("piece", [16, 40, 4_000_000])
def test_the_file_and_its_parts(http, file, monkeypatch, piece):
    monkeypatch.setattr(matrices, "PIECE", piece)
    whole = http.get(f"{PATH}?format=npy")
    assert (whole.data, whole.content_length, whole.headers["Accept-Ranges"]) == (file, len(file), "bytes")
    size = len(file)
    for asked, part in {
        "bytes=0-": file,
        "bytes=5-9": file[5:10],
        "bytes=120-150": file[120:151],
        "bytes=128-143": file[128:144],  # the first row
        "bytes=131-190": file[131:191],
        "bytes=-7": file[-7:],
        f"bytes={size - 3}-{size + 50}": file[-3:],
    }.items():
        answer = http.get(f"{PATH}?format=npy", headers={"Range": asked})
        assert (answer.status_code, answer.data) == (206, part), asked
        first = file.index(part) if len(part) > 8 else size - len(part) if asked != "bytes=5-9" else 5
        assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{size}"


@pytest.mark.parametrize("asked", ["bytes=9999-", "bytes=-", "bytes=5-2", "rows=1-2", "bytes=1-2,4-5", "bytes=-0"])
def test_ranges_that_are_none(http, file, asked):
    answer = http.get(f"{PATH}?format=npy", headers={"Range": asked})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(file)}")


def test_a_range_of_what_may_have_changed_is_all_of_it(http, file):
    answer = http.get(f"{PATH}?format=npy", headers={"Range": "bytes=0-3", "If-Range": '"x"'})
    assert (answer.status_code, answer.data) == (200, file)


def test_arrow(http, monkeypatch):
    monkeypatch.setattr(matrices, "PIECE", 100)
    with pyarrow.ipc.open_stream(http.get(f"{PATH}?format=arrow").data) as reader:
        table = reader.read_all()
    assert table["id"].to_pylist() == [f"tiny/1-res/{n}" for n in range(24)]
    assert table["vector"].to_pylist() == tiny.vectors(1).astype(numpy.float16).tolist()


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("?target=3&format=npy", 404, "no decoder vector into layer 3"),
        ("?encoder=true&target=3", 400, "write to no layer"),
        ("?encoder=true", 503, "does not say where the weights"),
        ("?format=csv", 400, "format"),
        ("?rows=3", 400, "unknown field 'rows'"),
    ],
)
def test_what_it_refuses(http, query, status, words):
    answer = http.get(PATH + query)
    assert answer.status_code == status and words in answer.json["detail"]
    assert http.get("/v1/matrices/tiny/none").status_code == 404
