"""Rows of a file of labels: CSV, TSV, JSON, JSONL or Parquet, in the shapes in which label sets are published."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from featurestore import BadRequest
from ingest.formats import files
from ingest.formats.rejects import Rejects

SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".arrow", ".feather")
PATTERNS = tuple(f"*{suffix}{gz}" for suffix in SUFFIXES if suffix != ".txt" for gz in ("", ".gz"))
WRAPPERS = ("labels", "features", "explanations", "data", "latents", "results", "rows", "annotations")
FIELD_LIMIT = 1 << 20
NAMES_OF_MAP = {"index", "label"}  # columns of a JSON object that maps features to labels

Row = tuple[str, dict[str, Any]]  # its place in the file, and its values by column


def suffix_of(path: str | Path) -> str:
    """Return a file's suffix without .gz."""
    name = Path(path).name.casefold().removesuffix(".gz")
    return Path(name).suffix


def read_rows(path: str, rejects: Rejects) -> Iterator[Row]:
    """Yield the place and the columns of each row. Raises BadRequest when the file is of none of the formats."""
    suffix = suffix_of(path)
    if suffix in (".csv", ".tsv", ".txt"):
        yield from _read_separated(path, "\t" if suffix == ".tsv" else None, rejects)
    elif suffix in (".parquet", ".pq", ".arrow", ".feather"):
        yield from _read_arrow(path, suffix)
    elif suffix in (".jsonl", ".ndjson"):
        yield from _read_json_lines(path, rejects)
    elif suffix == ".json":
        yield from _read_json(path, rejects)
    else:
        raise BadRequest(f"{path} is no table of labels: it must end with {', '.join(SUFFIXES)}")


def _read_separated(path: str, separator: str | None, rejects: Rejects) -> Iterator[Row]:
    content = files.read_all(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise BadRequest(f"{path} is not UTF-8 at byte {exc.start}: save it as UTF-8") from None
    if "\0" in text:
        raise BadRequest(f"{path} has null bytes: it is no text")
    first = text.partition("\n")[0]
    if separator is None:
        separator = max(",\t;|", key=first.count)
    csv.field_size_limit(FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header: list[str] | None = None
    last_line = text.count("\n") + (not text.endswith("\n"))
    while True:
        begin = reader.line_num + 1
        place = f"line {begin}"
        try:
            cells = next(reader, None)
        except csv.Error as exc:
            rejects.add(path, place, "it is no row of CSV", str(exc))
            continue
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if begin < last_line <= reader.line_num and _is_open(text, begin, separator):
            rejects.add(path, place, "its quote does not end, so that the rest of the file is in it", cells[-1])
            continue
        if header is None:
            header = _find_header(cells, path)
            if header == cells:
                continue
        if len(cells) > len(header):
            rejects.add(path, place, "it has more cells than the header", separator.join(cells))
            continue
        row: dict[str, Any] = {name: cell for name, cell in zip(header, cells, strict=False) if cell != ""}
        yield place, row


def _is_open(text: str, begin: int, separator: str) -> bool:
    """Return whether the row from line `begin` to the end of a text has a quote that does not end."""
    rest = "".join(text.splitlines(keepends=True)[begin - 1 :])
    try:
        list(csv.reader(io.StringIO(rest, newline=""), delimiter=separator, strict=True))
    except csv.Error as exc:
        return "unexpected end of data" in str(exc)
    return False


def _find_header(cells: list[str], path: str) -> list[str]:
    """Return the names of the columns: the first row, or those of two columns without a header."""
    names = [cell.strip() for cell in cells]
    if len(names) == 2 and names[0].isdigit():
        return ["feature", "label"]
    if len(set(names)) < len(names):
        raise BadRequest(f"{path}: its header names a column twice: {', '.join(names)}")
    cells[:] = names
    return names


def _read_arrow(path: str, suffix: str) -> Iterator[Row]:
    import pyarrow
    import pyarrow.feather
    import pyarrow.parquet

    number = 0
    try:
        if suffix in (".arrow", ".feather"):
            batches: Any = pyarrow.feather.read_table(path).to_batches(8192)
        else:
            batches = pyarrow.parquet.ParquetFile(path).iter_batches(8192)
        for batch in batches:
            batch.validate(full=True)  # texts that are no UTF-8
            for row in batch.to_pylist():
                yield f"row {number}", row
                number += 1
    except (pyarrow.ArrowException, OSError) as exc:
        raise BadRequest(f"{path} cannot be read as {suffix.lstrip('.')}: {str(exc).splitlines()[0]}") from None


def _read_json_lines(path: str, rejects: Rejects) -> Iterator[Row]:
    for lines in files.read_lines(path, rejects):
        for number, value in files.parse_lines(path, lines, rejects):
            if isinstance(value, dict):
                yield f"line {number}", value
            elif isinstance(value, list) and len(value) == 2:
                yield f"line {number}", {"index": value[0], "label": value[1]}
            else:
                rejects.add(path, f"line {number}", "it is no object", repr(value))


def _read_json(path: str, rejects: Rejects) -> Iterator[Row]:
    content = files.read_json(path)
    yield from _walk(path, content, {}, rejects)


def _walk(path: str, content: Any, outer: dict[str, Any], rejects: Rejects, depth: int = 0) -> Iterator[Row]:
    """Yield the rows of a JSON value: a list of rows, or an object by feature, perhaps within one by layer."""
    if isinstance(content, list):
        for number, item in enumerate(content):
            place = f"item {number}"
            if isinstance(item, dict):
                yield place, outer | item
            elif isinstance(item, list | tuple) and len(item) == 2:
                yield place, outer | {"index": item[0], "label": item[1]}
            elif isinstance(item, str):
                yield place, outer | {"index": number, "label": item}
            elif item is not None:
                rejects.add(path, place, "it is no object", repr(item))
        return
    if not isinstance(content, dict):
        raise BadRequest(f"{path} holds {type(content).__name__}, and labels are an object or a list")
    for name in WRAPPERS:
        if isinstance(content.get(name), dict | list):
            about = {key: value for key, value in content.items() if isinstance(value, str | int)}
            yield from _walk(path, content[name], outer | about, rejects, depth)
            return
    yield from _walk_object(path, content, outer, rejects, depth)


def _walk_object(
    path: str, content: Mapping[str, Any], outer: dict[str, Any], rejects: Rejects, depth: int
) -> Iterator[Row]:
    for key, value in content.items():
        place = f"key {key!r:.80}"
        if isinstance(value, str):
            yield place, outer | {"index": key, "label": value}
        elif isinstance(value, list) and all(isinstance(text, str) for text in value):
            for text in value:
                yield place, outer | {"index": key, "label": text}
        elif isinstance(value, dict) and _is_row(value):
            yield place, outer | {"index": key} | value
        elif isinstance(value, dict | list) and depth < 2:
            yield from _walk(path, value, outer | {"source": key}, rejects, depth + 1)
        else:
            rejects.add(path, place, "it holds no label", repr(value))


def _is_row(value: Mapping[str, Any]) -> bool:
    """Return whether an object is one label, and not labels by feature."""
    from ingest.formats.records.columns import NAMES, normalise

    names = {normalise(name) for name in value}
    return any(name in names for name in NAMES["label"]) or not value


def find_columns(path: str) -> list[str]:
    """Return the columns of a file, in order: all that occur in its first thousand rows.

    Raises BadRequest for a file without a row that can be read.
    """
    columns: dict[str, None] = {}
    with Rejects() as ignored:
        for count, (_, row) in enumerate(read_rows(path, ignored)):
            columns.update(dict.fromkeys(row))
            if count >= 1000:
                break
    if not columns:
        causes = "; ".join(f"{count:,} times: {cause}" for cause, count in ignored.counts.items())
        raise BadRequest(f"{path} has no row of labels{f' ({causes})' if causes else ''}")
    return [sys.intern(name) for name in columns]
