"""Copies of the best labels beside the features, so that a page or an aggregate need not search all labels.

A part of features says (about["labels"]) which state of the dictionary's labels its copies are of. When labels have come
since, the part is stale: its labels are looked up in the label parts, which costs more and is as right.
"""

from __future__ import annotations

import functools
import hashlib

from featurestore import schema
from featurestore.log import Part, Snapshot

UNLABELLED = "none"


def stale_features(snapshot: Snapshot) -> list[Part]:
    """The parts of features whose copied labels are not those of the snapshot's label parts."""
    stale = []
    for key in snapshot.keys("features"):
        current = label_state(snapshot, key)
        stale += [part for part in snapshot.parts("features", key) if part.about.get("labels", UNLABELLED) != current]
    return stale


def label_state(snapshot: Snapshot, dictionary: str) -> str:
    """What tells one state of a dictionary's labels from another; merging parts does not change it."""
    parts = snapshot.parts("labels", dictionary)
    if not parts:
        return UNLABELLED
    return f"{max(part.commit for part in parts)}-{sum(part.rows for part in parts)}-{_rule()}"


@functools.cache
def _rule() -> str:
    """A hash of the rule for the best label: copies made by another rule are stale."""
    rule = next(statement for statement in schema.statements() if "VIEW best_labels" in statement)
    return hashlib.sha256(rule.encode()).hexdigest()[:8]
