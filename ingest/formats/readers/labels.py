"""Labels alone, from tables of any origin: a batch for each dictionary that a file speaks of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from featurestore import BadRequest
from featurestore.extension.text import find_problem
from ingest.formats import files
from ingest.formats.batches import Batch
from ingest.formats.readers.label_tables import PATTERNS, find_columns, read_rows
from ingest.formats.records import columns
from ingest.formats.rejects import Rejects

FORMAT = "labels"
MOST_FEATURE = 999_999_999
DICTIONARY = re.compile(r"[^/\s]+/[^/\s]+")
ID = re.compile(r"(?:(?P<dictionary>[^/\s]+/[^/\s]+)/|(?P<source>[^/\s]+)/)?(?P<feature>[0-9]{1,9})")
NAMED = re.compile(r"(?P<source>.+)_latent(?P<feature>[0-9]{1,9})")  # as Delphi names its files


def recognises(path: Path) -> bool:
    """Return whether a file or directory holds tables with a column of features and one of labels."""
    for file in files.find_files(path, *PATTERNS)[:1]:
        try:
            columns.guess(find_columns(str(file)), {})
        except BadRequest:
            return False
        return True
    return False


def find(path: str) -> list[Path]:
    """Return the files to read. Raises NotFound when there are none."""
    return files.find_files(path, *PATTERNS)


def describe(path: str, options: Mapping[str, Any]) -> str:
    """Return how a file's columns are understood, as one line. Raises BadRequest when they are not."""
    mapping = columns.guess(find_columns(path), options.get("map") or {})
    return f"{Path(path).name}: {mapping.describe()}"


def read(path: str, rejects: Rejects, options: Mapping[str, Any]) -> Iterator[Batch]:
    """Yield the labels of a file, by dictionary."""
    mapping = columns.guess(find_columns(path), options.get("map") or {})
    default = options.get("explainer") or _guess_explainer(path, mapping)
    by_dictionary: dict[str, list[dict[str, Any]]] = {}
    repaired = 0
    for place, row in read_rows(path, rejects):
        label, problem = parse_label(mapping.value("label", row))
        if problem:
            rejects.add(path, place, problem, repr(row))
            continue
        repaired += label != mapping.value("label", row)
        dictionary, feature = _find_feature(path, row, mapping, options)
        if feature is None:
            rejects.add(path, place, "its feature is no number", repr(row))
            continue
        if dictionary is None:
            rejects.add(path, place, "its dictionary's name is no MODEL/SOURCE", repr(row))
            continue
        if mapping.fields.get("label") == label:
            rejects.add(path, place, "it repeats the header", repr(row))
            continue
        entry = {"feature": feature, "label": label, "explainer": _explainer(row, mapping, default)}
        prompt, examples = mapping.value("prompt", row), mapping.value("examples", row)
        entry["prompt"] = prompt if isinstance(prompt, str) and not find_problem(prompt.strip(), 200) else None
        entry["examples"] = examples if isinstance(examples, int) and examples >= 0 else None
        by_dictionary.setdefault(dictionary, []).append(entry)
    for dictionary, labels in by_dictionary.items():
        yield Batch(dictionary, labels=labels, dropped={"labels whose line breaks became spaces": repaired})
        repaired = 0


def parse_label(value: Any) -> tuple[str, str]:
    """Return a label as one line, and "" or why it is none. Line breaks and other white space become single spaces."""
    if value is None or value == "":
        return "", "it has no label"
    if not isinstance(value, str):
        return "", "its label is no text"
    line = value.strip()
    if find_problem(line):
        line = " ".join(line.replace("\0", " ").split())
        problem = find_problem(line)
        if problem:
            return "", "its label is empty" if not line or problem == "it is empty" else _name_problem(problem)
    return line, ""


def _name_problem(problem: str) -> str:
    """Return a problem of a label without the label's own text, so that equal ones are counted together."""
    if "characters; " in problem:
        return "its label is too long"
    return "its label has" + problem.rpartition(": it has")[2] if ": it has" in problem else "its label cannot be shown"


def parse_feature(value: Any) -> int | None:
    """Return a feature's number, also from text or a whole float; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str):
        text = value.strip()
        text = text.removesuffix(".0")
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None
    return value if isinstance(value, int) and 0 <= value <= MOST_FEATURE else None


def _find_feature(
    path: str, row: Mapping[str, Any], mapping: columns.ColumnMapping, options: Mapping[str, Any]
) -> tuple[str | None, int | None]:
    """Return the dictionary and the number of a row's feature; None for what is not known."""
    value = mapping.value("feature", row)
    feature, dictionary, source = parse_feature(value), "", ""
    if feature is None:  # the number is in a name, as in resid_3/12382
        named = _parse_id(value) or _parse_id(mapping.value("id", row)) or {}
        feature = int(named["feature"]) if named else None
        dictionary, source = named.get("dictionary") or "", named.get("source") or ""
    if options.get("dictionary"):
        return options["dictionary"], feature
    dictionary = dictionary or _text(mapping.value("dictionary", row))
    if not DICTIONARY.fullmatch(dictionary):
        source = (
            options.get("source") or _text(mapping.value("source", row)) or _place(row, mapping) or source or dictionary
        )
        guessed = guess_name(path)
        model = options.get("model") or _text(mapping.value("model", row)) or guessed[1 if source else 0]
        dictionary = f"{clean(model)}/{clean(source or guessed[1])}"
    return (dictionary if DICTIONARY.fullmatch(dictionary) else None), feature


def _parse_id(value: Any) -> dict[str, str] | None:
    """Return the parts of a feature's name: feature, and dictionary or source where it has them; None for another."""
    if not isinstance(value, str):
        return None
    match = ID.fullmatch(value.strip()) or NAMED.fullmatch(value.strip())
    return match.groupdict() if match else None


def _place(row: Mapping[str, Any], mapping: columns.ColumnMapping) -> str:
    """Return the source that component and layer name, as in resid_12."""
    parts = [_text(mapping.value(field, row)) for field in ("component", "layer")]
    return "_".join(part for part in parts if part)


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def clean(name: str) -> str:
    """Return a name as a part of an id: without slashes and spaces."""
    return re.sub(r"[\s/]+", "-", name.strip().strip("/"))


def guess_name(path: str | Path) -> tuple[str, str]:
    """Return a model and a source from a file's path: its directory's name and its own."""
    place = Path(path).resolve()
    stem = place.name.removesuffix(".gz")
    return place.parent.name or "model", stem.rpartition(".")[0] or stem


def _guess_explainer(path: str, mapping: columns.ColumnMapping) -> str:
    """Return who wrote the labels: people where the column is called an annotation, else the name of the file."""
    column = mapping.fields.get("label", "")
    return "human" if columns.normalise(column) == "annotation" else f"import:{guess_name(path)[1]}"[:200]


def _explainer(row: Mapping[str, Any], mapping: columns.ColumnMapping, default: str) -> str:
    value = _text(mapping.value("explainer", row))
    if not value or find_problem(value, 190):
        return default
    is_person = columns.normalise(mapping.fields.get("explainer", "")) in columns.PEOPLE
    return f"human:{value}" if is_person and not value.startswith("human") else value
