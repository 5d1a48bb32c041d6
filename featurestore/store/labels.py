"""Writes labels and votes that people give, and the rule for the best label. Each is checked, then written in one commit."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow

from featurestore.errors import BadRequest, NotFound
from featurestore.snapshot.catalog import Catalog
from featurestore.sql.statements import check_rule
from featurestore.storage.directory import Directory
from featurestore.tables import schema
from featurestore.tables.best_label import RULE_KEY, RULE_TABLE
from featurestore.tables.writer import Writer
from featurestore.values.feature import FeatureId, GivenLabel
from featurestore.wire.limits import MOST_LABEL, MOST_NAME

TOOL = "featurestore label"
VOTES = (-1, 0, 1)


def add_labels(
    directory: Directory, catalog: Catalog, given: Sequence[GivenLabel], tool: str, at: datetime.datetime
) -> int:
    """Write these labels, all or none; returns the number of the commit.

    Raises BadRequest, NotFound for an unknown feature, and Conflict when its dictionary is replaced meanwhile.
    """
    if not given:
        raise BadRequest("labels: there are none")
    rows: dict[str, list[dict[str, Any]]] = {}
    seen: set[tuple[FeatureId, str]] = set()
    for label in given:
        id = catalog.feature_id(label.id)
        explainer = check_line("explainer", label.explainer, MOST_NAME)
        row = {
            "dictionary": id.dictionary,
            "feature": id.feature,
            "label": check_line("label", label.label, MOST_LABEL),
            "explainer": explainer,
            "prompt": None if label.prompt is None else check_line("prompt", label.prompt, MOST_NAME),
            "examples": label.examples,
            "tool": tool,
            "created_at": at,
        }
        if (id, explainer) in seen:
            raise BadRequest(f"labels: {explainer} says two things of {label.id}; the newest counts, so send one")
        seen.add((id, explainer))
        rows.setdefault(id.dictionary, []).append(row)
    with contextlib.closing(Writer(directory, tool)) as writer:
        for dictionary, dictionary_rows in rows.items():
            writer.add(
                "labels", pyarrow.Table.from_pylist(dictionary_rows, schema.arrow_schema("labels")), key=dictionary
            )
        return writer.commit()


def vote(
    directory: Directory, id: FeatureId, labels: Sequence[str], label: str, vote: int, voter: str, tool: str
) -> None:
    """Add a vote on one of a feature's `labels`. Raises NotFound or BadRequest."""
    if vote not in VOTES:
        raise BadRequest(f"vote: {vote} is not 1 (for the label), -1 (against it) or 0 (take the vote back)")
    voter = check_line("voter", voter, MOST_NAME)
    if label.strip() not in labels:
        known = "; ".join(f"'{known_label}'" for known_label in labels) or "none"
        raise NotFound(f"{id} has no label '{label}'; its labels: {known}")
    row = {"dictionary": id.dictionary, "feature": id.feature, "label": label.strip(), "vote": vote}
    row |= {"voter": voter, "tool": tool, "created_at": datetime.datetime.now(datetime.UTC)}
    with Writer(directory, tool) as writer:
        writer.add("votes", pyarrow.Table.from_pylist([row], schema.arrow_schema("votes")), key=id.dictionary)


def set_rule(directory: Directory, rule: str | None) -> None:
    """Set the rule for best labels, or go back to that of schema.sql. Raises BadRequest when it is not valid."""
    if rule is not None and not rule.strip():
        raise BadRequest("rule: it is empty; name what ranks labels, as in: votes")
    if rule is not None:
        check_rule(rule)
    with contextlib.closing(Writer(directory, TOOL)) as writer:
        if rule is None:
            writer.remove(RULE_TABLE, RULE_KEY)
        else:

            def write(path: Path) -> int:
                path.write_text(rule, encoding="utf-8")
                return 1

            writer.add_built(RULE_TABLE, RULE_KEY, ".sql", write, {"rule": rule})
        if rule is not None or directory.snapshot().has(RULE_TABLE, RULE_KEY):
            writer.commit()


def check_line(name: str, text: str, most: int) -> str:
    """Return `text` without white space around it. Raises BadRequest unless it is one line of at most `most` characters."""
    line = text.strip()
    if not line:
        raise BadRequest(f"{name}: it is empty")
    if len(line) > most:
        raise BadRequest(f"{name}: it has {len(line):,} characters; {most:,} are taken at most")
    if not line.isprintable():
        raise BadRequest(f"{name}: {line!r:.80} is not one line of text that can be shown")
    return line
