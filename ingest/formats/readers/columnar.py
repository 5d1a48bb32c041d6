"""Columnar dashboard bundles: manifests and tables of Parquet or Arrow, as SAEDashboard's columnar back end writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pyarrow
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet

from featurestore import BadRequest, Unavailable
from featurestore.extension.text import first_line
from ingest.formats import files
from ingest.formats.batches import Batch, Windows
from ingest.formats.readers.labels import clean
from ingest.formats.records import activation_tables, prompts
from ingest.formats.records.activation_tables import NUMBER_LIST, TEXT_LIST
from ingest.formats.records.dashboard_rows import as_object, equal_edges
from ingest.formats.records.windows import drop_filler
from ingest.formats.rejects import Rejects

FORMAT = "columnar"
MANIFEST = "manifest.json"
TABLES = ("feature_statistics", "feature_tables", "activation_histograms", "logits_histograms", "logits_tables")
ROWS = 16_384  # activations that are read at once
DECIMALS = 3  # to which activation rows are rounded
MOST_NUMBER = (1 << 31) - 1  # of a layer, of prompts or of their tokens
PARENTS = 5  # directories above a batch in which the run's files are looked for
# What tables with other columns or types end in, wherever they are read.
UNLIKE = (pyarrow.ArrowException, KeyError, ValueError, TypeError, AttributeError, OverflowError)
NAMES = {  # ours: theirs in activation_rows, theirs in activation_copy_rows
    "feature": ("feature_index", "index"),
    "tokens": ("tokens", "tokens"),
    "values": ("values", "values"),
    "position": ("qualifying_token_index", "qualifyingTokenIndex"),
    "low": ("bin_min", "binMin"),
    "high": ("bin_max", "binMax"),
    "share": ("bin_contains", "binContains"),
}


def recognises(path: Path) -> bool:
    """Return whether a directory holds batches of such a bundle."""
    return path.is_dir() and next(path.rglob(f"feature_batch_*/{MANIFEST}"), None) is not None


def find(path: str) -> list[Path]:
    """Return the manifests of all batches of features, wherever they are below a directory."""
    found = files.find_files(path, f"feature_batch_*/{MANIFEST}")
    return found if Path(path).is_dir() else [Path(path)]


def describe(path: str, options: Mapping[str, Any]) -> str:
    """Return whose features a batch has, as one line."""
    manifest = _read_manifest(Path(path))
    rows = as_object(manifest.get("row_counts")).get("feature_statistics", "?")
    return f"{Path(path).parent.name}: {rows} features of {_dictionary(Path(path), options)[0]}"


def read(path: str, rejects: Rejects, options: Mapping[str, Any]) -> Iterator[Batch]:
    """Yield the features, then the windows of one batch. Raises BadRequest when its tables are not what it says."""
    try:
        yield from _read_batch(path, rejects, options)
    except UNLIKE as exc:
        raise BadRequest(
            f"{path}: its tables are not those of a dashboard ({first_line(exc, 200)}): fetch it again, or leave it out"
        ) from None


def _read_batch(path: str, rejects: Rejects, options: Mapping[str, Any]) -> Iterator[Batch]:
    folder = Path(path).parent
    if not (folder.parent / MANIFEST).is_file():
        rejects.add(path, "the batch", "it was not written to its end: its root manifest is missing")
        return
    manifest = _read_manifest(Path(path))
    dictionary, facts = _dictionary(Path(path), options)
    tables = {name: _read_table(folder, manifest, name) for name in TABLES}
    if tables["feature_statistics"] is None:
        raise BadRequest(f"{path}: it names no table feature_statistics")
    features, counted = _make_features(path, tables)
    if counted:
        facts |= {"tokens_counted": counted}
    yield Batch(dictionary, facts, features=features)
    prompts_file = prompts.find_file(folder.parent.parent)
    for table, first in _activations(folder, manifest):
        reasons = activation_tables.find_problems(table)
        for row, reason in sorted(reasons.items()):
            rejects.add(path, f"activation row {first + row}", reason, table.slice(row, 1)["feature"].to_pylist())
        if reasons:
            keep = numpy.ones(table.num_rows, bool)
            keep[list(reasons)] = False
            table = table.filter(pyarrow.array(keep))
        windows, dropped = drop_filler(activation_tables.make_windows(table))
        if prompts_file is not None and windows.size:
            windows, unknown, reason = _name_prompts(windows, prompts_file)
            dropped = dropped | {reason: unknown}
        yield Batch(dictionary, windows=windows, dropped=dropped)


def _name_prompts(windows: Windows, file: Path) -> tuple[Windows, int, str]:
    """Return the windows with the number of their prompt among what else is known, how many have none, and why.

    A file of prompts that cannot be read here leaves all without: nothing else needs it.
    """
    try:
        numbers = prompts.match_prompts(windows, file).tolist()
    except (BadRequest, Unavailable) as exc:
        return windows, windows.size, f"windows without the number of their prompt: {exc}"
    extra = [f'{{"prompt":{number}}}' if number >= 0 else None for number in numbers]
    return windows._replace(extra=extra), numbers.count(-1), f"windows whose prompt is not in {file.name}"


def _read_manifest(path: Path) -> dict[str, Any]:
    content = files.read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("tables"), dict):
        raise BadRequest(f"{path} is no manifest: it names no tables")
    return content


def _dictionary(path: Path, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the dictionary of a batch, and what the run's files say of it. Raises BadRequest where they do not."""
    ids, about, settings = (
        _find_above(path, name) for name in ("source_ids.json", "dashboards.json", "run_settings.json")
    )
    layer = next((match[1] for part in reversed(path.parts) if (match := re.fullmatch(r"layer_(\d+)", part))), None)
    layer = layer if layer is not None else settings.get("layer")
    source_set = as_object(about.get("source_set"))
    model = (
        options.get("model")
        or ids.get("model_name")
        or as_object(about.get("model")).get("name")
        or settings.get("model_id")
    )
    named = as_object(about.get("source_ids")) | as_object(ids.get("source_ids"))
    name = ids.get("source_set_id") or source_set.get("id") or settings.get("np_set_name") or settings.get("sae_set")
    given = named.get(str(layer))
    source = options.get("source") or (given if isinstance(given, str) else "")
    source = source or (f"{layer}-{name}" if name and layer is not None else "")
    dictionary = options.get("dictionary") or (
        f"{clean(str(model).split('/')[-1])}/{clean(source)}" if model and source else ""
    )
    if not dictionary:
        raise BadRequest(f"{path}: no file beside it names its model and source: say --dictionary MODEL/SOURCE")
    corpus = as_object(about.get("prompt_corpus"))
    facts = {
        "import_tool": "SAEDashboard, columnar",
        "decimals": DECIMALS,
        "dataset": corpus.get("hf_dataset_path") or settings.get("dataset_path"),
        "prompts": corpus.get("n_prompts") or settings.get("n_prompts_total"),
        "context_size": corpus.get("n_tokens_in_prompt") or settings.get("n_tokens_in_prompt"),
        "layer": int(layer) if layer is not None and str(layer).isdigit() else None,
    }
    hook = source_set.get("hook_point")
    facts["hook_point"] = hook if isinstance(hook, str) and "{" not in hook and "*" not in hook else None
    return dictionary, {name: value for name, value in facts.items() if _is_fact(value)}


def _is_fact(value: Any) -> bool:
    """Return whether a value of a run's files can be one of the dictionary's row."""
    return isinstance(value, str) or (type(value) is int and 0 <= value <= MOST_NUMBER)


def _find_above(path: Path, name: str) -> dict[str, Any]:
    """Return the content of the nearest file of a name in the directories above; {} without one."""
    for folder in path.parents[:PARENTS]:
        if (folder / name).is_file():
            content = files.read_json(folder / name)
            return content if isinstance(content, dict) else {}
    return {}


def _place(folder: Path, manifest: Mapping[str, Any], name: str) -> Path | None:
    file = manifest["tables"].get(name)
    if not isinstance(file, str):
        return None
    if "/" in file or "\\" in file or file.startswith("."):
        raise BadRequest(f"{folder / MANIFEST} names a table outside of its directory: {file}")
    return folder / file


def _batches(place: Path) -> Iterator[pyarrow.RecordBatch]:
    try:
        if place.suffix == ".parquet":
            yield from pyarrow.parquet.ParquetFile(place).iter_batches(ROWS)
        else:
            with pyarrow.memory_map(str(place)) as source, pyarrow.ipc.open_file(source) as file:
                for number in range(file.num_record_batches):
                    yield file.get_batch(number)
    except (pyarrow.ArrowException, OSError) as exc:
        raise BadRequest(f"{place} cannot be read: {str(exc).splitlines()[0]}") from None


def _read_table(folder: Path, manifest: Mapping[str, Any], name: str) -> pyarrow.Table | None:
    place = _place(folder, manifest, name)
    if place is None:
        return None
    table = pyarrow.Table.from_batches(list(_batches(place))).sort_by("feature_index")
    promised = as_object(manifest.get("row_counts")).get(name)
    if promised is not None and promised != table.num_rows:
        raise BadRequest(f"{place} has {table.num_rows:,} rows, its manifest says {promised!r:.40}: fetch it again")
    return table


def _make_features(path: str, tables: Mapping[str, pyarrow.Table | None]) -> tuple[pyarrow.Table, int]:
    """Return rows of stored.features, and the number of tokens that were counted, 0 if that is not known."""
    statistics = tables["feature_statistics"]
    assert statistics is not None
    index = statistics["feature_index"]
    for name, table in tables.items():
        if table is not None and not table["feature_index"].equals(index):
            raise BadRequest(f"{path}: {name} has other features than feature_statistics")
    columns: dict[str, Any] = {"feature": index.cast(pyarrow.int32())}
    counted = 0
    most = statistics["max"].to_numpy().astype(numpy.float32)
    columns["max_activation"] = pyarrow.array(most, mask=~(numpy.isfinite(most) & (most > 0)))
    if {"positive_count", "valid_count"} <= set(statistics.column_names):
        active, valid = (_read_counts(path, statistics, name) for name in ("positive_count", "valid_count"))
        columns |= {"active_tokens": active, "density": active / numpy.maximum(valid, 1)}
        counted = int(valid.max()) if len(valid) else 0
    else:
        name = "positive_density" if "positive_density" in statistics.column_names else "frac_nonzero"
        columns["density"] = statistics[name].cast(pyarrow.float64())
    for name, column in (("activation_histograms", "histogram"), ("logits_histograms", "logit_histogram")):
        if tables[name] is not None:
            columns |= _histogram(tables[name], column)
    if tables["logits_tables"] is not None:
        columns |= _logits(tables["logits_tables"])
    if tables["feature_tables"] is not None:
        rows = tables["feature_tables"].drop_columns(["feature_index"]).to_pylist()
        said = [{name: value for name, value in row.items() if value} for row in rows]
        columns["extra"] = pyarrow.array([msgspec.json.encode(row).decode() if row else None for row in said])
    return pyarrow.table(columns), counted


def _read_counts(path: str, statistics: pyarrow.Table, name: str) -> numpy.ndarray:
    """Return a column of counts, int64. Raises BadRequest where a row has none."""
    counts = statistics[name].cast(pyarrow.int64())
    wrong = counts.filter(pyarrow.compute.less(counts, 0).fill_null(True))
    if len(wrong):
        raise BadRequest(f"{path}: {name} of feature_statistics is {wrong[0].as_py()} for a feature, which is no count")
    numbers: numpy.ndarray = counts.to_numpy()
    return numbers


def _histogram(table: pyarrow.Table, column: str) -> dict[str, Any]:
    """Return a histogram and its two edges; null where bars are no counts between edges."""
    counts: list[list[int] | None] = []
    edges: list[list[float] | None] = []
    for heights, centres in zip(table["bar_heights"].to_pylist(), table["bar_values"].to_pylist(), strict=True):
        ends = equal_edges(centres) if heights and centres and len(heights) == len(centres) else None
        counts.append([int(height) for height in heights] if ends else None)
        edges.append(ends)
    return {column: pyarrow.array(counts), f"{column}_edges": pyarrow.array(edges, pyarrow.list_(pyarrow.float64()))}


def _logits(table: pyarrow.Table) -> dict[str, Any]:
    """Return the tables of logits: token ids and effects, without texts."""
    columns = {}
    for theirs, ours in (("top", "top_logits"), ("bottom", "bottom_logits")):
        ids, values = table[f"{theirs}_token_ids"].combine_chunks(), table[f"{theirs}_logits"].combine_chunks()
        flat = [pyarrow.nulls(len(ids.flatten()), pyarrow.string()), values.flatten().cast(pyarrow.float32())]
        structs = pyarrow.StructArray.from_arrays(
            [*flat, ids.flatten().cast(pyarrow.int32())], names=["token", "value", "id"]
        )
        columns[ours] = pyarrow.ListArray.from_arrays(ids.offsets.cast(pyarrow.int32()), structs)
    return columns


def _activations(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[pyarrow.Table, int]]:
    """Yield activations under our names, some thousands at once, and the number of the first."""
    for at, name in enumerate(("activation_rows", "activation_copy_rows")):
        place = _place(folder, manifest, name)
        if place is None or not place.is_file():
            continue
        first = 0
        for batch in _batches(place):
            columns = {
                ours: batch.column(theirs[at]) for ours, theirs in NAMES.items() if theirs[at] in batch.schema.names
            }
            columns |= {"tokens": columns["tokens"].cast(TEXT_LIST), "values": columns["values"].cast(NUMBER_LIST)}
            yield pyarrow.table(columns), first
            first += batch.num_rows
        return
