"""Tables of columnar dashboard bundles, opened: their columns and types are checked here, before any cell is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet

from featurestore import BadRequest, Unavailable
from featurestore.extension.text import first_line
from ingest.formats.records.conforming import add_columns, conform

ROWS = 16_384  # that are read at once
MOST_NUMBER = (1 << 31) - 1  # of a feature, of a layer, of prompts or of their tokens
FLOAT, FLOATS = pyarrow.float64(), pyarrow.list_(pyarrow.float64())
WHOLE, IDS, WHOLES = pyarrow.int64(), pyarrow.list_(pyarrow.int32()), pyarrow.list_(pyarrow.int64())
COLUMNS: dict[str, dict[str, pyarrow.DataType]] = {  # that a table must have beside feature_index
    "feature_statistics": {"max": FLOAT},
    "feature_tables": {},
    "activation_histograms": {"bar_heights": FLOATS, "bar_values": FLOATS},
    "logits_histograms": {"bar_heights": FLOATS, "bar_values": FLOATS},
    "logits_tables": {"top_token_ids": IDS, "top_logits": FLOATS, "bottom_token_ids": IDS, "bottom_logits": FLOATS},
}
OTHERS: dict[str, dict[str, pyarrow.DataType]] = {  # that it may lack
    "feature_statistics": {
        "positive_count": WHOLE,
        "valid_count": WHOLE,
        "positive_density": FLOAT,
        "frac_nonzero": FLOAT,
    },
    "feature_tables": {
        f"{of}_{name}": WHOLES if name == "indices" else FLOATS
        for of, names in (
            ("neuron_alignment", ("indices", "values", "l1")),
            ("correlated_neurons", ("indices", "pearson", "cossim")),
            ("correlated_features", ("indices", "pearson", "cossim")),
        )
        for name in names
    },
}


def read_table(place: Path, name: str, promised: Any = None) -> pyarrow.Table:
    """Return a table of features, with the columns that are read of it, in the order of the features.

    `promised` is how many rows its manifest says, None if it does not. Raises BadRequest when it has other columns,
    other rows, or a feature twice; Unavailable when memory runs out.
    """
    batches = list(read_batches(place))
    if not batches:
        raise BadRequest(f"{place} has no rows: fetch it again, or leave its batch out")
    given = pyarrow.Table.from_batches(batches)
    if promised is not None and promised != given.num_rows:
        raise BadRequest(f"{place} has {given.num_rows:,} rows, its manifest says {promised!r:.40}: fetch it again")
    table = conform(given, {"feature_index": WHOLE} | COLUMNS[name], place)
    table = add_columns(table, conform(given, OTHERS.get(name, {}), place, optional=True))
    table = table.sort_by("feature_index")
    index = table["feature_index"]
    is_index = pyarrow.compute.and_(
        pyarrow.compute.greater_equal(index, 0), pyarrow.compute.less_equal(index, MOST_NUMBER)
    )
    wrong = index.filter(pyarrow.compute.invert(is_index).fill_null(True))
    if len(wrong):
        raise BadRequest(f"{place}: feature_index is {wrong[0].as_py()} in a row, which is no index of a feature")
    if len(index.unique()) < len(index):
        counts = index.value_counts()
        twice = next(entry["values"] for entry in counts.to_pylist() if entry["counts"] > 1)
        raise BadRequest(f"{place} has feature {twice:,} twice: fetch it again")
    return table


def read_batches(place: Path) -> Iterator[pyarrow.RecordBatch]:
    """Yield the rows of a file, some thousands at once.

    Raises BadRequest when it is damaged, Unavailable when memory runs out, which is no fault of the file.
    """
    try:
        for batch in _open_batches(place):
            batch.validate(full=True)  # texts that are no UTF-8, and lists that end beyond their values
            yield batch
    except pyarrow.ArrowMemoryError as exc:
        raise Unavailable(f"{place}: there is not enough memory to read it") from exc
    except (pyarrow.ArrowException, OSError) as exc:
        raise BadRequest(f"{place} cannot be read: {first_line(exc, 200)}; fetch it again") from exc


def _open_batches(place: Path) -> Iterator[pyarrow.RecordBatch]:
    if place.suffix == ".parquet":
        with pyarrow.parquet.ParquetFile(place) as parquet:
            yield from parquet.iter_batches(ROWS)
        return
    with pyarrow.memory_map(str(place)) as source, pyarrow.ipc.open_file(source) as file:
        for number in range(file.num_record_batches):
            yield file.get_batch(number)
