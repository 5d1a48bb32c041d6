"""What a check finds, and what can be done about it."""

from __future__ import annotations

import msgspec

from featurestore.storage.border import OF_A_GRAPH, OF_A_LIST
from featurestore.storage.log_files import Part
from featurestore.tables.best_label import RULE_TABLE
from featurestore.tables.structural import STRUCTURAL_TABLE

INDEXES = ("decoder_index", "label_index", "example_index", "token_index", "map_points")
# The tables that can be built again from the others.
REBUILT = ("feature_rows", "example_rows", "label_rows", "token_stream", *INDEXES)


class Finding(msgspec.Struct, frozen=True):
    """Something wrong with a file, and what can be done."""

    file: str
    problem: str
    remedy: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a check. A store without `problems` is whole; `leftovers` are files of writers that were killed.

    `repaired` has one line for each thing that a repair did before.
    """

    location: str
    commit: int
    files: int
    bytes: int
    problems: tuple[Finding, ...]
    leftovers: tuple[str, ...]
    leftover_bytes: int
    repaired: tuple[str, ...] = ()


def remedy_of(part: Part) -> str:
    """Return what can be done about a damaged part."""
    if part.table == "map_points":
        return "`featurestore check --repair` removes it, and `featurestore index --map` makes it again"
    if part.table in REBUILT:
        return "`featurestore check --repair` builds it again"
    if part.table in ("tokenizers", "documents", "tokens"):
        return "restore it from a copy, or harvest the dictionaries of this corpus again"
    if part.table == RULE_TABLE:
        return "set it again with `featurestore label rule`"
    if part.table == STRUCTURAL_TABLE:
        return "set it again with `featurestore structural`"
    if part.table in OF_A_GRAPH:
        return "restore it from a copy, or import it again with `featurestore graph add --replace`"
    if part.table in OF_A_LIST:
        return "restore it from a copy, or import it again with `featurestore list import --replace`"
    return f"restore it from a copy, or write {part.table} of {part.key} again (harvest --replace)"
