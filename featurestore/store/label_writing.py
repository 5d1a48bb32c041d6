"""Labels that somebody gives one by one, checked against the dictionaries they are for, and written in one commit."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from typing import Any

import pyarrow

from featurestore.snapshot.catalog import Catalog
from featurestore.errors import BadRequest
from featurestore.storage.directory import Directory
from featurestore.values.records import FeatureId, GivenLabel
from featurestore.tables.schema import arrow_schema
from featurestore.tables.writer import Writer

MOST_LABEL, MOST_NAME = 2000, 200  # characters


def add_labels(
    directory: Directory, catalog: Catalog, given: Sequence[GivenLabel], tool: str, at: datetime.datetime
) -> int:
    """Write these labels, all or none; the number of the commit.

    Raises BadRequest, NotFound where a feature is not there, Conflict when its dictionary is replaced meanwhile.
    """
    if not given:
        raise BadRequest("labels: there are none")
    rows: dict[str, list[dict[str, Any]]] = {}
    seen: set[tuple[FeatureId, str]] = set()
    for one in given:
        id = catalog.feature_id(one.id)
        explainer = one_line("explainer", one.explainer, MOST_NAME)
        row = {
            "dictionary": id.dictionary,
            "feature": id.feature,
            "label": one_line("label", one.label, MOST_LABEL),
            "explainer": explainer,
            "prompt": None if one.prompt is None else one_line("prompt", one.prompt, MOST_NAME),
            "examples": one.examples,
            "tool": tool,
            "created_at": at,
        }
        if (id, explainer) in seen:
            raise BadRequest(f"labels: {explainer} says two things of {one.id}; the newest counts, so send one")
        seen.add((id, explainer))
        rows.setdefault(id.dictionary, []).append(row)
    with contextlib.closing(Writer(directory, tool)) as writer:
        for dictionary, some in rows.items():
            writer.add("labels", pyarrow.Table.from_pylist(some, arrow_schema("labels")), key=dictionary)
        return writer.commit()


def one_line(name: str, text: str, most: int) -> str:
    """`text` without white space around it. Raises BadRequest where it is not one line of at most so many characters."""
    line = text.strip()
    if not line:
        raise BadRequest(f"{name}: it is empty")
    if len(line) > most:
        raise BadRequest(f"{name}: it has {len(line):,} characters; {most:,} are taken at most")
    if not line.isprintable():
        raise BadRequest(f"{name}: {line!r:.80} is not one line of text that can be shown")
    return line
