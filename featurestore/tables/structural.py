"""Structural features: the rule that a store has for them, and what the default one says without SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featurestore.storage.log import Snapshot
from featurestore.tables import schema

STRUCTURAL_TABLE, STRUCTURAL_KEY = "structural_rule", "store"
# What `is_structural` reads of a feature.
COLUMNS = ("first_token_share", "after_break_share", "top_token_share", "distinct_tokens", "active_tokens")


def structural_rule(snapshot: Snapshot) -> str:
    """Return the expression that says which features are structural: the store's own, or that of schema.sql."""
    return own_structural_rule(snapshot) or schema.default_rule(STRUCTURAL_TABLE)


def own_structural_rule(snapshot: Snapshot) -> str | None:
    """Return the rule that was set for this store; None where schema.sql's applies."""
    parts = snapshot.parts(STRUCTURAL_TABLE, STRUCTURAL_KEY)
    return str(parts[0].about["rule"]) if parts else None


def is_structural(row: Mapping[str, Any]) -> bool | None:
    """Return what structural_rule in schema.sql says of a feature with these COLUMNS; None where they are not known."""
    if row["distinct_tokens"] is None:
        return None
    active = row["active_tokens"] or 0
    # Shares are float32, and SQL compares them as such: 0.949999988 is 0.95.
    first, after, top = (round(row[name] or 0, 7) for name in COLUMNS[:3])
    return (active >= 5 and (first >= 0.5 or after >= 0.8)) or (active >= 20 and top >= 0.95)
