"""What strangers might send: nothing is written, nothing outside is read, nobody else waits, and the service lives."""

import re
import threading
import time

import duckdb
import pytest

import featurestore
from featurestore import BadRequest, BadStore, Unavailable
from featurestore.sql.allowed_functions import AGGREGATE, SCALAR, TABLE, WINDOW
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
    # Settings, catalogs, variables and what DuckDB knows of itself.
    "SELECT current_setting('allowed_directories')",
    "SELECT current_setting('allowed_paths')",
    "SELECT main.current_setting('memory_limit')",
    "SELECT 'allowed_paths'.current_setting()",
    "SELECT list_transform(['allowed_paths'], lambda x: current_setting(x))",
    "SELECT [current_setting(x) for x in ['allowed_paths']]",
    "SELECT getvariable('x')",
    "SELECT current_query()",
    "SELECT version()",
    "SELECT current_connection_id()",
    "FROM duckdb_settings()",
    "FROM duckdb_settings",
    "FROM duckdb_views",
    "SELECT sql FROM duckdb_views()",
    "FROM duckdb_extensions()",
    "FROM duckdb_functions()",
    "FROM duckdb_tables()",
    "FROM duckdb_columns()",
    "FROM duckdb_databases()",
    "FROM duckdb_temporary_files()",
    "FROM duckdb_external_file_cache()",
    "FROM duckdb_logs",
    "FROM sqlite_master",
    "FROM information_schema.tables",
    "FROM pg_catalog.pg_views",
    "FROM main.duckdb_settings",
    "FROM system.main.duckdb_settings()",
    "FROM memory.main.features",
    "FROM pragma_show('features')",
    "FROM pragma_table_info('features')",
    "FROM pragma_database_size()",
    "FROM pragma_user_agent()",
    "SHOW DATABASES",
    "SHOW VARIABLES",
    "DESCRIBE '{store}/store.json'",
    "SUMMARIZE '{store}/store.json'",
    "SUMMARIZE duckdb_settings",
    "SELECT col_description(1, 1)",
    "SELECT has_table_privilege('features', 'select')",
    # Files of the store that are no live part of it, by every way that names a file.
    "FROM read_text('{store}/store.json')",
    "FROM read_blob('{store}/store.json')",
    "FROM read_json('{store}/store.json')",
    "FROM read_csv('{store}/store.json', delim = 'x')",
    "FROM glob('{store}/**')",
    "FROM read_parquet('{store}/features/**/*.parquet')",
    "FROM parquet_metadata('{store}/features/*/*.parquet')",
    "FROM parquet_file_metadata('{store}/features/*/*.parquet')",
    "FROM parquet_kv_metadata('{store}/features/*/*.parquet')",
    "FROM parquet_bloom_probe('{store}/features/*/*.parquet', 'feature', 1)",
    "FROM '{store}/store.json'",
    "FROM './store.json'",
    "FROM '/proc/self/cwd/store.json'",
    "FROM '/proc/self/environ'",
    "TABLE 'secret.csv'",
    "FROM read_duckdb('{outside}/x.db')",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT json_serialize_sql('FROM glob(''*'')')",
    "SELECT json_serialize_plan('FROM x')",
    "SELECT json_deserialize_sql('x')",
    "FROM histogram('{store}/store.json', x)",
    "FROM histogram_values(duckdb_settings, name)",
    "FROM keyword('x', \"where\" := '(SELECT count(*) FROM read_csv(''/etc/passwd'')) > 0')",
    "FROM semantic('x', \"where\" := 'true) UNION SELECT * FROM read_text(''/etc/passwd'') --')",
    # The same, deeper.
    "SELECT (FROM glob('*') LIMIT 1)",
    "SELECT 1 WHERE EXISTS (FROM duckdb_settings())",
    "SELECT 1 WHERE 'x' IN (FROM glob('*'))",
    "FROM features ORDER BY (SELECT current_setting('threads'))",
    "FROM features LIMIT (SELECT count(*) FROM glob('*'))",
    "SELECT * REPLACE (current_setting('threads') AS label) FROM features",
    "SELECT sum(length(current_setting('threads'))) OVER () FROM features",
    "SELECT sum(density) FILTER (WHERE current_setting('threads') = '1') FROM features",
    "SELECT density FROM features GROUP BY density HAVING current_setting('threads') = '1'",
    "SELECT density FROM features QUALIFY current_setting('threads') = '1'",
    "VALUES (current_setting('threads'))",
    "FROM features JOIN duckdb_settings() s ON true",
    "FROM features, LATERAL (FROM glob(label))",
    "FROM (FROM (FROM (FROM duckdb_settings())))",
    "SELECT 1 UNION ALL SELECT current_setting('threads')",
    "WITH a AS (FROM duckdb_settings()) FROM a",
    "WITH a AS (FROM duckdb_settings), duckdb_settings AS (SELECT 1) FROM a",
    "WITH RECURSIVE duckdb_settings AS (FROM duckdb_settings) FROM duckdb_settings",
    "FROM (WITH duckdb_settings AS (SELECT 1) FROM duckdb_settings), duckdb_settings",
    "SELECT CASE WHEN true THEN current_setting('threads') END",
    "SELECT row(current_setting('threads'))",
    "PIVOT duckdb_settings ON name IN ('threads') USING first(value)",
    "UNPIVOT duckdb_settings ON name, value",
    "PIVOT features ON state USING count(*)",
    "EXPLAIN FROM duckdb_settings()",
    "EXPLAIN ANALYZE FROM read_text('{store}/store.json')",
    "EXPLAIN ANALYZE SELECT count(*) FROM features",
    "EXPLAIN (ANALYZE, FORMAT json) FROM features",
    "EXPLAIN (ANALYZE) FROM features",
    "EXPLAIN ANALYZE DELETE FROM stored.labels",
    # What waits, fails on purpose, writes, or decodes what a caller could forge.
    "SELECT pg_sleep(25)",
    "SELECT sleep_ms(25000)",
    "SELECT error(label) FROM features",
    "SELECT assert_true(false)",
    "SELECT write_log('x')",
    "SELECT setseed(0.5)",
    "SELECT nextval('x')",
    "SELECT finalize('x'::BLOB)",
    "SELECT variant_bytes_to_variant('x'::BLOB)",
    "FROM features AT (VERSION => 1)",
    "FROM test_all_types()",
    "FROM enable_logging()",
    "FROM truncate_duckdb_logs()",
    "FROM pandas_scan(0, 0, 0)",
    "FROM arrow_scan(0, 0, 0)",
    "FROM seq_scan('features')",
    # What would take the parser long.
    "SELECT " + "(" * 3900,
    "SELECT " + "[" * 3900,
    "WITH a AS (" * 20,
    "WITH a AS (" * 5 + "SELECT 1" + ") SELECT 1" * 5,
    "SELECT " + "CASE WHEN true THEN " * 100 + "1" + " END" * 100,
    "SELECT 1)",
    "SELECT $$ never closed (",
    # Names in other places, spellings and clauses than above.
    "FROM read_text(['/etc/passwd', '/proc/self/environ'])",
    "FROM read_csv(getenv('HOME'))",
    "WITH t AS MATERIALIZED (FROM read_text('/etc/passwd')) FROM t",
    "WITH RECURSIVE t AS (FROM glob('*') UNION ALL FROM t) FROM t",
    "WITH features AS (FROM glob('*')) FROM features",
    "FROM features SEMI JOIN glob('*') g ON true",
    "FROM features ANTI JOIN duckdb_views() v ON true",
    "FROM features POSITIONAL JOIN duckdb_settings()",
    "FROM features f, LATERAL (FROM read_text(f.label))",
    "FROM unnest((SELECT list(file) FROM glob('*')))",
    "FROM range((SELECT count(*) FROM duckdb_settings()))",
    "FROM generate_series(1, current_setting('threads')::INTEGER)",
    "FROM (SUMMARIZE duckdb_settings)",
    "FROM (DESCRIBE duckdb_settings)",
    "SUMMARIZE FROM glob('*')",
    "PIVOT (FROM duckdb_settings()) ON name IN ('threads') USING first(value)",
    "FROM features PIVOT (first(getenv('HOME')) FOR state IN ('live'))",
    "SELECT list_reduce(['threads', 'x'], lambda a, b: current_setting(a))",
    "SELECT array_agg(current_setting('threads') ORDER BY 1)",
    "SELECT string_agg(label, getenv('HOME')) FROM labels",
    "SELECT first(label ORDER BY current_setting('threads')) FROM labels",
    "SELECT 1 LIMIT (SELECT current_setting('threads')::INTEGER)",
    "SELECT 1 OFFSET (SELECT length(getenv('HOME')))",
    "SELECT unnest(string_split(getenv('PATH'), ':'))",
    "SELECT try_cast(current_setting('threads') AS INTEGER)",
    "SELECT {{'a': [{{'b': current_setting('threads')}}]}}",
    "SELECT map {{getenv('HOME'): 1}}",
    "SELECT 1 BETWEEN 0 AND length(getenv('HOME'))",
    "SELECT sum(feature) OVER (PARTITION BY getenv('HOME')) FROM features",
    "SELECT sum(feature) OVER (ROWS BETWEEN length(getenv('HOME')) PRECEDING AND CURRENT ROW) FROM features",
    "SELECT lead(feature, 1, length(getenv('HOME'))) OVER (ORDER BY feature) FROM features",
    "SELECT DISTINCT ON (getenv('HOME')) feature FROM features",
    "SELECT count(*) FROM features GROUP BY CUBE (getenv('HOME'))",
    "SELECT count(*) FROM features GROUP BY GROUPING SETS ((getenv('HOME')), ())",
    "SELECT COLUMNS(lambda c: c = getenv('HOME')) FROM features",
    "SELECT * RENAME (label AS x), getenv('HOME') FROM features",
    "SELECT 'HOME'.getenv().length()",
    "SELECT \"current_setting\"('threads')",
    "SELECT CuRrEnT_SeTtInG('threads')",
    "SELECT system.main.current_setting('threads')",
    "SELECT pg_catalog.current_setting('threads')",
    "FROM \"READ_TEXT\"('/etc/passwd')",
    "FROM/**/glob/* ( */('*')",
    "FROM glob --\n('*')",
    "VALUES ((SELECT content FROM read_text('/etc/passwd')))",
    "FROM (VALUES (getenv('HOME'))) t(x)",
    "FROM 'features/*.parquet'",
    "FROM 'file:///etc/passwd'",
    "FROM E'/etc/passwd'",
    'FROM "/etc/passwd"',
    "FROM 'x.csv' AS features",
    "FROM features JOIN 'x.parquet' p USING (feature)",
    "FROM temp.features",
    'FROM "memory".stored.features',
    "FROM system.information_schema.columns",
    "FROM pg_settings",
    "FROM main.sqlite_master",
    "FROM query_table(['features', 'duckdb_settings'])",
    "FROM query('FROM features')",
    "FROM sql_auto_complete('SELECT')",
    "FROM parquet_full_metadata('{store}/features/*/*/*.parquet')",
    "FROM pragma_storage_info('features')",
    "FROM duckdb_memory()",
    "FROM duckdb_variables()",
    "FROM duckdb_secret_types()",
    "FROM duckdb_prepared_statements()",
    "FROM duckdb_log_contexts()",
    "FROM duckdb_schemas()",
    "FROM force_checkpoint()",
    "FROM stored.features_of_nobody",
    "FROM stored.duckdb_settings()",
    "CALL start_ui()",
    "CALL add_parquet_key('a', 'b')",
    "SELECT currval('x')",
    "SELECT txid_current()",
    "SELECT pg_get_viewdef(1)",
    "SELECT stats(label) FROM features",
    "WITH x AS (UPDATE stored.labels SET label = 'x' RETURNING *) FROM x",
    "COPY (FROM features) TO '/dev/stdout'",
    "EXPLAIN COPY (SELECT 1) TO '{outside}/x'",
    "EXPLAIN SET threads = 1",
    "EXPLAIN EXPLAIN SELECT 1",
    "FORCE INSTALL httpfs",
    "SELECT 1 INTO x",
    "SELECT 1 /* never closed",
    "FROM glob\u2003('*')",
    "\uff26\uff32\uff2f\uff2d glob('*')",
    "SELECT current\u200b_setting('threads')",
    "FROM search('x', where := 'true) UNION FROM glob(''*'') --')",
    "FROM search((SELECT getenv('HOME')))",
    "FROM nearest((FROM duckdb_settings()))",
    "FROM search('x', k := (SELECT count(*) FROM duckdb_settings()))",
    "SELECT * FROM search('x') s JOIN glob('*') g ON true",
]

# Each of these is answered: what is safe is not kept away.
ANSWERED = [
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "DESCRIBE features",
    "DESCRIBE SELECT 1 AS n",
    "SUMMARIZE (SELECT density FROM features)",
    "EXPLAIN FROM features",
    "EXPLAIN (FORMAT json) SELECT 1",
    "PIVOT features ON state IN ('live', 'dead') USING count(*)",
    "FROM features PIVOT (count(*) FOR state IN ('live', 'dead'))",
    "UNPIVOT (SELECT feature, density, mean_activation::DOUBLE AS mean FROM features) ON density, mean",
    "FROM stored.features LIMIT 1",
    "FROM main.labels LIMIT 1",
    "TABLE dictionaries",
    "FROM range(3) t(i), unnest([i]) u(j)",
    "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t WHERE i < 9) FROM t",
    "WITH a AS (FROM features), b AS (FROM a) SELECT count(*) FROM b JOIN a USING (dictionary, feature)",
    "SELECT row_number() OVER (ORDER BY density), sum(density) OVER w FROM features WINDOW w AS (PARTITION BY layer)",
    "SELECT [x + 1 for x in [1, 2] if x > 1], list_filter([1], lambda x: x > 0), {'a': 1}, map {'a': 1}",
    "SELECT '(' || $$ ' ( $$ || e'\\'(' /* ( /* ( */ */ -- (",
    "SELECT extract(year FROM now()), current_date, label SIMILAR TO 'a.*', label GLOB '*' FROM features",
    "SELECT COLUMNS('d.*') FROM features LIMIT 1",
    "FROM features ASOF JOIN (SELECT 1 AS layer) l ON features.layer >= l.layer",
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
    "recursion that doubles": "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT unnest([i, i + 1]) FROM t) "
    "SELECT count(*) FROM t",
    "a giant cross join": "SELECT count(*) FROM features a, features b, features c, features d, features e, "
    "features f, features g",
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
    "a wide window": "SELECT max(s) FROM "
    "(SELECT sum(density) OVER (ORDER BY density) s FROM features, range(10000000))",
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
def owner(tiny_store):
    """The same store in this process, as its owner opens it."""
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.fixture(scope="module")
def http(store):
    return create_app(store).test_client()


def test_the_list_is_long_enough():
    assert len(set(REFUSED)) == len(REFUSED) >= 280
    assert len(REFUSED) + len(BOMBS) >= 310


@pytest.mark.parametrize("isolated", [True, False], ids=["service", "owner"])
def test_what_is_safe_is_answered(tiny_store, store, owner, isolated):
    asked = store if isolated else owner
    for statement in ANSWERED:
        answer = str(asked.sql(statement).to_pylist())
        assert str(tiny_store) not in answer, statement


def test_functions_are_those_of_the_installed_duckdb():
    with duckdb.connect() as con:
        known = {row[0] for row in con.execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()}
    allowed = SCALAR | AGGREGATE | WINDOW | TABLE
    assert allowed - {"IS DISTINCT FROM", "IS NOT DISTINCT FROM"} <= known
    forbidden = re.compile(
        r"read_|glob|parquet|duckdb|pragma|setting|getenv|variable|error|sleep|query|sniff|secret|_log$|nextval|setval"
        r"|serialize|_scan|checkpoint|privilege|finalize|assert|^test_|^version$|connection"
    )
    assert [name for name in allowed if forbidden.search(name)] == []


@pytest.mark.parametrize("isolated", [True, False], ids=["service", "owner"])
@pytest.mark.parametrize("statement", REFUSED)
def test_nothing_is_written_and_nothing_outside_is_read(tmp_path, tiny_store, store, owner, statement, isolated):
    secret_of_this_program = featurestore  # noqa: F841 - a variable is no table
    (tiny_store.parent / "secret.txt").write_text("hidden words")
    (tmp_path / "secret.txt").write_text("hidden words")
    before = sorted(path for path in tiny_store.rglob("*"))
    asked = store if isolated else owner
    with pytest.raises((BadRequest, BadStore)) as caught:
        asked.sql(statement.format(outside=tmp_path, store=tiny_store))
    assert "\n" not in str(caught.value)
    if "{store}" not in statement:  # a name that the statement itself has may be repeated
        assert str(tiny_store) not in str(caught.value)
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
    # An app for each, so that its rate limit does not stop the flood, and made here: routes are compiled by
    # `ast.parse`, whose depth of recursion Python 3.11 shares among threads.
    clients = [create_app(store).test_client() for _ in range(3)]

    def throw(client):
        while True:
            with lock:
                if not waiting:
                    return
                name, statement = waiting.pop()
            began = time.monotonic()
            answer = client.post("/v1/sql", json={"sql": statement, "timeout": 1})
            answers[name] = (answer.status_code, time.monotonic() - began)
            assert answer.status_code == 200 or answer.json["code"] in ("unavailable", "bad_request"), answer.text

    throwing = [threading.Thread(target=throw, args=(client,)) for client in clients]
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
