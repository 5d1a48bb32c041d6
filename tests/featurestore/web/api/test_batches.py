"""Many features in one request: by ids, by a condition page by page, as JSON, lines and Arrow."""

import json

import msgspec
import pyarrow
import pytest

import featurestore
from featurestore.display.float32 import list_rows
from featurestore.web import create_app
from featurestore.web.api import batches
from tests.support import tiny

LINES = {"Accept": "application/x-ndjson"}
ARROW = {"Accept": "application/vnd.apache.arrow.stream"}


@pytest.fixture(scope="module")
def http(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield create_app(store).test_client()


def test_lines_are_the_pages_of_the_features(http):
    ids = [f"tiny/0-res/{n}" for n in (8, 3, 22)]
    # Neighbours with a label are looked for one page at a time only: that is a search for each feature.
    whole = [http.get(f"/v1/features/{id}").json | {"labelled_neighbours": []} for id in ids]
    assert http.post("/v1/features", json={"ids": ids}).json == {"features": whole, "next": None, "total": len(ids)}
    lines = http.post("/v1/features", json={"ids": ids}, headers=LINES, buffered=True)
    assert lines.mimetype == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == whole


@pytest.mark.parametrize(
    "asked", [{"ids": ["tiny/0-res/8", "tiny/1-res/3", "tiny/0-res/22"]}, {"where": "feature < 3"}, {"ids": []}]
)
def test_whole_pages_as_arrow_are_the_same_as_json(http, asked, monkeypatch):
    monkeypatch.setattr(batches, "TOGETHER", 2)
    whole = http.post("/v1/features", json=asked).json["features"]
    answer = http.post("/v1/features", json=asked, headers=ARROW, buffered=True)
    table = pyarrow.ipc.open_stream(answer.data).read_all()
    assert table.num_rows == len(whole)
    assert table.schema.field("examples").type.value_type.field("activations").type == pyarrow.list_(pyarrow.float64())
    plain = [msgspec.convert(row, featurestore.Feature) for row in table.to_pylist()]
    assert plain == [msgspec.convert(one, featurestore.Feature) for one in whole]


def test_examples_are_those_of_the_pages(http, monkeypatch):
    monkeypatch.setattr(batches, "TOGETHER", 2)
    ids = [f"tiny/0-res/{n}" for n in (8, 3, 22, 5)]
    pages = {id: http.get(f"/v1/features/{id}?examples=1").json["examples"] for id in ids}
    answer = http.post("/v1/examples", json={"ids": ids, "examples": 1}).json
    assert answer == {"features": [{"id": id, "examples": pages[id]} for id in ids], "next": None, "total": len(ids)}
    lines = http.post("/v1/examples", json={"ids": ids, "examples": 1}, headers=LINES, buffered=True).text.splitlines()
    assert [json.loads(line) for line in lines] == answer["features"]
    rows = pyarrow.ipc.open_stream(
        http.post("/v1/examples", json={"ids": ids, "examples": 1}, headers=ARROW, buffered=True).data
    ).read_all()
    assert rows.to_pylist() == answer["features"]
    top = http.post("/v1/examples", json={"ids": ids, "examples": 1, "band": "top"}).json["features"]
    assert [one["examples"] for one in top] == [[e for e in pages[id] if e["band"] == "top"] for id in ids]
    assert any(one["examples"] for one in top)


@pytest.mark.parametrize("headers", [{}, LINES, ARROW])
def test_examples_by_cursor_are_of_every_feature_once(http, headers):
    asked, found = {"where": "feature >= 20", "limit": 3, "examples": 0}, []
    while True:
        answer = http.post("/v1/examples", json=asked, headers=headers, buffered=True)
        if headers == ARROW:
            found += pyarrow.ipc.open_stream(answer.data).read_all()["id"].to_pylist()
        else:
            some = [json.loads(line) for line in answer.text.splitlines()] if headers else answer.json["features"]
            found += [one["id"] for one in some]
        link = answer.headers.get("Link", "")
        following = answer.json["next"] if not headers else link.removeprefix("<?cursor=").partition(">")[0] or None
        if following is None:
            break
        asked["cursor"] = following
    assert found == [f"tiny/{source}/{n}" for source in tiny.SOURCES for n in range(20, 24)]


@pytest.mark.parametrize("headers", [{}, LINES, ARROW])
def test_what_is_wrong_is_told_before_anything_is_sent(http, headers):
    for path in ("/v1/features", "/v1/examples"):
        answer = http.post(path, json={"ids": ["tiny/0-res/1", "tiny/0-res/24"]}, headers=headers)
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_vectors_as_json_and_as_arrow_are_the_same(http):
    ids = ["tiny/1-res/5", "tiny/0-res/0"]
    plain = http.post("/v1/vectors", json={"ids": ids}).json["vectors"]
    assert plain == [http.get(f"/v1/vectors/{id}").json for id in ids]
    table = pyarrow.ipc.open_stream(
        http.post("/v1/vectors", json={"ids": ids}, headers=ARROW, buffered=True).data
    ).read_all()
    assert list_rows(table) == plain
    assert table.schema.field("vector").type == pyarrow.list_(pyarrow.float32(), 8)
    none = pyarrow.ipc.open_stream(
        http.post("/v1/vectors", json={"ids": []}, headers=ARROW, buffered=True).data
    ).read_all()
    assert none.num_rows == 0


@pytest.mark.parametrize("limit", [1, 5, 7, 48, 1000])
@pytest.mark.parametrize("where", ["true", "feature % 3 = 0 -- and so on", "layer = 1 OR state = 'dead'"])
def test_pages_by_cursor_hold_every_feature_once_in_order(http, limit, where):
    wanted = http.post(
        "/v1/sql",
        json={"sql": f"SELECT dictionary || '/' || feature FROM features WHERE {where}\nORDER BY dictionary, feature"},
    ).json["rows"]
    found, cursor = [], None
    while cursor is not None or not found:
        asked = {"where": where, "limit": limit, "cursor": cursor, "examples": 0}
        page = http.post("/v1/features", json=asked).json
        assert 0 < len(page["features"]) <= limit
        found += [one["id"] for one in page["features"]]
        assert page["total"] == len(wanted)
        cursor = page["next"]
    assert found == [row[0] for row in wanted]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "either ids or where"),
        ({"ids": [], "where": "true"}, "either ids or where"),
        ({"ids": [], "cursor": "x"}, "cursor: it goes with where"),
        ({"where": "true", "cursor": "x"}, "is not what an answer's `next` said"),
        ({"where": "nose = 1"}, "nose"),
        ({"where": "true", "limit": 1001}, "limit: 1001 is not a whole number of at most 1000"),
        ({"ids": ["tiny/0-res/1"] * 1001}, "ids: it has 1,001 values; 1,000 are taken at most"),
        ({"ids": ["tiny"]}, "is not a feature id"),
    ],
)
def test_what_cannot_be_meant_is_said(http, asked, words):
    answer = http.post("/v1/features", json=asked)
    assert (answer.status_code, words in answer.json["detail"]) == (400, True), answer.json
    assert http.post("/v1/features", json=asked, headers=LINES, buffered=True).status_code == 400


@pytest.mark.parametrize("path", ["features", "examples"])
@pytest.mark.parametrize("headers", [{}, LINES, ARROW], ids=["json", "lines", "arrow"])
def test_a_number_of_examples_is_checked_for_no_features_too(http, path, headers):
    answer = http.post(f"/v1/{path}", json={"ids": [], "examples": -1}, headers=headers, buffered=True)
    assert (answer.status_code, answer.json["detail"]) == (400, "examples: -1 is not a number of examples, 0 or more")
