"""A catalog of Iceberg names a store's files: pyiceberg reads by name what SQL reads."""

import pytest
from click.testing import CliRunner

import featurestore
from featurestore.cli.main import main
from featurestore.tables import schema
from tests.support import tiny

sql_catalog = pytest.importorskip("pyiceberg.catalog.sql")


def load(folder):
    return sql_catalog.SqlCatalog("featurestore", uri=f"sqlite:///{folder}/catalog.db")


def write(store, folder, exit_code=0):
    result = CliRunner().invoke(main, ["snapshot", "--iceberg", str(folder), "--store", str(store)])
    assert result.exit_code == exit_code, result.output
    return result.output


def read(folder, table):
    return load(folder).load_table(f"featurestore.{table}").scan().to_arrow()


def test_every_table_is_read_by_name_and_is_the_same_after_a_change(tmp_path):
    path, folder = tmp_path / "j\u00f6rg 100%" / "tiny.features", tmp_path / "my catalog"
    tiny.write_tiny_store(path).close()
    assert "featurestore.features: rows 48, files 2" in write(path, folder)
    before = load(folder).load_table("featurestore.features").scan()
    with featurestore.connect(path) as store:
        tiny.replace_and_remove(store)
        assert "featurestore.features: rows 24, files 1" in write(path, folder)
        assert "nothing has changed" in write(path, folder)
        assert before.to_arrow().num_rows == 48  # who was reading goes on with what there was
        for table in schema.tables():
            expected = store.sql(f"FROM stored.{table}")
            rows = read(folder, table)
            assert rows.num_rows == expected.num_rows, table
            # Iceberg has neither small nor unsigned integers; the values are the same.
            assert [shorten(row) for row in rows.cast(expected.schema).to_pylist()] == [
                shorten(row) for row in expected.to_pylist()
            ], table


def shorten(row):
    """A row without empty lists: pyiceberg 0.12 reads a list of structures that is absent as an empty one."""
    return {name: value for name, value in row.items() if value not in (None, [])}


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    path = tmp_path / "tiny.features"
    tiny.write_tiny_store(path).close()
    names = sorted(file.name for file in path.iterdir())
    assert "holds other files: name a new folder" in write(path, path, exit_code=2)
    assert sorted(file.name for file in path.iterdir()) == names
    (tmp_path / "file").write_text("x")
    assert "cannot hold a catalog" in write(path, tmp_path / "file" / "below", exit_code=2)


def test_a_path_that_iceberg_cannot_name_is_refused(tmp_path):
    path = tmp_path / "what?" / "tiny.features"
    tiny.write_tiny_store(path).close()
    assert "neither ? nor #" in write(path, tmp_path / "catalog", exit_code=2)


def test_a_damaged_catalog_is_said_in_one_line(tmp_path):
    path, folder = tmp_path / "tiny.features", tmp_path / "catalog"
    tiny.write_tiny_store(path).close()
    folder.mkdir()
    (folder / "catalog.db").write_bytes(b"no database" * 100)
    message = write(path, folder, exit_code=featurestore.Unavailable.exit_code)
    assert message.startswith(f"error: the catalog in {folder} cannot be written: ")
    assert "Traceback" not in message
