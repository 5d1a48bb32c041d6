"""Answers of any size: small ones as a whole, large ones as they come, with the same content and little memory."""

import json

import httpx2
import pyarrow
import pytest

import featurestore
from featurestore.client import Client
from featurestore.web import create_app, responses

ARROW = {"Accept": "application/vnd.apache.arrow.stream"}
WIDE = "SELECT i, repeat('x', 1000) AS text, [i, i + 1] AS list FROM range({}) t(i)"


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.fixture
def http(store, monkeypatch):
    monkeypatch.setattr(responses, "MOST_WHOLE", 200_000)
    monkeypatch.setattr(responses, "JSON_PIECE", 50_000)
    monkeypatch.setattr(responses, "JSON_ROW", 100_000)
    return create_app(store).test_client()


@pytest.mark.parametrize(("rows", "whole"), [(20, True), (1000, False)])
def test_rows_are_the_same_whole_and_streamed(http, store, rows, whole):
    statement = WIDE.format(rows)
    wanted = store.sql(statement)
    answer = http.post("/v1/sql", json={"sql": statement})
    assert ("Content-Length" in answer.headers) == whole
    assert answer.json["rows"] == [list(row.values()) for row in wanted.to_pylist()]
    assert [column["name"] for column in answer.json["columns"]] == ["i", "text", "list"]
    assert answer.json["truncated"] is False
    answer = http.post("/v1/sql", json={"sql": statement}, headers=ARROW)
    assert ("Content-Length" in answer.headers) == whole
    assert pyarrow.ipc.open_stream(answer.data).read_all().to_pylist() == wanted.to_pylist()


@pytest.mark.parametrize("most", [1, 10, 999, 1000, 1001])
def test_what_is_cut_off_says_so_in_every_form(http, store, most, monkeypatch):
    statement = WIDE.format(1000)
    answer = http.post("/v1/sql", json={"sql": statement, "max_rows": most}).json
    assert (len(answer["rows"]), answer["truncated"]) == (min(most, 1000), most < 1000)
    with Client("http://x", transport=httpx2.WSGITransport(app=create_app(store))) as client:
        table = client.sql(statement, max_rows=most)
        local = store.sql(statement, max_rows=most)
        assert table.to_pylist() == local.to_pylist()
        assert (
            table.schema.metadata
            == local.schema.metadata
            == ({b"featurestore.truncated": b"%d" % most} if most < 1000 else None)
        )


def test_a_row_too_large_for_a_form_is_named_and_smaller_ones_come(http):
    statement = "SELECT repeat('x', 150000) AS large"
    for form in ({}, {"format": "csv"}, {"format": "json"}):
        answer = http.post("/v1/sql", json={"sql": statement} | form)
        assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
        assert "a row takes" in answer.json["detail"] and "left(text, 1000)" in answer.json["detail"]
    assert http.get("/sql", query_string={"sql": statement}, headers={"Accept": "text/html"}).status_code == 400
    for form in ("arrow", "parquet"):
        assert http.post("/v1/sql", json={"sql": statement, "format": form}).status_code == 200


def test_the_page_of_sql_shows_as_many_rows_as_fit(http):
    page = http.get("/sql", query_string={"sql": WIDE.format(500)}, headers={"Accept": "text/html"}).text
    assert "and there are more" in page
    assert page.count("<tr>") == 50  # a page of rows, or as many as fit: the downloads have all


def test_pages_of_features_are_the_same_whole_and_streamed(http, store, monkeypatch):
    ids = [f"tiny/{source}/{n}" for source in ("0-res", "1-res") for n in range(24)]
    for path, body in (("features", {"ids": ids}), ("examples", {"ids": ids}), ("vectors", {"ids": ids * 20})):
        monkeypatch.setattr(responses, "MOST_WHOLE", 1 << 30)
        whole = http.post(f"/v1/{path}", json=body)
        monkeypatch.setattr(responses, "MOST_WHOLE", 10_000)
        streamed = http.post(f"/v1/{path}", json=body)
        assert ("Content-Length" in whole.headers, "Content-Length" in streamed.headers) == (True, False)
        assert json.loads(whole.data) == json.loads(streamed.data)
    page = http.post("/v1/features", json={"where": "true", "limit": 5}).json
    assert (len(page["features"]), page["next"] is None) == (5, False)


LATE = "SELECT (CASE WHEN i > 2900000 THEN 'a' ELSE '1' END)::INTEGER AS n FROM range(3000000) t(i)"


@pytest.mark.parametrize("form", ["json", "csv", "arrow", "parquet"])
def test_a_mistake_in_the_first_rows_is_answered_and_one_in_later_rows_breaks_off(http, form):
    answer = http.post("/v1/sql", json={"sql": "SELECT 'a'::INTEGER AS n FROM range(3)", "format": form})
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
    with pytest.raises(featurestore.BadRequest, match="Could not convert"):
        _ = http.post("/v1/sql", json={"sql": LATE, "format": form}).data
    assert http.post("/v1/sql", json={"sql": "SELECT 1"}).status_code == 200  # its lane was given back
