"""Parameters of SQL statements: the same values and the same refusals at every door."""

import datetime
import json
import re

import httpx2
import msgspec
import numpy
import pytest

import featurestore
from featurestore import BadRequest
from featurestore.cli.main import main
from featurestore.client import Client
from featurestore.values import parameters
from featurestore.web import create_app

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)
AWARE = WHEN.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
INSTANT = AWARE.astimezone(datetime.UTC)


@pytest.fixture(scope="module")
def local(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield store


@pytest.fixture(scope="module")
def isolated(tiny_store):
    with featurestore.connect(tiny_store) as store:
        store.isolate_sql(processes=1)
        yield store


@pytest.fixture(scope="module", params=["local", "isolated", "remote"])
def door(request, local, isolated):
    if request.param != "remote":
        yield {"local": local, "isolated": isolated}[request.param]
        return
    with Client("http://store", transport=httpx2.WSGITransport(app=create_app(local))) as client:
        yield client


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "bool"),
        (-7, "int32"),
        (2**63, "uint64"),
        (0.1, "double"),
        ("it's $x; -- \n ?", "string"),
        (WHEN, "timestamp[us]"),
        (AWARE, "timestamp[us, tz=Etc/UTC]"),
        ([1, None, 3], "list<l: int32>"),
        (["a", "'b"], "list<l: string>"),
        ([[1.5], []], "list<l: list<l: double>>"),
        ([WHEN], "list<l: timestamp[us]>"),
        ([], "list<l: null>"),
    ],
)
def test_a_value_arrives_as_it_was_given(door, value, kind):
    table = door.sql("SELECT $value AS value", {"value": value})
    assert str(table.schema.field("value").type) == kind
    assert table["value"].to_pylist() == [INSTANT if value is AWARE else value]


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("FROM features WHERE feature = $feature AND dictionary = $name", {"feature": 3, "name": "tiny/0-res"}),
        ("FROM features WHERE feature = ? AND dictionary = ?", [3, "tiny/0-res"]),
        ("FROM features WHERE feature = $1 AND dictionary = $2", (3, "tiny/0-res")),
        ("FROM features WHERE feature = $2 AND dictionary = $1", {"1": "tiny/0-res", "2": 3}),
        ("FROM features WHERE feature IN $some AND dictionary IN $names", {"some": [3], "names": ["tiny/0-res"]}),
    ],
)
def test_by_name_and_by_place(door, statement, values):
    one = door.sql("FROM features WHERE feature = 3 AND dictionary = 'tiny/0-res'")
    assert door.sql(statement, values).equals(one)
    with door.stream(statement, values) as stream:
        assert stream.read_all().equals(one)


def test_limits_are_parameters_too(door):
    assert door.sql("FROM range(100) LIMIT $n OFFSET $first", {"n": 2, "first": 5}).to_pylist() == [
        {"range": 5},
        {"range": 6},
    ]
    assert door.sql("FROM range($n)", {"n": 100}, max_rows=7).num_rows == 7


def test_searches_take_parameters(door):
    written = door.sql(
        "SELECT h.rank, h.feature, f.label FROM keyword('exception', k := 5, within := ['tiny/0-res']) h "
        "JOIN features f USING (dictionary, feature) WHERE h.score > 0 ORDER BY rank"
    )
    assert written.num_rows
    named = door.sql(
        "SELECT h.rank, h.feature, f.label FROM keyword($text, k := $k, within := $within) h "
        "JOIN features f USING (dictionary, feature) WHERE h.score > $least ORDER BY rank",
        {"text": "exception", "k": 5, "within": ["tiny/0-res"], "least": 0},
    )
    by_place = door.sql(
        "SELECT h.rank, h.feature, f.label FROM keyword(?, k := ?, within := [?]) h "
        "JOIN features f USING (dictionary, feature) WHERE h.score > ? ORDER BY rank",
        ["exception", 5, "tiny/0-res", 0],
    )
    assert named.equals(written)
    assert by_place.equals(written)
    # One value in two places, one of them outside the search.
    both = door.sql("SELECT count(*) AS n, $k AS k FROM nearest($id, k := $k)", {"id": "tiny/0-res/3", "k": 4})
    assert both.to_pylist() == [{"n": 4, "k": 4}]
    vector = door.sql("FROM nearest($v, k := 3, space := 'tiny')", {"v": [1.0, 0, 0, 0, 0, 0, 0, 0]})
    assert vector.num_rows == 3


@pytest.mark.parametrize(
    ("statement", "values", "words"),
    [
        ("SELECT $name", None, "the statement has $name and no value is given for it"),
        ("SELECT $name", {}, "the statement has $name and no value"),
        ("SELECT $name", {"nmae": 1}, "a value is given for $nmae, but the statement has $name"),
        ("SELECT 1", {"name": 1}, "a value is given for $name, but the statement has no parameters"),
        ("SELECT ?", [1, 2], "a value is given for $2, but the statement has $1"),
        ("SELECT ?, ?", [1], "the statement has $2 and no value"),
        ("SELECT $name", [1], "a value is given for $1, but the statement has $name"),
        ("FROM keyword($text)", {}, "the statement has $text and no value"),
        ("FROM keyword($text)", {"text": "x", "k": 1}, "a value is given for $k, but the statement has $text"),
        ("SELECT $x", {"x": object()}, "$x is of type object; give None, bool, int"),
        ("SELECT $x", {"x": {"a": 1}}, "$x "),
        ("SELECT ?", [b"bytes"], "$1 is of type bytes"),
        ("SELECT ?", [[1, {2}]], "$1 is of type set"),
        ("SELECT $x", {"x": numpy.int64(3)}, "$x is of type int64"),
        ("SELECT $x", {"x": float("nan")}, "$x is nan; give a finite number"),
        ("SELECT $x", {"x": 2**64}, "$x is 18446744073709551616, which has more than 64 bits"),
        ("SELECT $x", {"x": "\ud800"}, "$x holds half a character"),
        ("SELECT $x", {3: "x"}, "the name 3 is not a text"),
        ("SELECT 1", 7, "7 is neither values by name nor a list of values; a limit of rows is given as max_rows="),
        ("SELECT 1", "x", "'x' is neither values by name"),
    ],
)
def test_what_is_missing_or_misnamed_or_of_no_type_is_named(door, statement, values, words):
    with pytest.raises(BadRequest, match=re.escape(f"parameters: {words}")):
        door.sql(statement, values)
    with pytest.raises(BadRequest, match=re.escape(f"parameters: {words}")), door.stream(statement, values) as stream:
        stream.read_all()


def test_a_search_refuses_a_parameter_of_the_wrong_type(door):
    with pytest.raises(BadRequest, match="k"):
        door.sql("FROM keyword($text, k := $k)", {"text": "x", "k": "many"})
    with pytest.raises(BadRequest, match="text"):
        door.sql("FROM semantic($text)", {"text": 3})


def test_a_condition_takes_no_parameters(door):
    with pytest.raises(BadRequest, match=r"a condition takes no parameters, and this has \$k"):
        door.search("exception", where="feature = $k")
    with pytest.raises(BadRequest, match="takes no parameters"):
        list(door.features_where("feature = ?"))


def test_subclasses_of_plain_types_become_plain():
    given = {"a": numpy.float64(1.5), "b": numpy.str_("x"), "c": (1, 2)}
    assert {name: type(value) for name, value in parameters.normalize(given).items()} == {
        "a": float,
        "b": str,
        "c": list,
    }


def test_what_json_cannot_carry_comes_back():
    values = {"t": WHEN, "l": [AWARE, None], "n": 2**63, "x": 0.1}
    assert parameters.from_json(msgspec.json.decode(msgspec.json.encode(parameters.to_json(values)))) == values
    for bad in ({"timestamp": "soon"}, {"timestamp": 3}, {"time": "x"}, {}):
        with pytest.raises(BadRequest, match="an object is only for a time"):
            parameters.from_json({"t": bad})


def test_over_http_as_an_object_a_list_and_in_a_url(local):
    http = create_app(local).test_client()
    statement = "SELECT $a AS a, $b AS b"
    assert http.post("/v1/sql", json={"sql": statement, "parameters": {"a": 1, "b": "x"}}).json["rows"] == [[1, "x"]]
    assert http.post("/v1/sql", json={"sql": "SELECT ? + ?", "parameters": [1, 2]}).json["rows"] == [[3]]
    in_url = {"sql": statement, "parameters": json.dumps({"a": [1, 2], "b": None})}
    assert http.get("/v1/sql", query_string=in_url).json["rows"] == [[[1, 2], None]]
    lines = http.get("/v1/sql", query_string=in_url | {"format": "json"})
    assert lines.text == '{"a":[1,2],"b":null}\n'
    time = {
        "sql": "SELECT $t > TIMESTAMP '2026-01-01' AS later",
        "parameters": {"t": {"timestamp": "2026-01-02T00:00:00"}},
    }
    assert http.post("/v1/sql", json=time).json["rows"] == [[True]]
    for bad in ("{", "3", '"x"'):
        answer = http.get("/v1/sql", query_string={"sql": statement, "parameters": bad})
        assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
        assert answer.json["detail"].startswith("parameters: ")


def test_on_the_command_line(tiny_store, capsys):
    def run(*arguments):
        assert main([*arguments, "--store", str(tiny_store), "--json"], standalone_mode=False) in (None, 0)
        return json.loads(capsys.readouterr().out)

    row = run(
        "sql",
        "SELECT $n AS n, $x AS x, $yes AS yes, $none AS nothing, $list AS list, $text AS text, $quoted AS quoted",
        *("--param", "n=3", "--param", "x=-1.5e2", "--param", "yes=true", "--param", "none=null"),
        *("--param", "list=[1,2]", "--param", "text=it's = 5", "--param", '$quoted="7"'),
    )
    assert row == {"n": 3, "x": -150.0, "yes": True, "nothing": None, "list": [1, 2], "text": "it's = 5", "quoted": "7"}
    assert run("sql", "SELECT ? || ? AS s", "--param", "1=a", "--param", '2={"b": 1}') == {"s": 'a{"b": 1}'}
    for words, *params in (
        ("'n' is not NAME=VALUE", "n"),
        ("'=3' is not NAME=VALUE", "=3"),
        ("n is given twice", "n=1", "n=2"),
        ("given for $m", "m=1"),
    ):
        options = [word for param in params for word in ("--param", param)]
        assert main(["sql", "SELECT $n", *options, "--store", str(tiny_store)], standalone_mode=False) == 2
        assert words in capsys.readouterr().err
