"""Guarded SQL: what it answers, and what it refuses."""

import pytest

import featurestore
from featurestore import BadRequest, Unavailable


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


def test_views_answer(store):
    assert store.sql("SELECT count(*) AS n FROM features")["n"].to_pylist() == [48]
    states = store.sql("SELECT state, count(*) AS n FROM features GROUP BY state ORDER BY state").to_pylist()
    assert states == [{"state": "always-on", "n": 2}, {"state": "dead", "n": 2}, {"state": "live", "n": 44}]
    assert store.sql("FROM examples LIMIT 1")["tokens"].to_pylist()[0][:4] == ["def", " x", "(", " self"]


def test_the_best_label_is_a_persons_then_a_models_then_the_statistics(store):
    rows = store.sql("SELECT feature, explainer FROM best_labels WHERE dictionary = 'tiny/0-res'").to_pylist()
    assert {row["feature"]: row["explainer"] for row in rows} == {
        i: "gpt-x" if i % 4 == 0 else "tokens" for i in range(22)
    }


def test_rows_are_limited_and_it_is_said(store):
    table = store.sql("FROM range(100)", max_rows=7)
    assert (table.num_rows, table.schema.metadata) == (7, {b"featurestore.truncated": b"7"})
    assert store.sql("FROM range(7)", max_rows=7).schema.metadata is None


def test_time_is_limited(store):
    with pytest.raises(Unavailable, match=r"longer than 0\.5 s and was stopped"):
        store.sql("SELECT count(*) FROM range(10000000000) a, range(1000000) b", timeout=0.5)
    assert store.sql("SELECT 1 AS one")["one"].to_pylist() == [1]


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "SELEC 1",
        "SELECT 1; SELECT 2",
        "SELECT nose FROM features",
        "DROP VIEW features",
        "CREATE TABLE x (i INTEGER)",
        "INSERT INTO stored.labels VALUES (1)",
        "UPDATE stored.labels SET label = 'x'",
        "COPY (SELECT 1) TO '{outside}/x.csv'",
        "COPY (SELECT 1) TO '{store}/x.parquet'",
        "EXPORT DATABASE '{outside}/x'",
        "ATTACH '{outside}/x.db'",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "PRAGMA database_list",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CALL pragma_version()",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('{store}/../secret.txt')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM '{outside}/secret.txt'",
        "FROM read_parquet('s3://bucket/x')",
        "FROM read_parquet('http://127.0.0.1:1/x')",
        "WITH x AS (DELETE FROM stored.documents RETURNING *) SELECT * FROM x",
        "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
    ],
)
def test_nothing_is_written_and_nothing_outside_is_read(tmp_path, tiny_store, store, statement):
    (tiny_store.parent / "secret.txt").write_text("secret")
    before = sorted(path for path in tiny_store.rglob("*"))
    text = statement.format(outside=tmp_path, store=tiny_store)
    with pytest.raises((BadRequest, featurestore.BadStore)) as caught:
        store.sql(text)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value).replace("secret.txt", "")
    assert list(tmp_path.iterdir()) == []
    assert sorted(path for path in tiny_store.rglob("*")) == before


@pytest.mark.parametrize(
    "text",
    ["IO Error", "INTERRUPT", "Out of Memory", "\nBadStore: x", "Traceback (most recent call last):\nUnavailable: x"],
)
@pytest.mark.parametrize("rows", ["", "CASE WHEN i < 20000 THEN '1' ELSE "])
def test_an_error_that_quotes_the_statement_is_the_statements(store, text, rows):
    """At once, and after the first batch, when it comes through Arrow."""
    value = f"{rows} $text {'END' if rows else ''}"
    with pytest.raises(BadRequest, match="SQL: Conversion Error"):
        store.sql(f"SELECT ({value})::INTEGER FROM range(50000) t(i)", {"text": text})


def test_below_the_fence_only_live_parts_can_be_opened(tiny_store, tmp_path):
    """What DuckDB itself may open, with no check of names before it."""
    (tmp_path / "beside.parquet").write_bytes(next(tiny_store.rglob("*.parquet")).read_bytes())
    with featurestore.connect(tiny_store) as store:
        engine = store._current_view.engine
        directory, snapshot = store._directory, store._current_view.snapshot
        for part in snapshot.parts("labels"):
            assert engine.rows("SELECT count(*) FROM read_parquet(?)", [directory.sql_path(part)])[0][0] > 0
        for path in (tiny_store / "store.json", *(tiny_store / "log").iterdir(), tmp_path / "beside.parquet"):
            for read in ("read_text", "read_blob", "read_parquet", "read_csv", "glob"):
                with pytest.raises(BadRequest, match="may only read the store's tables"):
                    engine.rows(f"FROM {read}(?)", [str(path)])
        for statement in ("SET enable_external_access = true", "RESET allowed_paths", "INSTALL httpfs", "LOAD httpfs"):
            with pytest.raises((BadRequest, featurestore.BadStore)):
                engine.rows(statement)
