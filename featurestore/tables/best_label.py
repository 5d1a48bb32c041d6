"""Copies of the best labels beside the features, so that a page or an aggregate need not search all labels.

A part of features says (about["labels"]) which state of the dictionary's labels its copies are of. When labels have
been added since, the part is stale: its labels are looked up in the label parts, which costs more and gives the same
answer. The same holds for votes and scores, where the rule for the best label uses them.
"""

from __future__ import annotations

import functools
import hashlib
import re

from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables import schema

UNLABELLED = "none"
RULE_TABLE, RULE_KEY = "label_rule", "store"
# What a rule may use that can change while the labels stay, and the table it comes from.
_USED = {"votes": "votes", "score": "scores"}


def stale_features(snapshot: Snapshot) -> list[Part]:
    """Return the parts of features whose copied labels are not those of the snapshot's label parts."""
    stale = []
    for key in snapshot.keys("features"):
        current = copy_state(snapshot, key)
        stale += [part for part in snapshot.parts("features", key) if part.about.get("labels", UNLABELLED) != current]
    return stale


def label_rule(snapshot: Snapshot) -> str:
    """Return the expression that ranks labels in this store: its own, or that of schema.sql."""
    return own_rule(snapshot) or schema.label_rule()


def own_rule(snapshot: Snapshot) -> str | None:
    """Return the rule that was set for this store; None where schema.sql's applies."""
    parts = snapshot.parts(RULE_TABLE, RULE_KEY)
    return str(parts[0].about["rule"]) if parts else None


def label_state(snapshot: Snapshot, dictionary: str) -> str:
    """Return a text that differs between states of a dictionary's labels; merging parts does not change it."""
    parts = snapshot.parts("labels", dictionary)
    return _state(parts) if parts else UNLABELLED


def copy_state(snapshot: Snapshot, dictionary: str) -> str:
    """Return a text that differs between states of a dictionary's best labels: its labels, the rule, what that uses."""
    labels = label_state(snapshot, dictionary)
    if labels == UNLABELLED:
        return UNLABELLED
    rule = label_rule(snapshot)
    states = [labels, _digest(rule)]
    for word, table in _USED.items():
        if re.search(rf"\b{word}\b", rule, re.IGNORECASE) and (parts := snapshot.parts(table, dictionary)):
            states.append(f"{table}-{_state(parts)}")
    return "-".join(states)


def _state(parts: list[Part]) -> str:
    return f"{max(part.commit for part in parts)}-{sum(part.rows for part in parts)}"


@functools.cache
def _digest(rule: str) -> str:
    """Return a hash of the rule for the best label: copies made by another rule are stale."""
    view = next(statement for statement in schema.statements() if "VIEW best_labels" in statement)
    return hashlib.sha256((view + rule).encode()).hexdigest()[:8]
