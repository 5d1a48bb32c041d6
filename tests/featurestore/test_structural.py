"""Structural features: the rule in SQL and in Python, a store's own rule, and the filter in every door."""

import json

import pytest
from click.testing import CliRunner

from featurestore import BadRequest, Query, connect
from featurestore.cli.main import main
from featurestore.extension.commands import connect_local
from featurestore.sql.rules import check_expression, columns
from featurestore.tables.structural import STRUCTURAL_TABLE, is_structural
from featurestore.web.app import create_app
from tests.support import tiny

SHARES = ("first_token_share", "after_break_share", "top_token_share")
# Features of the first dictionary, beside those of which nothing else is known: shares, and firings.
GIVEN = {
    0: (1.0, 0.0, 0.1, 9),
    1: (0.0, 0.8, 0.1, 9),
    2: (0.0, 0.0, 0.95, 20),
    3: (0.0, 0.0, 0.95, 19),
    4: (1.0, 1.0, 1.0, 4),
    5: (0.4999999, 0.7999999, 0.9499999, 400),
    6: (0.5, 0.0, 0.1, 5),
}
STRUCTURAL = [0, 1, 2, 6]


def write_rows(dictionary):
    rows = tiny.plain_rows(dictionary)
    if dictionary.endswith("0-res"):
        for row in rows:
            *shares, active = GIVEN.get(row["feature"], (0.1, 0.1, 0.1, row["active_tokens"]))
            row |= dict(zip(SHARES, [None] * 3 if not active else shares, strict=True))
            row |= {"distinct_tokens": min(active, 7), "active_tokens": active}
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("structural") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "plain_rows", tiny.feature_rows, raising=False)
        patch.setattr(tiny, "feature_rows", write_rows)
        tiny.build_tiny_store(path).close()
    return path


def flags(store):
    rows = store.sql("SELECT feature, structural FROM features WHERE dictionary = 'tiny/0-res' ORDER BY feature")
    return [row["structural"] for row in rows.to_pylist()]


def test_the_rule_of_the_schema_is_that_of_pages(place):
    with connect(place) as store:
        in_sql = flags(store)
        assert [number for number, flag in enumerate(in_sql) if flag] == STRUCTURAL
        assert in_sql == [store.feature(f"tiny/0-res/{number}").structural for number in range(tiny.D_SAE)]
        assert store.feature("tiny/1-res/0").structural is None
        hits = store.search("exception", within=["tiny/0-res"], all=True, k=24, group=False)
        assert {hit.feature: hit.structural for hit in hits} == {hit.feature: in_sql[hit.feature] for hit in hits}
        assert "structural" in repr(store.feature("tiny/0-res/0"))


def test_what_is_not_known_is_neither():
    row = dict.fromkeys((*SHARES, "distinct_tokens", "active_tokens"))
    assert is_structural(row) is None
    assert is_structural(row | {"distinct_tokens": 0, "active_tokens": 0}) is False


def test_every_door_filters_and_says_so(place):
    with connect(place) as store:
        ask = {"near": "tiny/0-res/9", "within": "tiny/0-res", "k": 24, "all": True}
        everything = {hit.feature for hit in store.run(Query.of(ask))}
        without, only = (store.run(Query.of(ask | {"structural": wanted})) for wanted in (False, True))
        assert {hit.feature for hit in without} == everything - set(STRUCTURAL)
        assert {hit.feature for hit in only} == everything & set(STRUCTURAL)
        assert "left out: 4 structural features" in without.notes
        of_both = store.nearest("tiny/0-res/9", structural=False, k=48, all=True)
        assert "whether they are structural is not known of 24 features" in of_both.notes
        rows = store.sql(
            "SELECT feature FROM nearest('tiny/0-res/9', within := 'tiny/0-res', structural := true, k := 24)"
        )
        assert set(rows["feature"].to_pylist()) == set(STRUCTURAL)
        client = create_app(connect(place)).test_client()
        path = "near=tiny/0-res/9&within=tiny/0-res&k=24"
        answer = client.get(f"/v1/nearest?{path}&structural=false").get_json()
        assert not {hit["feature"] for hit in answer["hits"]} & set(STRUCTURAL)
        page = client.get(f"/?{path}&structural=false").get_data(as_text=True)
        assert "left out: 4 structural features" in page
        assert "structural</span>" in client.get("/features/tiny/0-res/0").get_data(as_text=True)
        listed = client.get("/dictionaries/tiny/0-res?state=structural").get_data(as_text=True)
        assert [f"/features/tiny/0-res/{number}" in listed for number in (0, 1, 2, 6, 3)] == [True] * 4 + [False]
        assert client.get("/v1/nearest?near=tiny/0-res/9&structural=null").status_code == 400


def test_the_command_line_filters(place):
    base = ["nearest", "tiny/0-res/9", "--within", "tiny/0-res", "-k", "24", "--all", "--store", str(place), "--json"]
    for flag, wanted in (("--structural", True), ("--no-structural", False)):
        done = CliRunner().invoke(main, [*base, flag])
        assert done.exit_code == 0, done.output
        hits = [json.loads(line) for line in done.stdout.splitlines()]
        assert hits
        assert {hit["feature"] in STRUCTURAL for hit in hits} == {wanted}
    shown = CliRunner().invoke(main, ["feature", "tiny/0-res/0", "--store", str(place)]).output
    assert "structural: first token share 1" in " ".join(shown.split())


def test_a_store_has_its_own_rule_and_gives_it_back(place):
    run = CliRunner().invoke
    done = run(main, ["structural", "distinct_tokens = 7 AND active_tokens > 10", "--store", str(place)])
    assert done.exit_code == 0, done.output
    with connect(place) as store:
        assert store.info().structural_rule == "distinct_tokens = 7 AND active_tokens > 10"
        now = flags(store)
        assert now != [number in STRUCTURAL for number in range(tiny.D_SAE)]
        assert now[2] is True
        assert now == [store.feature(f"tiny/0-res/{number}").structural for number in range(tiny.D_SAE)]
        hits = store.nearest("tiny/0-res/9", within="tiny/0-res", structural=True, k=24, all=True)
        assert {hit.feature for hit in hits} <= {number for number, flag in enumerate(now) if flag}
        assert all(hit.structural for hit in hits)
        assert connect_local(str(place)).check().problems == ()
    assert run(main, ["structural", "--default", "--store", str(place)]).exit_code == 0
    with connect(place) as store:
        assert [number for number, flag in enumerate(flags(store)) if flag] == STRUCTURAL


@pytest.mark.parametrize(
    "rule", ["label = 'x'", "(SELECT true)", "getenv('HOME') = ''", "distinct_tokens", "'yes'", "", "top_token_share >"]
)
def test_another_rule_is_refused(place, rule):
    with connect_local(str(place)) as store, pytest.raises(BadRequest, match="rule|SQL"):
        store.set_structural_rule(rule)


def test_the_columns_of_the_rule_are_those_of_the_schema():
    assert columns(STRUCTURAL_TABLE)[:4] == (*SHARES, "distinct_tokens")
    check_expression(" OR ".join(f"{name} > 0.5" for name in columns(STRUCTURAL_TABLE)), STRUCTURAL_TABLE)
