"""Requests that strangers send: each is answered, none with an error of ours, every refusal is a problem document."""

import json
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import featurestore
from featurestore.errors import FeatureStoreError
from featurestore.web import Settings, create_app
from tests.featurestore.sql.test_hostile_sql import ANSWERED, REFUSED

CODES = {error.code for error in FeatureStoreError.__subclasses__()}
DEEP = "[" * 2000 + "]" * 2000
SEARCHES = ("search", "semantic", "keyword", "nearest", "activating")
# What takes the place of an argument of a search in SQL.
VALUES = (
    *("null", "true", "-1", "0", "1.5", "1e400", "nan", "9" * 5000, "-9223372036854775809", "''", "'a'", "x'00'"),
    *("[]", "[null]", "[[1]]", "[1, null]", "['a', 1]", "[1e400]", "{'a': 1}", "map {}", "date '2026-01-01'"),
    *("(select 1)", "label", "$x", "?", "*", "default", "interval 1 day", "'\U0001f600'", "repeat('x', 10)"),
)
STATEMENTS = [
    *(f"FROM {search}({value})" for search in SEARCHES for value in VALUES),
    *(f"FROM search('x', k := {value})" for value in VALUES),
    *(f"FROM search('x', within := {value})" for value in VALUES),
    *(f"FROM activating('x', dictionary := {value})" for value in VALUES),
    *(f"FROM activating('x', \"order\" := {value})" for value in VALUES),
    *(f"FROM {call}" for value in VALUES for call in (f"pruned_nodes({value})", f"graph_paths('x', k := {value})")),
    "SELECT union_value(a := 1)",
    "SELECT [union_value(a := 1)]",
    "SELECT interval 1 day",
    "SELECT " + "not " * 900 + "true",
    "SELECT " + "1 + " * 3000 + "1",
    "SELECT x" + ".x" * 3000,
    "SELECT '{}'::JSON" + "->'a'" * 3000,
]
BODIES = [
    *(f'{{"{name}": {DEEP}}}' for name in ("sql", "text", "near", "where", "parameters", "ids", "features", "k", "x")),
    *(f'{{"text": "x", "{name}": {DEEP}}}' for name in ("within", "among", "over", "mode", "cursor", "k", "all")),
    *(f'{{"sql": "SELECT $x", "parameters": {value}}}' for value in (DEEP, f'{{"x": {DEEP}}}', "3", '"x"', "[[]]")),
    *(DEEP, "{" * 3000, '{"a":' * 3000, "null", "3", '"x"', "[]", "", "\0", "{}", '{"text": NaN}', '{"k": 1e999}'),
    *(f'{{"text": "x", "k": {value}}}' for value in ("null", '"a"', "1.5", "-1", "9" * 400, "true", "[]", "{}")),
    *(f'{{"vector": {value}}}' for value in ("[]", "[null]", '["a"]', "[1e400]", "[[1]]", "null", "3", '"1,2"')),
    *(f'{{"near": {value}}}' for value in ('"a/b/c"', '"a/b/-1"', "[null]", "[[]]", "3", '"/"', '"a/b/1e3"')),
    *(f'{{"ids": {value}}}' for value in ("[]", "[null]", "[3]", '["x"]', '["a/b/99999999999"]', "3", "null")),
    *(f'{{"where": "{value}"}}' for value in ("", " ", "((", "))", "1", "null", "a" * 4001, "'", "$x", "true;")),
    *(f'{{"texts": {value}, "against": ["x"]}}' for value in ("null", "[]", "[null]", '[""]', '"x"', "[[]]", "{}")),
    *(
        f'{{"text": "x", "features": {value}}}'
        for value in ("null", "[]", "[null]", '["a/b/c"]', '"tiny/0-res/1"', "3")
    ),
    *(
        f'{{"sql": "SELECT 1", "max_rows": {value}}}'
        for value in ("0", "-1", "1.5", "1e9", "null", '"a"', "true", "[]")
    ),
    *(f'{{"sql": "SELECT 1", "timeout": {value}}}' for value in ("0", "-1", "1e-300", "1e300", "31", '"soon"', "[]")),
    *(
        f'{{"sql": "SELECT 1", "format": {value}}}'
        for value in ('""', '"xml"', "null", "3", "[]", '"CSV"', '"json\\u0000"')
    ),
    *(
        f'{{"sql": {value}}}'
        for value in ("null", "3", "[]", '""', '" "', '"\\u0000"', '";"', '"SELECT 1;;"', '"\\ud800"')
    ),
    *(
        f'{{"sql": "SELECT $a", "parameters": {value}}}'
        for value in ('{"a": {"timestamp": "x"}}', '{"a": {}}', '{"": 1}')
    ),
    *(f'{{"sql": "SELECT ?", "parameters": {value}}}' for value in ("[]", "[1, 2]", '[{"timestamp": 5}]', "[null]")),
    *(f'{{"where": "true", "limit": {value}}}' for value in ("0", "-1", "1001", "1.5", "null", '"a"', "1e3")),
    *(
        f'{{"where": "true", "cursor": {value}}}'
        for value in ('""', '"a"', '"\\u0000"', "3", "[]", '"' + "A" * 5000 + '"')
    ),
    *(f'{{"ids": ["tiny/0-res/1"], "examples": {value}}}' for value in ("-1", "1.5", "1e9", '"a"', "null", "[]")),
    *(f'{{"ids": ["tiny/0-res/1"], "band": {value}}}' for value in ('""', '"x"', "3", "[]", "null", '"[1,2)"')),
    *(
        '{"id": 1}',
        '{"text": "x", "text": "y"}',
        '{"k": 1, "k": 2}',
        "\ufeff{}",
        "{} {}",
        "{},",
        "[{}",
        '{"a": undefined}',
    ),
    *(
        "{'text': 'x'}",
        '{"text": "x",}',
        "// no\n{}",
        '{"text": "\\x"}',
        '{"text": "\x01"}',
        "Infinity",
        "+1",
        "01",
        ".5",
    ),
    '{"text": "\\ud800"}',
    '{"text": "' + "x" * 5000 + '"}',
]
POSTS = ("sql", "search", "nearest", "activating", "rerank", "contrast", "features", "examples", "vectors")
QUERIES = [
    *(
        f"/v1/search?text={text}"
        for text in ("", "%00", "%ff", "%F0%9F%98%80", "x" * 5000, "x&k=9" * 3, "x&k=", "x&k=a")
    ),
    *(f"/v1/features/tiny/0-res/{n}" for n in ("-1", "1e3", "99999999999", "%00", "a", "1.0", "٣", "0x1", " 1", "+1")),
    *(f"/v1/nearest?vector={vector}" for vector in ("", ",", "1,,", "nan", "inf", "1e400", "a,b", "1," * 3000)),
    *(f"/v1/sql?sql=SELECT+1&parameters={value}" for value in ("{", "3", DEEP, "%00", '{"a":', "null", "[1]")),
    *(
        f"/v1/sql?sql=SELECT+1&{field}"
        for field in ("max_rows=a", "max_rows=1e9", "timeout=inf", "format=xml", "stream=3")
    ),
    *(f"/v1/features/tiny/0-res/1?examples={n}" for n in ("-1", "a", "9" * 400, "1.5", "", "null")),
    *(f"{path}?page={n}" for path in ("/dictionaries/tiny/0-res",) for n in ("0", "-1", "a", "9" * 400, "1e3")),
    *(f"/v1/search?text=x&cursor={cursor}" for cursor in ("", "a", "%00", "e30=", "=" * 100, "W10=", "bnVsbA==")),
    *(f"/v1/search?text=x&over={value}" for value in ("", "nothing", "labels,tokens", "labels&over=labels", "%00")),
    *(f"/v1/search?text=x&mode={value}" for value in ("", "Hybrid", "semantic&mode=keyword", "null", "%F0%9F%98%80")),
    *(f"/v1/search?text=x&within={value}" for value in ("", "tiny/", "/0-res", "tiny/0-res/1", "..%2F..", "a" * 3000)),
    *(f"/v1/search?text=x&among={value}" for value in ("", "@", "@none", "tiny/0-res/99", "@../x", "@%00")),
    *(
        f"/v1/search?text={text}"
        for text in ("%22", "-%22a", "%2B", "%2B-", "*", "a*b*", "%28%28%28", "AND+OR+NOT", "%5B")
    ),
    *(f"/v1/nearest?near=tiny/0-res/1&{field}" for field in ("k=0", "k=1e3", "unlike=x", "space=none", "opposite=2")),
    *(
        f"/v1/compare?{ids}"
        for ids in ("", "id=", "id=x", "id=tiny/0-res&id=tiny/0-res/1", "id=a/b&id=c/d", "id=%00&id=%00")
    ),
    *(f"/v1/neighbourhood/tiny/0-res/1?k={k}" for k in ("0", "-1", "51", "a", "9" * 400)),
    *(f"/v1/features/tiny/0-res/{id}" for id in ("1/2", "%2e%2e", "1%00", "-0", "00001", "1_0", "\u0661", "9" * 5000)),
    *(f"/v1/jobs/{id}" for id in ("%2e%2e", "..%2f..%2fstore", "%00", "check-0123456789ab", "x" * 3000)),
    *(f"/v1/lists/{name}" for name in ("%2e%2e", "%00", "x" * 3000, "a%2Fb", "%E2%80%AE")),
    *(f"/v1/graphs/{slug}{end}" for slug in ("%2e%2e", "%00", "x" * 3000) for end in ("", "/file")),
    *(f"/v1/matrices/tiny/0-res?{field}" for field in ("layer=-1", "layer=a", "target=9", "encoder=maybe", "rows=x")),
    *(f"/v1/examples?ids=tiny/0-res/1&band={band}" for band in ("", "x", "%00")),
    *("/?text=x&page=-1", "/?text=x&k=0", "/sql?first=-1&sql=x", "/sql?sql=SELECT+1&x=a&y=b&kind=pie", "/compare?id=x"),
    *("/text?text=x&token=-1", "/text?text=x&k=a", "/features/tiny/0-res/1?contains=%00", "/map/tiny/0-res?colour=x"),
    *(
        "/features/tiny/0-res/1?embed=maybe",
        "/graphs/%00",
        "/lists/%2e%2e",
        "/dictionaries/tiny",
        "/features/tiny/0-res",
    ),
    *("/v1/%00", "/v1//", "/v1/jobs/x", "/v1/graphs/%2e%2e", "/v1/dictionaries/%00/%00", "/%ff", "/?within=a&within=b"),
]


@pytest.fixture(scope="module")
def app(tiny_store):
    with featurestore.connect(tiny_store) as store:
        store.isolate_sql(processes=2, memory=400_000_000)
        yield create_app(store, Settings(threads=4))


@pytest.fixture(scope="module")
def http(app):
    return app.test_client()


def check_answer(answer, sent):
    """No error of ours; what is refused is a problem document, or a page for people. 503 only where it is true."""
    answer.get_data()  # a stream holds its lane to the last row
    assert answer.status_code < 500 or answer.status_code == 503, (answer.status_code, sent, answer.text)
    if answer.status_code >= 400:
        if answer.mimetype == "text/html" and not str(sent).startswith("/v1"):
            return
        assert answer.mimetype == "application/problem+json", sent
        problem = answer.json
        assert (problem["status"], problem["request"]) == (answer.status_code, answer.headers["X-Request-Id"])
        assert problem["code"] in CODES, sent
        assert "Traceback" not in problem["detail"] and len(problem["detail"]) < 3000
        # No package that runs models brings one for the tiny store; a statement may take its time.
        if answer.status_code == 503:
            assert any(words in problem["detail"] for words in ("ran longer", "model", "needs", "busy")), problem
            assert "its process was ended" not in problem["detail"], sent


def test_the_lists_are_long_enough():
    assert len(STATEMENTS) >= 240
    assert len(set(BODIES)) == len(BODIES) >= 165
    assert len(set(QUERIES)) >= 155
    assert len(STATEMENTS) + len(BODIES) + len(QUERIES) + len(REFUSED) >= 900


@pytest.mark.parametrize("first", range(0, len(STATEMENTS), 40))
def test_hostile_arguments_of_searches_in_sql(http, first):
    for statement in STATEMENTS[first : first + 40]:
        check_answer(http.post("/v1/sql", json={"sql": statement, "timeout": 10}), statement)


@pytest.mark.parametrize("path", POSTS)
def test_hostile_bodies(http, path):
    for body in BODIES:
        check_answer(http.post(f"/v1/{path}", data=body.encode("utf-8", "surrogatepass")), (path, body[:200]))


def test_hostile_addresses(http):
    for path in QUERIES:
        check_answer(http.get(path), path)


def test_every_form_of_a_result_is_answered(http):
    for statement in (*ANSWERED, "SELECT union_value(a := 1)", "SELECT interval 1 day", "SELECT {}", "SELECT 1 a, 2 a"):
        for form in ("json", "csv", "arrow", "parquet"):
            check_answer(http.post("/v1/sql", json={"sql": statement, "format": form}), (statement, form))


def test_what_nobody_foresaw_is_logged_with_the_requests_id(app, http, monkeypatch, caplog):
    monkeypatch.setattr("featurestore.store.store.Store.info", lambda self: [][1])
    answer = http.get("/v1/info", headers={"X-Request-Id": "abc"})
    assert (answer.status_code, answer.json["code"], answer.json["request"]) == (500, "error", "abc")
    assert "request abc: GET /v1/info failed" in caplog.text and "IndexError" in caplog.text


NUMBERS = some.one_of(some.integers(), some.floats(), some.integers(-(2**70), 2**70))
TEXTS = some.text(max_size=40)
JSONS = some.recursive(
    some.one_of(some.none(), some.booleans(), NUMBERS, TEXTS),
    lambda inner: some.one_of(some.lists(inner, max_size=4), some.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
FIELDS = (
    "sql",
    "parameters",
    "max_rows",
    "timeout",
    "format",
    "text",
    "near",
    "vector",
    "within",
    "where",
    "k",
    "mode",
)
FIELDS += ("ids", "limit", "cursor", "examples", "features", "texts", "against", "dictionary", "order", "band", "among")
BODY = some.dictionaries(some.one_of(some.sampled_from(FIELDS), TEXTS), JSONS, max_size=5)
WORDS = (
    "select from features where density > < = and or not null in ( ) [ ] { } , ; * . 'a' \"a\" 1 -1 1e9 $a ? case end"
)
WORDS += (
    " when then search( nearest( activating( keyword( k := within := :: int varchar union all with as order by limit"
)
WORDS += (
    " label feature dictionary lambda x : -> || /* */ -- $$ e' x' group having unnest( range( pivot on using summarize"
)
STATEMENT = some.lists(some.sampled_from(WORDS.split()), min_size=1, max_size=25).map(" ".join)
REQUEST = some.one_of(
    some.tuples(
        some.just("sql"), some.fixed_dictionaries({"sql": some.one_of(STATEMENT, TEXTS), "timeout": some.just(5)})
    ),
    some.tuples(some.sampled_from(POSTS), BODY),
    some.tuples(
        some.sampled_from(("search", "nearest", "features", "examples")),
        some.fixed_dictionaries(
            {"where": some.one_of(STATEMENT, TEXTS)},
            optional={"text": some.just("x"), "near": some.just("tiny/0-res/1"), "k": NUMBERS, "cursor": TEXTS},
        ),
    ),
)


def fuzz(http, count):
    """Sends `count` requests that hypothesis makes; returns how many of them were answered with which status."""
    statuses = {}

    @given(REQUEST)
    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def ask(request):
        path, body = request
        answer = http.post(f"/v1/{path}", data=json.dumps(body), content_type="application/json")
        check_answer(answer, (path, body))
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1

    ask()
    return statuses


def test_a_few_made_up_requests(http):
    assert sum(fuzz(http, 200).values()) >= 200


@pytest.mark.slow
def test_ten_thousand_made_up_requests(http, caplog):
    with caplog.at_level(logging.ERROR):
        statuses = fuzz(http, 10_000)
    print(statuses)
    assert sum(statuses.values()) >= 10_000
    assert [record for record in caplog.records if record.name == "featurestore.web"] == []
