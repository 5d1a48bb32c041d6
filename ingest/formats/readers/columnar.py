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

from featurestore import BadRequest
from ingest.formats import files
from ingest.formats.batches import Batch, Windows
from ingest.formats.readers.labels import clean
from ingest.formats.records import activation_tables, prompts
from ingest.formats.records.activation_tables import NUMBER_LIST, TEXT_LIST
from ingest.formats.records.columnar_tables import COLUMNS, MOST_NUMBER, read_batches, read_table
from ingest.formats.records.conforming import add_columns, conform
from ingest.formats.records.dashboard_rows import MOST_COUNT, as_object, equal_edges
from ingest.formats.records.windows import drop_filler
from ingest.formats.rejects import Rejects

FORMAT = "columnar"
MANIFEST = "manifest.json"
DECIMALS = 3  # to which activation rows are rounded
PARENTS = 5  # directories above a batch in which the run's files are looked for
REQUIRED = {"feature": pyarrow.int64(), "tokens": TEXT_LIST, "values": NUMBER_LIST}
OPTIONAL = {"position": pyarrow.int64()} | dict.fromkeys(("low", "high", "share"), pyarrow.float64())
NAMES = {  # ours: theirs in activation_rows, theirs in activation_copy_rows
    "feature": ("feature_index", "index"),
    "tokens": ("tokens", "tokens"),
    "values": ("values", "values"),
    "position": ("qualifying_token_index", "qualifyingTokenIndex"),
    "low": ("bin_min", "binMin"),
    "high": ("bin_max", "binMax"),
    "share": ("bin_contains", "binContains"),
}

OURS = {theirs: ours for ours, names in NAMES.items() for theirs in names}


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
    folder = Path(path).parent
    if not (folder.parent / MANIFEST).is_file():
        rejects.add(path, "the batch", "it was not written to its end: its root manifest is missing")
        return
    manifest = _read_manifest(Path(path))
    dictionary, facts = _dictionary(Path(path), options)
    tables = {name: _read_table(folder, manifest, name) for name in COLUMNS}
    if tables["feature_statistics"] is None:
        raise BadRequest(f"{path}: it names no table feature_statistics")
    features, counted = _make_features(path, tables)
    if counted:
        facts |= {"tokens_counted": counted}
    yield Batch(dictionary, facts, features=features)
    prompts_file = prompts.find_file(folder.parent.parent)
    problem = "" if prompts_file is None else prompts.find_problem(prompts_file)
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
            if problem:
                dropped = dropped | {f"windows without the number of their prompt: {problem}": windows.size}
            else:
                windows, unknown = _name_prompts(windows, prompts_file)
                dropped = dropped | {f"windows whose prompt is not in {prompts_file.name}": unknown}
        yield Batch(dictionary, windows=windows, dropped=dropped)


def _name_prompts(windows: Windows, file: Path) -> tuple[Windows, int]:
    """Return the windows with the number of their prompt among what else is known, and how many have none."""
    numbers = prompts.match_prompts(windows, file).tolist()
    extra = [f'{{"prompt":{number}}}' if number >= 0 else None for number in numbers]
    return windows._replace(extra=extra), numbers.count(-1)


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


def _read_table(folder: Path, manifest: Mapping[str, Any], name: str) -> pyarrow.Table | None:
    place = _place(folder, manifest, name)
    return None if place is None else read_table(place, name, as_object(manifest.get("row_counts")).get(name))


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
    with numpy.errstate(over="ignore"):
        most = statistics["max"].to_numpy().astype(numpy.float32)
    columns["max_activation"] = pyarrow.array(most, mask=~(numpy.isfinite(most) & (most > 0)))
    if {"positive_count", "valid_count"} <= set(statistics.column_names):
        active, valid = (_read_counts(path, statistics, name) for name in ("positive_count", "valid_count"))
        columns |= {"active_tokens": active, "density": active / numpy.maximum(valid, 1)}
        counted = int(valid.max()) if len(valid) else 0
    else:
        columns["density"] = _read_density(statistics)
    for name, column in (("activation_histograms", "histogram"), ("logits_histograms", "logit_histogram")):
        if tables[name] is not None:
            columns |= _histogram(tables[name], column)
    if tables["logits_tables"] is not None:
        columns |= _logits(path, tables["logits_tables"])
    if tables["feature_tables"] is not None:
        rows = tables["feature_tables"].drop_columns(["feature_index"]).to_pylist()
        said = [{name: value for name, value in row.items() if value} for row in rows]
        columns["extra"] = pyarrow.array([msgspec.json.encode(row).decode() if row else None for row in said])
    return pyarrow.table(columns), counted


def _read_counts(path: str, statistics: pyarrow.Table, name: str) -> numpy.ndarray:
    """Return a column of counts, int64. Raises BadRequest where a row has none."""
    counts = statistics[name]
    wrong = counts.filter(pyarrow.compute.less(counts, 0).fill_null(True))
    if len(wrong):
        raise BadRequest(f"{path}: {name} of feature_statistics is {wrong[0].as_py()} for a feature, which is no count")
    numbers: numpy.ndarray = counts.to_numpy()
    return numbers


def _read_density(statistics: pyarrow.Table) -> pyarrow.Array:
    """Return the share of tokens on which each feature is active; null where it is not said, or no share."""
    names = [name for name in ("positive_density", "frac_nonzero") if name in statistics.column_names]
    density = statistics[names[0]].to_numpy() if names else numpy.full(statistics.num_rows, numpy.nan)
    return pyarrow.array(density, mask=~((density >= 0) & (density <= 1)))


def _histogram(table: pyarrow.Table, column: str) -> dict[str, Any]:
    """Return a histogram and its two edges; null where bars are no counts between edges."""
    counts: list[list[int] | None] = []
    edges: list[list[float] | None] = []
    for heights, centres in zip(table["bar_heights"].to_pylist(), table["bar_values"].to_pylist(), strict=True):
        is_whole = bool(heights) and all(_is_count(height) for height in heights)
        are_centres = is_whole and len(centres or ()) == len(heights) and None not in centres
        ends = equal_edges(centres) if are_centres else None
        counts.append([int(height) for height in heights] if ends else None)
        edges.append(ends)
    return {
        column: pyarrow.array(counts, pyarrow.list_(pyarrow.int64())),
        f"{column}_edges": pyarrow.array(edges, pyarrow.list_(pyarrow.float64())),
    }


def _is_count(height: float | None) -> bool:
    return height is not None and 0 <= height <= MOST_COUNT and height == int(height)


def _logits(path: str, table: pyarrow.Table) -> dict[str, Any]:
    """Return the tables of logits: token ids and effects, without texts. Raises BadRequest where they do not pair."""
    columns = {}
    for theirs, ours in (("top", "top_logits"), ("bottom", "bottom_logits")):
        ids, values = (table[f"{theirs}_{name}"].combine_chunks() for name in ("token_ids", "logits"))
        lengths = [pyarrow.compute.list_value_length(column).fill_null(0) for column in (ids, values)]
        if not lengths[0].equals(lengths[1]) or ids.flatten().null_count or values.flatten().null_count:
            raise BadRequest(f"{path}: {theirs}_token_ids and {theirs}_logits of logits_tables do not belong together")
        flat = [pyarrow.nulls(len(ids.flatten()), pyarrow.string()), values.flatten().cast(pyarrow.float32())]
        structs = pyarrow.StructArray.from_arrays([*flat, ids.flatten()], names=["token", "value", "id"])
        ends = numpy.append(0, numpy.cumsum(lengths[0].to_numpy())).astype(numpy.int32)
        columns[ours] = pyarrow.ListArray.from_arrays(pyarrow.array(ends), structs)
    return columns


def _activations(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[pyarrow.Table, int]]:
    """Yield activations under our names, some thousands at once, and the number of the first."""
    for at, name in enumerate(("activation_rows", "activation_copy_rows")):
        place = _place(folder, manifest, name)
        if place is None or not place.is_file():
            continue
        first = 0
        for batch in read_batches(place):
            given = pyarrow.Table.from_batches([batch])
            columns = conform(given, {NAMES[ours][at]: type_ for ours, type_ in REQUIRED.items()}, place)
            others = {NAMES[ours][at]: type_ for ours, type_ in OPTIONAL.items()}
            columns = add_columns(columns, conform(given, others, place, optional=True))
            columns = columns.rename_columns([OURS[name] for name in columns.column_names])
            yield columns, first
            first += batch.num_rows
        return
