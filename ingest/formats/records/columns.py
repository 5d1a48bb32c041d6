"""Which column of a table of labels says what: guessed from names, or given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from featurestore import BadRequest

# Names of columns as they occur, without case and punctuation; those that come first are taken first.
NAMES: dict[str, tuple[str, ...]] = {
    "label": (
        "label", "explanation", "description", "annotation", "interpretation", "autointerp", "explanationtext",
        "labeltext", "text", "summary", "concept", "meaning", "clerp", "title", "hypothesis",
    ),
    "feature": (
        "feature", "featureindex", "featureidx", "featureid", "latent", "latentindex", "latentid", "latentidx", "index",
        "indexinsae", "idx", "neuron", "neuronindex", "neuronid", "unit", "featurenumber", "featurenum", "id", "i",
    ),
    "explainer": (
        "explainer", "explanationmodelname", "explanationmodel", "explainermodel", "annotator", "annotatorid",
        "annotatorname", "annotatedby", "labeler", "labeller", "labeledby", "rater", "author", "user", "llm",
    ),
    "prompt": ("prompt", "typename", "explanationtype", "method", "promptversion"),
    "dictionary": ("dictionary", "dictionaryid", "saeid", "sae", "dictionaryname"),
    "model": ("model", "modelid", "modelname", "basemodel"),
    "source": ("source", "sourceid", "hookpoint", "submodule", "module", "hook", "hookname", "saename"),
    "layer": ("layer", "layerindex", "layernumber", "layerid"),
    "component": ("component", "site", "componenttype", "submodulename"),
    "id": ("name", "featurename", "latentname", "fullid", "key", "neuronpediaid"),
    "examples": ("nexamples", "examplesshown"),
}  # fmt: skip
PEOPLE = {"annotator", "annotatorid", "annotatorname", "annotatedby", "labeledby", "rater", "user", "author"}


def normalise(name: str) -> str:
    """Return a column's name without case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


class ColumnMapping:
    """Which column holds which field of a label. A field may also be a text with {Column} in it."""

    def __init__(self, fields: Mapping[str, str], templates: Mapping[str, str], unread: Sequence[str]):
        self.fields, self.templates, self.unread = dict(fields), dict(templates), tuple(unread)

    def value(self, field: str, row: Mapping[str, Any]) -> Any:
        """Return a row's value of a field; None where the row or the mapping lacks it."""
        template = self.templates.get(field)
        if template is not None:
            filled = re.sub(r"\{([^{}]+)\}", lambda match: _as_text(row.get(match[1])), template)
            return filled.strip("_-/ ") or None
        column = self.fields.get(field)
        return None if column is None else row.get(column)

    def describe(self) -> str:
        """Return the mapping as --map takes it, and the columns that are not read."""
        chosen = [f"{field}={column}" for field, column in (self.fields | self.templates).items()]
        unread = f"; not read: {', '.join(self.unread)}" if self.unread else ""
        return ", ".join(chosen) + unread


def guess(columns: Sequence[str], given: Mapping[str, str]) -> ColumnMapping:
    """Return the mapping of these columns; `given` (field to column, or to a text with {Column}) goes before a guess.

    Raises BadRequest when no column is the feature or the label, or a given one does not exist.
    """
    templates = {field: column for field, column in given.items() if "{" in column}
    fields: dict[str, str] = {}
    for field, column in given.items():
        if field not in NAMES:
            raise BadRequest(f"--map: '{field}' is no field of a label; there are: {', '.join(NAMES)}")
        for name in re.findall(r"\{([^{}]+)\}", column) or [column]:
            if name not in columns:
                raise BadRequest(f"--map: there is no column '{name}'; there are: {', '.join(columns)}")
        if field not in templates:
            fields[field] = column
    by_name: dict[str, str] = {}
    for column in columns:
        by_name.setdefault(normalise(column), column)
    taken = set(fields.values())
    for field, names in NAMES.items():
        for name in names:
            column = by_name.get(name, "")
            if field not in fields and field not in templates and column and column not in taken:
                fields[field] = column
                taken.add(column)
    known = {*fields, *templates}
    missing = [
        name for name, is_known in (("label", "label" in known), ("feature", known & {"feature", "id"})) if not is_known
    ]
    if missing:
        raise BadRequest(
            f"no column is known to be the {' or the '.join(missing)}; there are: {', '.join(columns) or 'none'}: "
            f"say which with --map {missing[0]}=COLUMN"
        )
    used = taken | {name for text in templates.values() for name in re.findall(r"\{([^{}]+)\}", text)}
    return ColumnMapping(fields, templates, [column for column in columns if column not in used])


def _as_text(value: Any) -> str:
    return "" if value is None else str(value).strip()
