"""Writes labels and votes that people give, and the rule for the best label. Each is checked, then written in one
commit."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow

from featurestore.errors import BadRequest, NotFound
from featurestore.snapshot.catalog import Catalog
from featurestore.sql.rules import check_rule
from featurestore.storage.directory import Directory
from featurestore.tables import schema
from featurestore.tables.best_label import RULE_KEY, RULE_TABLE
from featurestore.tables.writer import Writer
from featurestore.values.feature import Feature, FeatureId, GivenLabel
from featurestore.values.label_text import MOST_LABEL, MOST_NAME, parse_line

TOOL = "featurestore label"
VOTES = (-1, 0, 1)
MOST_NAMED = 10  # refused labels that a message names


def add_labels(
    directory: Directory, catalog: Catalog, given: Sequence[GivenLabel], tool: str, at: datetime.datetime
) -> int:
    """Write these labels, all or none; returns the number of the commit.

    Raises BadRequest, NotFound for an unknown feature, and Conflict when its dictionary is replaced meanwhile.
    """
    if not given:
        raise BadRequest("labels: there are none")
    rows: dict[str, list[dict[str, Any]]] = {}
    refusals: list[str] = []
    seen: set[tuple[FeatureId, str]] = set()
    for label in given:
        id = catalog.feature_id(label.id)
        try:
            row = {"dictionary": id.dictionary, "feature": id.feature, **_parse(label)}
        except BadRequest as exc:
            refusals.append(f"{label.id}: {exc}")
            continue
        if (id, row["explainer"]) in seen:
            raise BadRequest(
                f"labels: {row['explainer']} says two things of {label.id}; the newest counts, so send one"
            )
        seen.add((id, row["explainer"]))
        rows.setdefault(id.dictionary, []).append(row | {"tool": tool, "created_at": at})
    if refusals:
        raise BadRequest(_describe_refusals(refusals, len(given)))
    with contextlib.closing(Writer(directory, tool)) as writer:
        for dictionary, dictionary_rows in rows.items():
            writer.add(
                "labels", pyarrow.Table.from_pylist(dictionary_rows, schema.arrow_schema("labels")), key=dictionary
            )
        return writer.commit()


def remove_label(directory: Directory, page: Feature, explainer: str, tool: str) -> int:
    """Take back what `explainer` says of a feature, whose `page` has its labels; returns the number of the commit.

    The row that says so is newer than the label by any clock. Raises NotFound when the explainer says nothing.
    """
    labels = {label.explainer: label for label in page.labels}
    if explainer not in labels:
        known = ", ".join(labels) or "nobody"
        raise NotFound(f"{page.id} has no label by {explainer!r:.200}; it has labels by: {known}")
    label = labels[explainer]
    at = max(datetime.datetime.now(datetime.UTC), label.created_at + datetime.timedelta(microseconds=1))
    row = {"dictionary": page.dictionary, "feature": page.feature, "label": label.label, "explainer": explainer}
    row |= {"removed": True, "tool": tool, "created_at": at}
    with contextlib.closing(Writer(directory, tool)) as writer:
        table = pyarrow.Table.from_pylist([row], schema.arrow_schema("labels"))
        writer.add("labels", table, key=page.dictionary)
        return writer.commit()


def _parse(label: GivenLabel) -> dict[str, Any]:
    """Return the fields of a label as its row holds them. Raises BadRequest."""
    return {
        "label": parse_line("label", label.label, MOST_LABEL),
        "explainer": parse_line("explainer", label.explainer, MOST_NAME),
        "prompt": None if label.prompt is None else parse_line("prompt", label.prompt, MOST_NAME),
        "examples": label.examples,
    }


def _describe_refusals(refusals: Sequence[str], count: int) -> str:
    """Return the message for labels that are refused: each by its feature's id, the first ten of many."""
    if count == 1:
        return refusals[0]
    further = f"; and {len(refusals) - MOST_NAMED:,} more" if len(refusals) > MOST_NAMED else ""
    return (
        f"{len(refusals):,} of {count:,} labels are refused, so none is written: "
        f"{'; '.join(refusals[:MOST_NAMED])}{further}"
    )


def vote(
    directory: Directory, id: FeatureId, labels: Sequence[str], label: str, vote: int, voter: str, tool: str
) -> None:
    """Add a vote on one of a feature's `labels`. Raises NotFound or BadRequest."""
    if vote not in VOTES:
        raise BadRequest(f"vote: {vote} is not 1 (for the label), -1 (against it) or 0 (take the vote back)")
    voter = parse_line("voter", voter, MOST_NAME)
    if label.strip() not in labels:
        known = "; ".join(f"'{known_label}'" for known_label in labels) or "none"
        raise NotFound(f"{id} has no label '{label}'; its labels: {known}")
    row = {"dictionary": id.dictionary, "feature": id.feature, "label": label.strip(), "vote": vote}
    row |= {"voter": voter, "tool": tool, "created_at": datetime.datetime.now(datetime.UTC)}
    with Writer(directory, tool) as writer:
        writer.add("votes", pyarrow.Table.from_pylist([row], schema.arrow_schema("votes")), key=id.dictionary)


def set_rule(directory: Directory, rule: str | None, table: str = RULE_TABLE) -> None:
    """Set the rule for best labels, or that of another `table`, or go back to that of schema.sql.

    Raises BadRequest when it is not valid.
    """
    if rule is not None:
        check_rule(rule, table)
    with contextlib.closing(Writer(directory, TOOL)) as writer:
        if rule is None:
            writer.remove(table, RULE_KEY)
        else:

            def write(path: Path) -> int:
                path.write_text(rule, encoding="utf-8")
                return 1

            writer.add_built(table, RULE_KEY, ".sql", write, {"rule": rule})
        if rule is not None or directory.snapshot().has(table, RULE_KEY):
            writer.commit()
