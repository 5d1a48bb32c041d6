"""Rows are committed together, each with the tool and the time."""

from labeler.runs.row_buffer import BATCH, TOOL, RowBuffer
from tests.support import tiny


def test_rows_are_committed_in_one_step(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as store:
        rows = RowBuffer(store, "labels", "label")
        row = {"dictionary": "tiny/0-res", "label": "self", "explainer": "me"}
        rows.add([row | {"feature": feature} for feature in range(5)])
        assert (rows.pending, rows.written, rows.due) == (5, 0, False)
        rows.write()
        assert (rows.pending, rows.written) == (0, 5)
        stored = store.sql("SELECT tool, created_at FROM stored.labels WHERE explainer = 'me'").to_pylist()
        assert len(stored) == 5
        assert {row["tool"] for row in stored} == {TOOL}
        assert all(row["created_at"] is not None for row in stored)
        rows.add([row | {"feature": 0}] * BATCH)
        assert rows.due
