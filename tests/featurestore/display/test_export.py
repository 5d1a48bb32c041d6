"""Results as JSON lines, CSV, Arrow and Parquet, in every door; and streams that are left or break off."""

import csv
import io
import json

import pyarrow
import pyarrow.parquet
import pytest
from flask.testing import FlaskClient

import featurestore
from featurestore import BadRequest, Unavailable
from featurestore.cli.main import main
from featurestore.client import Client
from featurestore.sql.export import FORMATS
from featurestore.web import create_app
from tests.support.servers import real_server

STATEMENT = (
    "SELECT f.* EXCLUDE (histogram), h.score FROM keyword('exception', k := 20) h "
    "JOIN features f USING (dictionary, feature) ORDER BY h.rank"
)
MANY = "SELECT range AS n, 'row ' || range AS text FROM range(50000)"


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


class Reading(FlaskClient):
    """Reads each answer to its end and closes it, as servers do: a stream holds its turn until then."""

    def open(self, *arguments, **more):
        return super().open(*arguments, buffered=True, **more)


@pytest.fixture(scope="module")
def http(store):
    app = create_app(store)
    app.test_client_class = Reading
    return app.test_client()


@pytest.fixture(scope="module")
def served(store):
    """A real server on a loopback port; its address."""
    with real_server.serving(create_app(store)) as address:
        yield address


def read(form, raw):
    if form == "json":
        return [json.loads(line) for line in raw.splitlines()]
    if form in ("csv", "spreadsheet"):
        return list(csv.DictReader(io.StringIO(raw.decode())))
    if form == "arrow":
        return pyarrow.ipc.open_stream(raw).read_all().to_pylist()
    return pyarrow.parquet.read_table(io.BytesIO(raw)).to_pylist()


@pytest.mark.parametrize("form", FORMATS)
def test_http_and_command_line_give_the_same_rows(tmp_path, tiny_store, store, http, invoke, form):
    wanted = store.sql(STATEMENT).to_pylist()
    answer = http.post("/v1/sql", json={"sql": STATEMENT, "format": form})
    assert answer.status_code == 200
    output = tmp_path / f"rows.{form}"
    result = invoke(main, ["sql", STATEMENT, "--store", str(tiny_store), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert f"{len(wanted)} rows in" in result.stderr
    for raw in (answer.data, output.read_bytes()):
        found = read(form, raw)
        if form in ("csv", "spreadsheet"):  # everything is text, lists are JSON
            assert [row["feature"] for row in found] == [str(row["feature"]) for row in wanted]
            assert [json.loads(row["top_logits"]) for row in found] == [row["top_logits"] for row in wanted]
        else:
            assert found == wanted


@pytest.mark.parametrize("form", FORMATS)
def test_every_row_comes_and_as_many_as_asked(http, form):
    answer = http.get("/v1/sql", query_string={"sql": MANY, "format": form})
    found = read(form, answer.data)
    assert [int(row["n"]) for row in found] == list(range(50_000)), "the limit of 10,000 is for plain JSON"
    answer = http.get("/v1/sql", query_string={"sql": MANY, "format": form, "max_rows": 7})
    assert len(read(form, answer.data)) == 7


def test_a_format_that_is_none(tmp_path, tiny_store, http, invoke):
    answer = http.get("/v1/sql", query_string={"sql": "SELECT 1", "format": "xlsx"})
    assert (answer.status_code, answer.json["detail"]) == (
        400,
        "format: 'xlsx' is not one of json, csv, spreadsheet, arrow, parquet",
    )
    result = invoke(main, ["sql", "SELECT 1", "--store", str(tiny_store), "-o", str(tmp_path / "x.xlsx")])
    assert result.exit_code == 2
    assert "'xlsx' is not one of" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failed_query_leaves_no_file(tmp_path, tiny_store, invoke):
    output = tmp_path / "x.csv"
    output.write_text("before")
    result = invoke(main, ["sql", "SELECT nothing", "--store", str(tiny_store), "-o", str(output)])
    assert result.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
    assert output.read_text() == "before"


def test_local_and_remote_streams_are_equal(store, served):
    with Client(served) as remote:
        with remote.stream(MANY) as far, store.stream(MANY) as near:
            assert far.schema == near.schema
            assert far.read_all() == near.read_all()
        with remote.stream(MANY) as left:
            assert next(iter(left)).num_rows > 0
        assert remote.sql("SELECT 1 AS n")["n"].to_pylist() == [1]
        with pytest.raises(BadRequest, match="SELEC"):
            remote.stream("SELEC 1")


def test_a_stream_that_runs_out_of_time_is_no_whole_answer(store, served):
    endless = "SELECT repeat('x', 100) AS x FROM range(100000000000)"
    with pytest.raises(Unavailable, match="longer than"):
        for _ in store.stream(endless, timeout=0.5):
            pass
    with Client(served) as remote, pytest.raises(Unavailable, match="broke off"):
        for _ in remote.stream(endless, timeout=0.5):
            pass


def test_other_libraries_read_a_stream(store):
    import pandas

    frame = pyarrow.RecordBatchReader.from_stream(store.stream(MANY)).read_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 50_000
