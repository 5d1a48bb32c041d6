"""Labels as one table: CSV, JSONL or Parquet, by the file's suffix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow
import pyarrow.csv
import pyarrow.parquet

from featurestore import BadRequest
from ingest.formats.output import new_file

if TYPE_CHECKING:
    from featurestore import FeatureStore

FORMAT = "labels"
SUFFIXES = (".csv", ".jsonl", ".parquet")
COLUMNS = "dictionary, feature, label, explainer, prompt, examples, created_at"


def write(
    store: FeatureStore, dictionaries: list[str], where: str, target: str, options: dict[str, Any]
) -> dict[str, int]:
    """Write the newest label of each explainer; returns how many. Raises BadRequest for another suffix."""
    suffix = Path(target).suffix
    if suffix not in SUFFIXES:
        raise BadRequest(f"{target}: labels are written as {', '.join(SUFFIXES)}, by the file's suffix")
    statement = f"select {COLUMNS} from labels where list_contains($dictionaries, dictionary)"
    if where != "true":
        statement += f" and (dictionary, feature) in (select (dictionary, feature) from features where {where})"
    rows = store.sql(f"{statement} order by dictionary, feature, explainer", {"dictionaries": dictionaries}).to_arrow()
    with new_file(target) as place:
        if suffix == ".csv":
            pyarrow.csv.write_csv(rows, place)
        elif suffix == ".parquet":
            pyarrow.parquet.write_table(rows, place)
        else:
            with open(place, "wb") as file:
                for row in rows.to_pylist():
                    file.write(msgspec.json.encode(row) + b"\n")
    return {"labels": rows.num_rows}
