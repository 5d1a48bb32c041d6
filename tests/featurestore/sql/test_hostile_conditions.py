"""What a key that may only read can send as a condition: nothing but an expression over one feature's columns."""

import contextlib
import threading
import time

import pytest

import featurestore
from featurestore import BadRequest
from featurestore.sql.text_scan import check_text
from featurestore.web import Settings, create_app
from featurestore.web.security.keys import Keys, create

LABELS = "(SELECT string_agg(label, '|') FROM labels)"

# Each of these must be refused to somebody who may not run SQL.
REFUSED = [
    f"error({LABELS})",
    f"CASE WHEN true THEN error({LABELS}) END",
    f"{LABELS}::INTEGER = 1",
    f"label = {LABELS}",
    "EXISTS (FROM labels)",
    "EXISTS (SELECT 1)",
    "NOT EXISTS (TABLE labels)",
    "density IN (SELECT density FROM features)",
    "density = ANY (SELECT density FROM features)",
    "density >= ALL (FROM range(3))",
    "(VALUES (true))",
    "(FROM (VALUES (true)))",
    "(WITH a AS (SELECT true) FROM a)",
    "(SELECT count(*) FROM range(10000000000)) > 0",
    "len(ARRAY(SELECT label FROM labels)) > 0",
    "(DESCRIBE labels) IS NULL",
    "(SHOW TABLES) IS NULL",
    "(PIVOT features ON state IN ('live') USING count(*)) = 1",
    "(SELECT content FROM read_text('/etc/passwd')) LIKE 'r%'",
    "(SELECT max(file) FROM glob('/etc/*')) > 'a'",
    "(FROM 'secret.csv') IS NULL",
    "CASE WHEN (SELECT true) THEN true END",
    "coalesce((SELECT true), false)",
    "list_contains([(SELECT 1)], 1)",
    "len(list_filter(histogram, lambda x: (SELECT true))) > 0",
    "{'a': (SELECT 1)}.a = 1",
    "density BETWEEN (SELECT 0) AND 1",
    "label LIKE (SELECT 'a%')",
    "label COLLATE nocase = (SELECT 'a')",
    "CAST((SELECT 1) AS BOOLEAN)",
    "TRY((SELECT true))",
    "pg_sleep(25) IS NULL",
    "sleep_ms(25000) IS NULL",
    "error('x')",
    "error(label)",
    "assert_true(false)",
    "write_log(label) IS NULL",
    "current_setting('allowed_paths') LIKE '/%'",
    "main.current_setting('threads') = '1'",
    "label.current_setting() = '1'",
    "len([current_setting(x) for x in ['threads']]) = 1",
    "getvariable('x') IS NULL",
    "current_query() = ''",
    "setseed(0.5) IS NULL",
    "nextval('x') = 1",
    "json_serialize_sql('FROM x') = ''",
    "json_serialize_plan('FROM x') = ''",
    "version() = ''",
    "sum(density) > 0",
    "count(*) > 0",
    "row_number() OVER () = 1",
    "sum(density) OVER () > 0",
    "lag(density) OVER (ORDER BY density) > 0",
    "$1",
    "density > ?",
    "density > $x",
    "true; DROP VIEW features",
    "true) UNION SELECT 'x', 1 --",
    "true) OR (true",
    "true) LIMIT 1 --",
    "true) USING SAMPLE 1 ROWS --",
    "true) GROUP BY ALL --",
    "true QUALIFY true",
    "true ORDER BY feature",
    "true -- ) OR (\n) OR (true",
    "true /* ) */ ) OR (true",
    "'x' = $$)$$) OR (true",
    " ",
    "-- nothing",
    "(" * 3900,
    "(" * 100 + "[" * 100,
    "WITH a AS (" * 20,
    "density IN (WITH a AS (" * 20,
    "CASE WHEN " * 200,
    "CASE WHEN true THEN " * 150 + "true" + " END" * 150,
    "EXISTS (" * 90,
    "true AND " * 400,
    "nose = 1",
    "features.nose = 1",
    "labels.label = 'x'",
    "stored.labels.label = 'x'",
    # Names and queries in other places and spellings, and what is no expression.
    "getenv('HOME') = ''",
    "count(DISTINCT label) > 1",
    "string_agg(label, '|') = ''",
    "any_value(label) IS NULL",
    "ntile(4) OVER (ORDER BY density) = 1",
    "dense_rank() OVER (PARTITION BY layer ORDER BY density) = 1",
    "first_value(label) OVER () IS NULL",
    "unnest([1, 2]) = 1",
    "grouping(density) = 0",
    "(TABLE labels) IS NULL",
    "(SUMMARIZE labels) IS NULL",
    "(UNPIVOT features ON density) IS NULL",
    "(SELECT 1 UNION SELECT 2) = 1",
    "row(1) IN (SELECT 1)",
    "density > (SELECT avg(density) FROM features)",
    "label ILIKE ANY (SELECT label FROM labels)",
    "map {'a': (SELECT 1)}['a'] = 1",
    "list_transform([1], lambda x: (FROM labels)) IS NULL",
    "struct_pack(a := (SELECT 1)) IS NULL",
    "[x for x in (SELECT list(label) FROM labels)] IS NULL",
    "histogram[(SELECT 1)] = 0",
    "label[(SELECT 1):(SELECT 2)] = ''",
    "format('{}', (SELECT 1)) = '1'",
    "(SELECT label) IS NULL",
    "(SELECT max(l.label) FROM labels l WHERE l.feature = features.feature) = 'x'",
    "true UNION ALL SELECT 'x', 1",
    "true INTERSECT SELECT 'x', 1",
    "true) ORDER BY (feature",
    "true) HAVING (true",
    "true) WINDOW w AS (ORDER BY 1",
    "true) FETCH FIRST 1 ROWS ONLY --",
    "true; SELECT 1",
    "read_text('/etc/passwd') IS NULL",
    "glob('*') IS NULL",
    "duckdb_settings() IS NULL",
    "in_search_path('a', 'b')",
    "txid_current() > 0",
    "pg_get_viewdef(1) = ''",
    "stats(label) = ''",
    "json_execute_serialized_sql('x') IS NULL",
    "add_parquet_key('a', 'b') IS NULL",
    "'HOME'.getenv() IS NULL",
    "CuRrEnT_SeTtInG('threads') = '1'",
    "\"current_setting\"('threads') = '1'",
    "label = current\u200b_setting('x')",
    "main.labels.label = 'x'",
    "system.main.features.label = 'x'",
    "excluded.label = 'x'",
    "density > ?1",
    "label = $label",
    "label = :label",
    "DEFAULT",
    "*",
    "* IS NULL",
    "features.* IS NULL",
    "COLUMNS('d.*') > 0",
    "'never closed",
    '"never closed',
    "$$never closed",
    "x'zz' IS NULL",
    "density > 1 1",
    "label LIKE",
    "NOT",
    "CASE END",
    "label::nothing = 1",
    "label::features = 1",
    "INTERVAL",
    "label IS NOT DISTINCT FROM",
    "true" + " AND true" * 500,
]

# Each of these is a condition over one feature.
ANSWERED = [
    "true",
    "layer >= 1 AND density < 0.5",
    "label LIKE '%(%' OR label ILIKE 'a%' OR label IS NULL",
    "feature IN (1, 2, 3) AND state = 'live'",
    "list_contains(list_transform(top_logits, lambda t: t.token), ' x') OR true",
    "len([t.token for t in top_logits if t.value > 0]) >= 0",
    "CASE WHEN has_label THEN length(label) > 3 ELSE false END",
    "density BETWEEN 0 AND 1 AND regexp_matches(coalesce(label, ''), '[a-z]+')",
    "histogram[1] >= 0 AND list_sum(histogram) > 0 -- and so on",
    "max_activation::DECIMAL(10, 2) > 0.1 AND model = 'tiny'",
]


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        opened.isolate_sql(processes=2, memory=400_000_000)
        opened.sql("SELECT 1")
        opened.select("true", 1)
        yield opened


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A file of keys, and the headers of one that may read and of one that may run SQL too."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    secrets = {name: create(path, name, scopes, rate=10_000) for name, scopes in SCOPES.items()}
    return path, {name: {"Authorization": f"Bearer {secret}"} for name, secret in secrets.items()}


SCOPES = {"reader": ("read",), "analyst": ("read", "sql")}


@pytest.fixture(scope="module")
def http(store, keys):
    return create_app(store, Settings(keys=Keys(keys[0]), threads=16)).test_client()


def routes(where):
    """Every route that takes a condition: method, path, fields."""
    return [
        ("GET", "/v1/search", {"text": "closing", "mode": "keyword", "where": where}),
        ("POST", "/v1/search", {"text": "closing", "mode": "keyword", "where": where}),
        ("POST", "/v1/nearest", {"near": ["tiny/0-res/3"], "where": where}),
        ("POST", "/v1/features", {"where": where, "limit": 2, "examples": 0}),
        ("POST", "/v1/examples", {"where": where, "limit": 2, "examples": 0}),
        ("GET", "/", {"text": "closing", "mode": "keyword", "where": where}),
    ]


def ask(http, headers, method, path, fields):
    if method == "GET":
        return http.get(path, query_string=fields, headers=headers)
    return http.post(path, json=fields, headers=headers)


def test_the_list_is_long_enough():
    assert len(set(REFUSED)) == len(REFUSED) >= 145


@pytest.mark.parametrize("where", REFUSED, ids=lambda where: where[:40])
def test_a_reader_gets_a_refusal_and_no_label(http, keys, where):
    answer = ask(http, keys[1]["reader"], "POST", "/v1/features", {"where": where, "limit": 2, "examples": 0})
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request"), answer.text
    for told in ("closing bracket", "|", "root:", "/tmp"):
        assert told not in answer.json["detail"].replace(where, ""), answer.text


@pytest.mark.parametrize("route", range(6))
def test_every_route_that_takes_a_condition_refuses_a_subquery(http, keys, route):
    for where in (f"error({LABELS})", "EXISTS (FROM labels)", "pg_sleep(25) IS NULL", "(" * 3900):
        began = time.monotonic()
        answer = ask(http, keys[1]["reader"], *routes(where)[route])
        assert answer.status_code == 400, answer.text
        assert time.monotonic() - began < 5
    assert ask(http, keys[1]["reader"], *routes("layer = 0")[route]).status_code == 200


@pytest.mark.parametrize("where", ANSWERED)
def test_a_condition_is_answered_to_everybody(http, keys, store, where):
    wanted = store.sql(f"SELECT count(*) AS n FROM features WHERE {where}\n")["n"].to_pylist()
    for headers in keys[1].values():
        answer = ask(http, headers, "POST", "/v1/features", {"where": where, "limit": 100, "examples": 0})
        assert answer.status_code == 200, answer.text
        assert [len(answer.json["features"])] == wanted


def test_subqueries_are_for_those_who_may_run_sql(http, keys, store):
    where = "feature IN (SELECT feature FROM labels WHERE label LIKE 'closing%')"
    fields = {"where": where, "limit": 100, "examples": 0}
    analyst = ask(http, keys[1]["analyst"], "POST", "/v1/features", fields)
    assert [f"{f['dictionary']}/{f['feature']}" for f in analyst.json["features"]] == store.select(where, 100)
    # What one may choose is not remembered for the other.
    query = {"text": "closing", "mode": "keyword", "where": where}
    for _ in range(2):
        assert ask(http, keys[1]["analyst"], "GET", "/v1/search", query).status_code == 200
        assert ask(http, keys[1]["reader"], "GET", "/v1/search", query).status_code == 400
    assert (
        ask(http, keys[1]["analyst"], "GET", "/v1/search", query | {"where": "pg_sleep(9) IS NULL"}).status_code == 400
    )


def test_conditions_and_sql_do_not_wait_for_each_other(store):
    """All processes for conditions are busy, and SQL is answered; and the other way round."""
    slow = "levenshtein(repeat('a', 60000), repeat('b', 60000) || feature) > 0"

    def choose():
        with pytest.raises(featurestore.Unavailable):
            store.select(slow, 1)

    def compute():
        with pytest.raises(featurestore.Unavailable):
            store.sql(f"SELECT count(*) FROM features WHERE {slow}", timeout=2)

    for busy, free in ((choose, lambda: store.sql("SELECT 1")), (compute, lambda: store.select("layer = 0", 1))):
        free()  # so that its process has started
        threads = [threading.Thread(target=busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        began = time.monotonic()
        free()
        assert time.monotonic() - began < 8  # it would be 10 s and more behind the others
        for thread in threads:
            thread.join()


def test_what_is_nested_as_far_as_it_may_is_answered(store):
    assert store.sql("SELECT 1 AS n WHERE true" + " AND (NOT (false" * 45 + "))" * 45)["n"].to_pylist() == [1]


def test_the_scan_takes_microseconds():
    for text in ("(" * 3900, "WITH a AS (" * 20, "CASE WHEN " * 390, "'" * 3999, "/*" * 1999, "$" * 3999, '"' * 3999):
        began = time.perf_counter()
        for _ in range(10):
            with contextlib.suppress(BadRequest):
                check_text(text, 4000, "where")
        assert (time.perf_counter() - began) / 10 < 0.01
    began = time.perf_counter()
    check_text("SELECT " + "'(' || \"(\" || $a$ ( $a$ || 1, " * 3000, 200_000, "SQL")
    assert time.perf_counter() - began < 1
