"""Rows of SQL: a table of Arrow, and a frame in one word."""

import duckdb
import pyarrow
import pytest

from tests.support import tiny

ROWS = "SELECT id, label, density FROM features ORDER BY dictionary, feature"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("rows") / "s", index=False) as opened:
        yield opened


def test_rows_are_a_frame(door):
    rows = door.sql(ROWS)
    frame = rows.df()
    assert list(frame.columns) == ["id", "label", "density"]
    assert frame["id"].tolist()[:2] == ["tiny/0-res/0", "tiny/0-res/1"]
    assert frame.equals(rows.to_pandas())
    with door.stream(ROWS) as stream:
        assert stream.df().equals(frame)


def test_rows_are_a_table_of_arrow(door):
    rows = door.sql(ROWS)
    table = rows.to_arrow()
    assert type(table) is pyarrow.Table
    assert (len(rows), rows.num_rows, rows.column_names) == (48, 48, table.column_names)
    assert rows == door.sql(ROWS)
    assert rows.equals(table)
    assert rows["id"].to_pylist() == table["id"].to_pylist()
    assert rows[:2].to_pylist() == table.slice(0, 2).to_pylist()
    assert [column.to_pylist() for column in rows] == [column.to_pylist() for column in table.columns]
    assert pyarrow.table(rows).equals(table)
    assert duckdb.sql("SELECT count(*) FROM rows").fetchall() == [(48,)]
    assert {"df", "to_pylist", "column_names"} <= set(dir(rows))
    with pytest.raises(AttributeError):
        getattr(rows, "nothing_of_this_name")  # noqa: B009


def test_a_notebook_shows_some_rows(door):
    shown = door.sql(ROWS)._repr_html_()
    assert "28 more rows" in shown
    assert "more rows" not in door.sql("SELECT 1 AS one")._repr_html_()
