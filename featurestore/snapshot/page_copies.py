"""Copies of rows that pages read, beside the Parquet parts with the same rows: finds missing ones and writes them.

feature_rows and example_rows are written together with the parts they copy. label_rows gather all label parts of a
dictionary up to a commit (about["commit"], about["rows"]); `featurestore compact` writes them, and newer labels are
read beside them. Knows no pages.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow
import pyarrow.compute

from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables.layout import SHARD_FEATURES
from featurestore.tables.row_reader import Rows
from featurestore.tables.writer import Writer

# The table of copies of each table that is copied part by part.
OF_PARTS = {"features": "feature_rows", "examples": "example_rows"}


def copy_of(snapshot: Snapshot, part: Part) -> Part | None:
    """The copy of a part of features or examples; None where it has not been written yet."""
    return next((copy for copy in snapshot.parts(OF_PARTS[part.table], part.key) if copy.shard == part.shard), None)


def list_uncopied(snapshot: Snapshot, key: str | None = None) -> list[Part]:
    """Parts of features and examples without a copy, of one dictionary or of all; older stores have such parts."""
    uncopied = []
    for table, copies in OF_PARTS.items():
        copied = {(copy.key, copy.shard) for copy in snapshot.parts(copies, key)}
        uncopied += [part for part in snapshot.parts(table, key) if (part.key, part.shard) not in copied]
    return uncopied


def add_copy(writer: Writer, rows: Rows, part: Part) -> None:
    """Write the copy of a part of features or examples."""
    if part.table == "features":
        writer.add_rows(part.key, part.shard, rows.all(part))
    else:
        writer.add_gathered(OF_PARTS[part.table], part.key, part.shard, rows.all(part))


def newer_labels(snapshot: Snapshot, copy: Part) -> list[Part] | None:
    """The label parts that came after a copy of labels; None where the older ones are not those it was made from."""
    older = [part for part in snapshot.parts("labels", copy.key) if part.commit <= copy.about["commit"]]
    if sum(part.rows for part in older) != copy.about["rows"]:
        return None
    return [part for part in snapshot.parts("labels", copy.key) if part.commit > copy.about["commit"]]


def list_ungathered(snapshot: Snapshot, key: str) -> list[int]:
    """The shards of a dictionary whose labels are not all in a copy."""
    if not snapshot.parts("labels", key):
        return []
    done = {part.shard for part in snapshot.parts("label_rows", key) if newer_labels(snapshot, part) == []}
    return [part.shard for part in snapshot.parts("features", key) if part.shard not in done]


def gather_labels(writer: Writer, rows: Rows, snapshot: Snapshot, key: str, shard: int) -> None:
    """Write the copy of a shard's labels, in place of an older copy."""
    writer.remove_parts([copy for copy in snapshot.parts("label_rows", key) if copy.shard == shard])
    parts = snapshot.parts("labels", key)
    about = {"commit": max(part.commit for part in parts), "rows": sum(part.rows for part in parts)}
    writer.add_gathered("label_rows", key, shard, labels_of(rows, parts, shard), about)


def labels_of(rows: Rows, parts: list[Part], shard: int) -> pyarrow.Table:
    """The labels of a shard's features in these parts, ordered by feature, explainer, time and text."""
    labels = pyarrow.concat_tables(list(_of_shard(rows, parts, shard)))
    order = [(name, "ascending") for name in ("feature", "explainer", "created_at", "label")]
    return labels.sort_by(order).combine_chunks()


def _of_shard(rows: Rows, parts: list[Part], shard: int) -> Iterator[pyarrow.Table]:
    first, stop = shard * SHARD_FEATURES, (shard + 1) * SHARD_FEATURES
    for part in parts:
        table = rows.all(part)
        feature = table["feature"]
        inside = pyarrow.compute.and_(
            pyarrow.compute.greater_equal(feature, first), pyarrow.compute.less(feature, stop)
        )
        yield table.filter(inside)
