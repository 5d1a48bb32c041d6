"""What strangers might send: nothing is written, nothing outside is read, nobody else waits, and the service lives."""

import threading
import time

import pytest

import featurestore
from featurestore import BadRequest, BadStore, Unavailable
from featurestore.web import create_app

# Each of these must be refused.
REFUSED = [
    "ATTACH '{outside}/x.db'",
    "ATTACH ':memory:' AS other",
    "ATTACH 'http://127.0.0.1:1/x.db' (READ_ONLY)",
    "DETACH memory",
    "COPY (SELECT 1) TO '{outside}/x.csv'",
    "COPY (SELECT 1) TO '{store}/x.parquet'",
    "COPY stored.labels FROM '{outside}/secret.txt'",
    "EXPORT DATABASE '{outside}/x'",
    "IMPORT DATABASE '{outside}'",
    "FROM read_csv('{outside}/secret.txt')",
    "FROM read_csv('{store}/../secret.txt')",
    "FROM read_csv_auto('/etc/passwd')",
    "FROM sniff_csv('/etc/passwd')",
    "FROM read_text('/etc/passwd')",
    "FROM read_blob('/proc/self/environ')",
    "FROM read_json('{outside}/*.json')",
    "FROM read_ndjson_objects('{outside}/secret.txt')",
    "FROM read_parquet('{outside}/x.parquet')",
    "FROM read_parquet('{store}/../*.parquet')",
    "FROM parquet_metadata('{outside}/x.parquet')",
    "FROM parquet_schema('/etc/passwd')",
    "FROM glob('/etc/*')",
    "FROM '{outside}/secret.txt'",
    "FROM 'secret.csv'",
    "FROM '{store}/../secret.csv'",
    "FROM read_parquet('s3://bucket/x')",
    "FROM read_parquet('http://127.0.0.1:1/x')",
    "FROM read_csv('https://127.0.0.1:1/x.csv')",
    "FROM read_parquet('hf://datasets/x/y')",
    "FROM query('COPY (SELECT 1) TO ''{outside}/x.csv''')",
    "FROM query_table('/etc/passwd')",
    "SELECT getenv('HOME')",
    "FROM duckdb_secrets()",
    "FROM which_secret('s3://x', 's3')",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "PRAGMA memory_limit='100GB'",
    "CALL pragma_version()",
    "CALL enable_logging()",
    "SET enable_external_access = true",
    "SET memory_limit = '100GB'",
    "SET threads = 100",
    "SET GLOBAL lock_configuration = false",
    "RESET lock_configuration",
    "SET allowed_directories = ['/']",
    "SET VARIABLE x = 1",
    "INSTALL httpfs",
    "INSTALL httpfs FROM 'http://127.0.0.1:1/'",
    "LOAD httpfs",
    "LOAD '{outside}/evil.duckdb_extension'",
    "UPDATE EXTENSIONS",
    "CREATE TABLE x (i INTEGER)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE MACRO x() AS 1",
    "CREATE OR REPLACE MACRO main.sum(x) AS 1",
    "CREATE SECRET x (TYPE s3)",
    "CREATE VIEW features2 AS SELECT 1",
    "CREATE SEQUENCE x",
    "CREATE TYPE x AS ENUM ('a')",
    "DROP VIEW features",
    "ALTER VIEW features RENAME TO f",
    "COMMENT ON VIEW features IS 'x'",
    "INSERT INTO stored.labels VALUES (1)",
    "UPDATE stored.dictionaries SET model = 'x'",
    "DELETE FROM stored.dictionaries",
    "TRUNCATE stored.dictionaries",
    "MERGE INTO stored.dictionaries d USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
    "WITH x AS (DELETE FROM stored.dictionaries RETURNING *) FROM x",
    "WITH x AS (INSERT INTO stored.labels (label) VALUES ('x') RETURNING *) FROM x",
    "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
    "PREPARE x AS SELECT 1",
    "EXECUTE x",
    "DEALLOCATE x",
    "BEGIN TRANSACTION",
    "COMMIT",
    "CHECKPOINT",
    "VACUUM",
    "USE memory",
    "SELECT 1; DROP VIEW features",
    "SELECT 1; SELECT 2",
    "-- nothing but a comment",
    "SELECT * FROM secret_of_this_program",
    "FROM semantic('x', where := 'true) UNION SELECT * FROM read_text(''/etc/passwd'') --')",
    "FROM keyword('x', where := '(SELECT count(*) FROM read_csv(''/etc/passwd'')) > 0')",
]

# Each of these would take all memory or time there is; some give an answer, none may take the service with it.
BOMBS = {
    "a string of ten gigabytes": "SELECT length(repeat('x', 10000000000))",
    "strings joined": "SELECT string_agg(repeat('x', 100000)) FROM range(1000000)",
    "a list of two billion": "SELECT len(range(2000000000))",
    "lists of lists": "SELECT len(list_transform(range(100000), lambda x: range(100000)))",
    "a sorted list": "SELECT list_sort(list(random())) FROM range(100000000)",
    "a padded string": "SELECT length(lpad('x', 2147483647, 'y'))",
    "a wide number": "SELECT printf('%2000000000d', 1)",
    "many bits": "SELECT bit_length(bitstring('1', 2000000000))",
    "a hash of a gigabyte": "SELECT md5(repeat('x', 1000000000))",
    "no end of recursion": "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t) SELECT count(*) FROM t",
    "recursion that doubles": "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT unnest([i, i + 1]) FROM t) SELECT count(*) FROM t",
    "a giant cross join": "SELECT count(*) FROM features a, features b, features c, features d, features e, features f, features g",
    "a trillion numbers": "SELECT sum(i) FROM generate_series(1, 1000000000000) t(i)",
    "sorting ten billion": "FROM range(10000000000) ORDER BY random() LIMIT 1",
    "ten billion groups": "SELECT count(*) FROM (SELECT random() r FROM range(10000000000) GROUP BY r)",
    "a backtracking pattern": "SELECT regexp_matches(repeat('a', 100000) || 'b', '(a*)*(a*)*c')",
    "an exploding pattern": "SELECT regexp_matches(repeat('a', 10000000), '(' || repeat('a?', 500) || ')')",
    "a repeated pattern": "SELECT regexp_extract_all(repeat('a', 10000000), 'a{1,1000}{1,1000}')",
    "a like of wildcards": "SELECT repeat('a', 100000) LIKE repeat('%a', 5000) || 'b'",
    "edit distance": "SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))",
    "sleep": "SELECT pg_sleep(1000000)",
    "deep brackets": "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "deep calls": "SELECT " + "abs(" * 20000 + "1" + ")" * 20000,
    "deep subqueries": "SELECT * FROM " + "(SELECT * FROM " * 1000 + "features" + ")" * 1000,
    "deep cases": "SELECT " + "CASE WHEN true THEN " * 3000 + "1" + " END" * 3000,
    "many columns": "SELECT " + ",".join(["1"] * 50000),
    "many unions": " UNION ALL ".join(["SELECT 1"] * 10000),
    "unions from a query": "FROM query(repeat('SELECT 1 UNION ALL ', 20000) || 'SELECT 1')",
    "deep JSON": "SELECT (repeat('[', 100000) || repeat(']', 100000))::JSON->'$[0][0]'",
    "a wide window": "SELECT max(s) FROM (SELECT sum(density) OVER (ORDER BY density) s FROM features, range(10000000))",
    "quantiles of ten billion": "SELECT quantile_cont(random(), 0.5) FROM range(10000000000)",
    "an endless result": "SELECT repeat('x', 1000) FROM range(1000000000000)",
}


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        opened.isolate_sql(processes=4, memory=400_000_000)
        opened.sql("SELECT 1")
        yield opened


@pytest.fixture(scope="module")
def http(store):
    return create_app(store).test_client()


def test_the_list_is_long_enough():
    assert len(REFUSED) + len(BOMBS) >= 60


@pytest.mark.parametrize("isolated", [True, False], ids=["service", "owner"])
@pytest.mark.parametrize("statement", REFUSED)
def test_nothing_is_written_and_nothing_outside_is_read(tmp_path, tiny_store, store, statement, isolated):
    secret_of_this_program = featurestore  # noqa: F841 - a variable is no table
    (tiny_store.parent / "secret.txt").write_text("hidden words")
    (tmp_path / "secret.txt").write_text("hidden words")
    before = sorted(path for path in tiny_store.rglob("*"))
    asked = store if isolated else featurestore.connect(tiny_store)
    with pytest.raises((BadRequest, BadStore)) as caught:
        asked.sql(statement.format(outside=tmp_path, store=tiny_store))
    assert "\n" not in str(caught.value)
    assert "hidden words" not in str(caught.value)
    assert "root:" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]
    assert sorted(path for path in tiny_store.rglob("*")) == before
    assert asked.sql("SELECT count(*) AS n FROM features")["n"].to_pylist() == [48]


@pytest.mark.crash
def test_bombs_take_nothing_down_and_pages_stay_quick(store, http):
    """All of them, four at a time, while others look at pages and ask small questions."""
    answers: dict[str, tuple[int, float]] = {}
    waiting = list(BOMBS.items())
    lock = threading.Lock()

    def throw():
        mine = create_app(store).test_client()
        while True:
            with lock:
                if not waiting:
                    return
                name, statement = waiting.pop()
            began = time.monotonic()
            answer = mine.post("/v1/sql", json={"sql": statement, "timeout": 1})
            answers[name] = (answer.status_code, time.monotonic() - began)
            assert answer.status_code == 200 or answer.json["code"] in ("unavailable", "bad_request"), answer.text

    throwing = [threading.Thread(target=throw) for _ in range(3)]
    for thread in throwing:
        thread.start()
    others = 0
    while any(thread.is_alive() for thread in throwing):
        assert http.get("/v1/features/tiny/0-res/3").status_code == 200
        asked = http.post("/v1/sql", json={"sql": "SELECT count(*) FROM features", "timeout": 20})
        assert asked.status_code == 200, asked.text
        others += 1
    for thread in throwing:
        thread.join()
    assert set(answers) == set(BOMBS)
    assert others > 5, "one query starved the rest"
    assert sum(status == 503 for status, _ in answers.values()) > 10, "they were to be too much"
    assert http.post("/v1/sql", json={"sql": "SELECT 42 AS n"}).json["rows"] == [[42]]


def test_a_process_that_dies_is_one_error_and_the_next_query_gets_another(store):
    worker = next(iter(store._workers._live))
    worker._process.kill()
    worker._process.wait()
    assert store.sql("SELECT 1 AS n")["n"].to_pylist() == [1]


def test_a_busy_pool_says_so(tiny_store):
    with featurestore.connect(tiny_store) as store:
        store.isolate_sql(processes=1)
        reader = store.stream("SELECT repeat('x', 1000) FROM range(100000000)", timeout=20)
        with pytest.raises(Unavailable, match="1 queries are running and none ended in time"):
            store.sql("SELECT 1", timeout=0.2)
        reader.close()
        assert store.sql("SELECT 1 AS n")["n"].to_pylist() == [1]
