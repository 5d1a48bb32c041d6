"""Engines that read the live files see the rows that SQL sees, whatever was replaced and removed."""

import json
from pathlib import Path

import duckdb
import polars
import pyarrow.dataset
import pytest
from click.testing import CliRunner

import featurestore
from featurestore.cli.main import main
from featurestore.errors import BadRequest
from featurestore.tables import schema
from tests.support import tiny


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A store below a directory whose name looks like a column's value, with files that count no more."""
    path = tmp_path_factory.mktemp("stores") / "layer=7" / "worked.features"
    with tiny.write_tiny_store(path) as store:
        tiny.replace_and_remove(store)
    return path


@pytest.fixture(scope="module")
def store(path):
    with featurestore.connect(path) as store:
        yield store


def test_the_rows_are_those_of_sql_in_every_table(store):
    for table in schema.tables():
        expected = store.sql(f"SELECT count(*) AS n FROM stored.{table}")["n"][0].as_py()
        assert sum(entry.rows for entry in store.files(table)) == expected, table


def test_a_folder_has_files_that_count_no_more(store, path):
    lying = {str(file) for file in (path / "features").rglob("*.parquet")}
    assert set(store.files("features").paths) < lying


def test_the_files_are_there_with_the_bytes_they_are_said_to_have(store):
    files = store.files()
    assert [(entry.table, entry.key) for entry in store.files("labels")] == [("labels", "tiny/0-res")]
    assert all(Path(entry.file).stat().st_size == entry.bytes for entry in files)
    assert {entry.table for entry in files} >= {"dictionaries", "features", "examples", "labels", "documents"}


def test_engines_read_them_and_no_column_comes_from_a_path(store):
    expected = store.sql("SELECT dictionary, feature, density FROM stored.features ORDER BY ALL").to_arrow()
    paths = store.files("features").paths
    columns = schema.arrow_schema("features").names
    by_duckdb = duckdb.sql(
        "SELECT dictionary, feature, density FROM read_parquet($files) ORDER BY ALL", params={"files": paths}
    )
    assert by_duckdb.to_arrow_table().equals(expected)
    lazy = polars.scan_parquet(paths)
    assert lazy.collect_schema().names() == columns
    by_polars = lazy.select("dictionary", "feature", "density").sort("dictionary", "feature").collect().to_arrow()
    assert by_polars.cast(expected.schema).equals(expected)
    by_arrow = pyarrow.dataset.dataset(paths).to_table(["dictionary", "feature", "density"])
    assert by_arrow.sort_by([("dictionary", "ascending"), ("feature", "ascending")]).equals(expected)


def test_the_command_prints_tables_and_files(store, path):
    def run(*options):
        result = CliRunner().invoke(main, ["snapshot", *options, "--store", str(path)])
        assert result.exit_code == 0, result.output
        return result.stdout

    rows = [json.loads(line) for line in run("--json").splitlines()]
    assert {key: value for key, value in rows[1].items() if key != "bytes"} == {
        "table": "features",
        "files": 1,
        "rows": tiny.D_SAE,
    }
    files = [json.loads(line) for line in run("labels", "--files", "--json").splitlines()]
    assert [entry["file"] for entry in files] == store.files("labels").paths
    assert str(path) in run("--files")
    assert run("votes", "--files", "--json") == ""


def test_a_table_that_is_not_there_is_named_with_the_nearest(store, path):
    with pytest.raises(BadRequest, match="'lables' is not one of .*did you mean labels"):
        store.files("lables")
    result = CliRunner().invoke(main, ["snapshot", "labels", "--iceberg", "x", "--store", str(path)])
    assert (result.exit_code, result.output.strip()) == (
        BadRequest.exit_code,
        "error: --iceberg writes all tables: leave out TABLE and --files",
    )
