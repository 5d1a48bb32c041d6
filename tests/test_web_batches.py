"""Many features in one request: by ids, by a condition page by page, as JSON, lines and Arrow."""

import json

import pyarrow
import pytest

import featurestore
from featurestore.web import create_app

LINES = {"Accept": "application/x-ndjson"}
ARROW = {"Accept": "application/vnd.apache.arrow.stream"}


@pytest.fixture(scope="module")
def http(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield create_app(store).test_client()


def test_lines_are_the_pages_of_the_features(http):
    ids = [f"tiny/0-res/{n}" for n in (8, 3, 22)]
    whole = [http.get(f"/v1/features/{id}").json for id in ids]
    assert http.post("/v1/features", json={"ids": ids}).json == {"features": whole, "next": None}
    lines = http.post("/v1/features", json={"ids": ids}, headers=LINES)
    assert lines.mimetype == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == whole


def test_vectors_as_json_and_as_arrow_are_the_same(http):
    ids = ["tiny/1-res/5", "tiny/0-res/0"]
    plain = http.post("/v1/vectors", json={"ids": ids}).json["vectors"]
    assert plain == [http.get(f"/v1/vectors/{id}").json for id in ids]
    table = pyarrow.ipc.open_stream(http.post("/v1/vectors", json={"ids": ids}, headers=ARROW).data).read_all()
    assert table.to_pylist() == plain
    assert table.schema.field("vector").type == pyarrow.list_(pyarrow.float32(), 8)
    none = pyarrow.ipc.open_stream(http.post("/v1/vectors", json={"ids": []}, headers=ARROW).data).read_all()
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
        ({"where": "true", "limit": 1001}, "limit: 1001 cannot be read"),
        ({"ids": ["tiny/0-res/1"] * 1001}, "cannot be read"),
        ({"ids": ["tiny"]}, "is not a feature id"),
    ],
)
def test_what_cannot_be_meant_is_said(http, asked, words):
    answer = http.post("/v1/features", json=asked)
    assert (answer.status_code, words in answer.json["detail"]) == (400, True), answer.json
    assert http.post("/v1/features", json=asked, headers=LINES).status_code == 400
