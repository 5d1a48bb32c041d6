"""A dataset in the layout of the Hugging Face hub: Parquet shards of three tables, and a README."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet

from ingest.formats.output import new_directory

if TYPE_CHECKING:
    from featurestore import FeatureStore

ROWS = 65_536  # in a shard
QUERIES = {
    "features": "select * exclude (coactive) from features",
    "labels": "select * from labels",
    "examples": "select * from examples",
}
CARD = """---
license: other
tags:
- interpretability
- sparse-autoencoder
configs:
{configs}
---

# Features of {names}

Written by featurestore. Load a table with `datasets.load_dataset(DIRECTORY, "features")`.

| table | rows |
|---|---|
{rows}

| dictionary | features | kind | hook point | imported from |
|---|---|---|---|---|
{dictionaries}
"""


def write(
    store: FeatureStore, dictionaries: list[str], where: str, target: str, options: dict[str, Any]
) -> dict[str, int]:
    """Write {features,labels,examples}/NNNNN.parquet and README.md; returns the numbers of rows."""
    counts: dict[str, int] = {}
    with new_directory(target) as root:
        for name, query in QUERIES.items():
            condition = "where list_contains($dictionaries, dictionary)"
            if where != "true":
                chosen = f"select (dictionary, feature) from features where {where}"
                condition += f" and (dictionary, feature) in ({chosen})"
            counts[name] = _write_shards(store, f"{query} {condition}", dictionaries, root / name)
        (root / "README.md").write_text(_card(store, dictionaries, counts), "utf-8")
    return counts


def _write_shards(store: FeatureStore, statement: str, dictionaries: list[str], folder: Path) -> int:
    folder.mkdir()
    rows = number = 0
    writer: pyarrow.parquet.ParquetWriter | None = None
    try:
        with store.stream(statement, {"dictionaries": dictionaries}) as batches:
            for batch in batches:
                if writer is None or rows >= number * ROWS:
                    if writer is not None:
                        writer.close()
                    writer = pyarrow.parquet.ParquetWriter(folder / f"{number:05d}.parquet", batch.schema)
                    number += 1
                writer.write_batch(batch)
                rows += batch.num_rows
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(folder / "00000.parquet", batches.schema)
    finally:
        if writer is not None:
            writer.close()
    return rows


def _card(store: FeatureStore, dictionaries: list[str], counts: dict[str, int]) -> str:
    known = [row for row in store.dictionaries() if row.dictionary in dictionaries]
    lines = [
        f"| {row.dictionary} | {row.d_sae:,} | {row.kind} | {row.hook_point or ''} | {row.import_format or ''} |"
        for row in known
    ]
    return CARD.format(
        configs="\n".join(f"- config_name: {name}\n  data_files: {name}/*.parquet" for name in counts),
        names=", ".join(dictionaries[:5]),
        rows="\n".join(f"| {name} | {count:,} |" for name, count in counts.items()),
        dictionaries="\n".join(lines),
    )
