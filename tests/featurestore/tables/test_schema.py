"""schema.sql is the only truth: code, parts and records are held to it."""

import re

import pyarrow
import pyarrow.parquet
import pytest

from featurestore import BadRequest, Dictionary, Label, Score
from featurestore.tables import schema
from tests.support import ROOT, tiny


def test_every_column_and_table_has_a_comment():
    with schema._fresh() as con:
        bare = con.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'stored' AND comment IS NULL "
            "AND table_name IN (SELECT table_name FROM duckdb_tables())"
        ).fetchall()
        tables = con.execute("SELECT table_name FROM duckdb_tables() WHERE comment IS NULL").fetchall()
        views = con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL").fetchall()
    assert bare == tables == views == []


def test_records_have_the_columns_of_their_tables():
    assert list(Dictionary.__struct_fields__) == schema.arrow_schema("dictionaries").names
    columns = set(schema.arrow_schema("labels").names)
    assert set(Label.__struct_fields__) == columns - {"dictionary", "feature", "removed"} | {"votes"}
    assert ["dictionary", "feature", *Score.__struct_fields__] == schema.arrow_schema("scores").names


def test_parts_are_of_the_schema(tiny_store):
    found = 0
    for table in schema.tables():
        for file in (tiny_store / table).rglob("*.parquet"):
            wanted = schema.arrow_schema(table)
            read = pyarrow.parquet.read_schema(file)
            assert read.names == wanted.names
            # A list's item has a name of its own in each format, so types are compared as DuckDB prints them.
            assert [re.sub(r"\w+: ", "", str(t)) for t in read.types] == [
                re.sub(r"\w+: ", "", str(t)) for t in wanted.types
            ]
            found += 1
    assert found >= 10


def test_tables_are_made_in_schema_sql_only():
    making = re.compile(r"CREATE (OR REPLACE )?(TEMP )?(TABLE|VIEW) ", re.IGNORECASE)
    for path in ROOT.glob("*/**/*.py"):
        if path.parts[len(ROOT.parts)] in ("featurestore", "ingest", "labeler", "demo") and path.name != "schema.py":
            assert not making.search(path.read_text()), path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": [" "]}, "labels: .*CHECK constraint failed"),
        ({"feature": [-1]}, "CHECK constraint failed"),
        ({"label": [None]}, "NOT NULL constraint failed"),
        ({"feature": ["x"]}, "Could not convert string 'x'"),
        ({"colour": ["red"]}, "labels has no column colour"),
    ],
)
def test_the_gate_refuses_rows_that_break_the_schema(change, words):
    gate = schema.Gate()
    good = {name: [value] for name, value in tiny.label_rows("tiny/0-res")[0].items()}
    assert gate.check("labels", pyarrow.table(good)).num_rows == 1
    with pytest.raises(BadRequest, match=words):
        gate.check("labels", pyarrow.table(good | change))
    assert gate.check("labels", pyarrow.table(good)).num_rows == 1, "a refused batch leaves nothing behind"
