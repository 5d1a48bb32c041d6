"""The copies that pages read, beside the Parquet parts that hold the same rows: which there are, which lack, making them.

feature_rows and example_rows are written with what they copy. label_rows gather all label parts of a dictionary up to some
commit (about["commit"], about["rows"]); `featurestore compact` makes them, and labels that came since are read beside them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow
import pyarrow.compute

from featurestore.storage.log import Part, Snapshot
from featurestore.tables.row_reader import Rows
from featurestore.tables.writer import SHARD_FEATURES, Writer

# By the table that is copied, part by part.
OF_PARTS = {"features": "feature_rows", "examples": "example_rows"}


def copy_of(snapshot: Snapshot, part: Part) -> Part | None:
    """The copy of a part of features or examples."""
    return next((one for one in snapshot.parts(OF_PARTS[part.table], part.key) if one.shard == part.shard), None)


def uncopied(snapshot: Snapshot, key: str | None = None) -> list[Part]:
    """Parts of features and examples without a copy, as stores of older versions have them."""
    return [part for table in OF_PARTS for part in snapshot.parts(table, key) if copy_of(snapshot, part) is None]


def add_copy(writer: Writer, rows: Rows, part: Part) -> None:
    """Copy a part of features or examples."""
    if part.table == "features":
        writer.add_rows(part.key, part.shard, rows.all(part))
    else:
        writer.add_gathered(OF_PARTS[part.table], part.key, part.shard, rows.all(part))


def labels_gathered(snapshot: Snapshot, copy: Part) -> list[Part] | None:
    """The label parts a copy of labels does not have; None where it is no copy of the others."""
    there = [part for part in snapshot.parts("labels", copy.key) if part.commit <= copy.about["commit"]]
    if sum(part.rows for part in there) != copy.about["rows"]:
        return None
    return [part for part in snapshot.parts("labels", copy.key) if part.commit > copy.about["commit"]]


def ungathered(snapshot: Snapshot, key: str) -> list[int]:
    """The shards of a dictionary whose labels are not all in a copy."""
    if not snapshot.parts("labels", key):
        return []
    done = {part.shard for part in snapshot.parts("label_rows", key) if labels_gathered(snapshot, part) == []}
    return [part.shard for part in snapshot.parts("features", key) if part.shard not in done]


def gather_labels(writer: Writer, rows: Rows, snapshot: Snapshot, key: str, shard: int) -> None:
    """Gather a dictionary's labels of a shard, in place of an older copy."""
    writer.remove_parts([one for one in snapshot.parts("label_rows", key) if one.shard == shard])
    parts = snapshot.parts("labels", key)
    about = {"commit": max(part.commit for part in parts), "rows": sum(part.rows for part in parts)}
    writer.add_gathered("label_rows", key, shard, labels_of(rows, parts, shard), about)


def labels_of(rows: Rows, parts: list[Part], shard: int) -> pyarrow.Table:
    """The labels of a shard's features in these parts, ordered by feature."""
    found = pyarrow.concat_tables(list(_of_shard(rows, parts, shard)))
    order = [(name, "ascending") for name in ("feature", "explainer", "created_at", "label")]
    return found.sort_by(order).combine_chunks()


def _of_shard(rows: Rows, parts: list[Part], shard: int) -> Iterator[pyarrow.Table]:
    first, stop = shard * SHARD_FEATURES, (shard + 1) * SHARD_FEATURES
    for part in parts:
        table = rows.all(part)
        feature = table["feature"]
        inside = pyarrow.compute.and_(
            pyarrow.compute.greater_equal(feature, first), pyarrow.compute.less(feature, stop)
        )
        yield table.filter(inside)
