"""How the parts of each table are laid out as Parquet: order of rows, size of row groups, compression."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pyarrow
import pyarrow.parquet

from featurestore.errors import BadRequest
from featurestore.storage.border import OF_A_DICTIONARY, OF_A_GRAPH, OF_A_LIST


class Layout(NamedTuple):
    """How a table's parts are laid out: order of rows, rows in a row group, compression of lists and of the rest."""

    order: str | None
    group: int
    lists: str = "zstd"
    rest: str = "zstd"


# Rows are kept in the order in which they are read; where a page reads them, in row groups small enough that it decodes
# little. Features, of which pages read another copy, suit aggregates (docs/design.md has the figures).
LAYOUTS = {
    "features": Layout("feature", 32_768, "lz4", "none"),
    "examples": Layout("feature, band = 'top' DESC, band_low DESC, rank", 2048, "lz4", "lz4"),
    "documents": Layout("document", 65536),
    "tokens": Layout("document, run", 256),
    "labels": Layout("feature, explainer, created_at", 2048, "lz4", "lz4"),
    "votes": Layout("feature, label, created_at", 2048, "lz4", "lz4"),
    "scores": Layout("feature, label, method, negatives, created_at", 2048, "lz4", "lz4"),
    "map_points": Layout("feature", 65536),
    "graph_nodes": Layout("node", 65536),
    "graph_links": Layout(None, 65536),
}
OTHERS = Layout(None, 1024)
SHARD_FEATURES = 65_536
TOKENS = 131_072  # in a row group: 256 full runs, or as many more of short documents


def write_parquet(table: str, rows: pyarrow.Table, file: Path) -> None:
    """Write rows of stored.<table> as its parts are written."""
    layout = LAYOUTS.get(table, OTHERS)
    compression = {
        path: layout.lists if pyarrow.types.is_nested(field.type) else layout.rest
        for field in rows.schema
        for path in _leaves(field.name, field.type)
    }
    # The features of a part are numbers in a row: their differences take no place. Of token ids a group holds so many
    # different ones that a dictionary of them costs a third of the time and no less space.
    ascending = ["feature"] if table == "features" else []
    plain = [*ascending, *(_leaves("tokens", rows.schema.field("tokens").type) if table == "tokens" else [])]
    pyarrow.parquet.write_table(
        rows,
        file,
        compression=compression,
        row_group_size=_count_group(table, rows),
        use_dictionary=[path for path in compression if path not in plain],
        column_encoding=dict.fromkeys(ascending, "DELTA_BINARY_PACKED") or None,
    )


def _count_group(table: str, rows: pyarrow.Table) -> int:
    """Return how many rows a row group has."""
    group = LAYOUTS.get(table, OTHERS).group
    if table == "tokens" and rows.num_rows:
        count = sum(len(chunk.flatten()) for chunk in rows["tokens"].chunks)
        group = max(group, TOKENS * rows.num_rows // max(1, count))
    return group


def _leaves(path: str, type_: pyarrow.DataType) -> list[str]:
    """Return Parquet's names of the columns that hold a column."""
    if pyarrow.types.is_list(type_):
        return _leaves(f"{path}.list.element", type_.value_type)
    if pyarrow.types.is_struct(type_):
        return [leaf for field in type_ for leaf in _leaves(f"{path}.{field.name}", field.type)]
    return [path]


def check_keys(table: str, rows: pyarrow.Table, key: str) -> None:
    """Check that every row belongs to the part's key. Raises BadRequest otherwise."""
    columns = dict.fromkeys(OF_A_DICTIONARY, "dictionary") | dict.fromkeys(OF_A_GRAPH, "graph")
    columns |= dict.fromkeys(OF_A_LIST, "list")
    column = (columns | {"tokenizers": "tokenizer"}).get(table, "corpus")
    if table not in ("decoder_vectors",) and rows.num_rows:
        others = [name for name in rows[column].unique().to_pylist() if name != key]
        if others:
            raise BadRequest(f"{table}: a row is of {column} '{others[0]}', but the part is of '{key}'")
