"""The rule for the best label that a store carries: an expression over a label's columns, or it is not run."""

import hashlib
import time

import msgspec
import pytest

import featurestore
from featurestore import BadRequest, BadStore
from featurestore.sql.rules import check_expression, columns
from featurestore.storage.directory import Directory
from featurestore.storage.log_files import Commit, Part, seal
from tests.support import tiny

GOOD = [
    "votes",
    "score",
    "-votes",
    "votes, score",
    "coalesce(score, 0.5)",
    "[votes, coalesce(score, 0)]",
    "CASE WHEN explainer = 'human' OR starts_with(explainer, 'human:') THEN 2 ELSE length(label) END",
    "list_sum(list_transform([votes, 2], lambda x: x + score))",
    "len([x for x in [votes, examples] if x > 0])",
    "{'a': votes}.a",
    "created_at > current_date - INTERVAL 30 DAY",
    "LABEL ILIKE '%self%' AND prompt IS NULL",
]
# {out} is a file that must not come into being, {secret} one that must not be read.
HOSTILE = [
    "1); COPY (SELECT 42) TO '{out}'; SELECT (1",
    "1); COPY (SELECT 42) TO '{out}'; --",
    "1; COPY (SELECT 42) TO '{out}'",
    "(SELECT content FROM read_text('{secret}'))",
    "(FROM read_csv('{secret}'))",
    "(FROM '{secret}')",
    "EXISTS (FROM glob('/etc/*'))",
    "len(ARRAY(SELECT 1))",
    "(WITH a AS (SELECT 1) FROM a)",
    "getenv('HOME')",
    "current_setting('allowed_paths')",
    "pg_sleep(20)",
    "error(label)",
    "nextval('x')",
    "getvariable('x')",
    "write_log('x')",
    "sum(votes)",
    "row_number() OVER ()",
    "rank() OVER (PARTITION BY votes)",
    "votes FROM range(3)",
    "votes LIMIT 1",
    "votes ORDER BY 1",
    "*",
    "COLUMNS('.*')",
    "$1",
    "?",
    "$name",
    "vots",
    "dictionary",
    "l.label",
    "current_user",
    "list_transform([1], lambda x: y)",
    "('[' || label || ']')::STRUCT(a INTEGER)[] IS NOT NULL AND getenv('HOME') IS NULL",
    "(" * 5000 + "1" + ")" * 5000,
    "CASE WHEN " * 200 + "1",
    "WITH a AS (" * 20,
    "1 + " * 6000 + "1",
    "votes\0",
    "",
    "SELECT 1",
    "COPY (SELECT 1) TO '{out}'",
    "INSTALL httpfs",
]


@pytest.mark.parametrize("rule", GOOD)
def test_an_expression_over_a_label_is_a_rule(rule):
    check_expression(rule)


@pytest.mark.parametrize("rule", HOSTILE, ids=range(len(HOSTILE)))
def test_anything_else_is_refused_before_it_runs_and_at_once(tmp_path, rule):
    (tmp_path / "secret.txt").write_text("secret")
    text = rule.replace("{out}", str(tmp_path / "out.csv")).replace("{secret}", str(tmp_path / "secret.txt"))
    began = time.process_time()
    with pytest.raises(BadRequest):
        check_expression(text)
    assert time.process_time() - began < 20
    assert not (tmp_path / "out.csv").exists()


def test_the_columns_are_those_of_the_schema():
    assert columns() == ("label", "explainer", "prompt", "examples", "votes", "score", "created_at", "imported")


def write_rule(folder, rule):
    """Make a store's log say that this is its rule, as somebody would who does not use featurestore."""
    directory = Directory(folder)
    number = directory.snapshot().commit + 1
    file = f"label_rule/store/00000-0123456789ab-{number}.sql"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(rule)
    part = Part(
        file=file,
        table="label_rule",
        key="store",
        shard=0,
        rows=1,
        bytes=len(rule),
        sha256=hashlib.sha256(rule.encode()).hexdigest(),
        about={"rule": rule},
    )
    commit = Commit(commit=number, at=tiny.WHEN, by="stranger", writer="0123456789ab", format=3, add=(part,))
    (folder / "log" / f"{number:010d}.json").write_bytes(seal(msgspec.to_builtins(commit)))


def test_a_store_with_a_hostile_rule_runs_none_of_it(tmp_path):
    """SQL, searches with a condition and compact say so; pages go on, and the owner can take the rule away."""
    folder, out = tmp_path / "s", tmp_path / "out.csv"
    tiny.write_tiny_store(folder).close()
    write_rule(folder, f"1); COPY (SELECT 42) TO '{out}'; SELECT (1")
    with featurestore.connect(folder) as store:
        for ask in (
            lambda: store.sql("SELECT 1"),
            lambda: store.search("self", mode="keyword", where="density > 0"),
            lambda: store.set_label_rule("votes FROM range(3)"),
            store.compact,
        ):
            with pytest.raises((BadStore, BadRequest), match="rule|SQL"):
                ask()
        problems = [(problem.file, problem.problem) for problem in store.check().problems]
        assert any(file.startswith("label_rule/") and "not one that" in problem for file, problem in problems)
        store.set_label_rule(None)
        assert store.sql("SELECT 42 AS n").to_pylist() == [{"n": 42}]
    assert not out.exists()
