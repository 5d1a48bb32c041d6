"""What a store's owner says of labels: a vote, and by which rule the best is chosen."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from pathlib import Path

import pyarrow

from featurestore.tables import schema
from featurestore.errors import BadRequest, NotFound
from featurestore.store.label_writing import MOST_NAME, one_line
from featurestore.tables.best_label import RULE_KEY, RULE_TABLE
from featurestore.storage.directory import Directory
from featurestore.values.records import FeatureId
from featurestore.sql.engine import check_rule
from featurestore.tables.writer import Writer

TOOL = "featurestore label"
VOTES = (-1, 0, 1)


def vote(
    directory: Directory, id: FeatureId, labels: Sequence[str], label: str, vote: int, voter: str, tool: str
) -> None:
    """Add a vote on one of a feature's `labels`. Raises NotFound or BadRequest."""
    if vote not in VOTES:
        raise BadRequest(f"vote: {vote} is not 1 (for the label), -1 (against it) or 0 (take the vote back)")
    voter = one_line("voter", voter, MOST_NAME)
    if label.strip() not in labels:
        there = "; ".join(f"'{one}'" for one in labels) or "none"
        raise NotFound(f"{id} has no label '{label}'; its labels: {there}")
    row = {"dictionary": id.dictionary, "feature": id.feature, "label": label.strip(), "vote": vote}
    row |= {"voter": voter, "tool": tool, "created_at": datetime.datetime.now(datetime.UTC)}
    with Writer(directory, tool) as writer:
        writer.add("votes", pyarrow.Table.from_pylist([row], schema.arrow_schema("votes")), key=id.dictionary)


def set_rule(directory: Directory, rule: str | None) -> None:
    """Set the rule for best labels, or go back to that of schema.sql. Raises BadRequest when it is none."""
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
