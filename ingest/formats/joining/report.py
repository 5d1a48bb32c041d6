"""What an import did, as values that are printed and returned."""

from __future__ import annotations

import msgspec


class DictionaryChange(msgspec.Struct):
    """What an import did to one dictionary. `state` is new, changed or unchanged."""

    dictionary: str
    state: str
    d_sae: int
    features: int = 0  # with statistics
    changed_features: int = 0
    examples: int = 0
    labels: int = 0  # new ones
    changed_labels: int = 0
    same_labels: int = 0
    scores: int = 0
    vectors: int = 0
    notes: tuple[str, ...] = ()


class ImportReport(msgspec.Struct):
    """What an import read and wrote, what it left out and why."""

    format: str
    location: str
    files: int
    resumed_files: int
    dictionaries: list[DictionaryChange]
    rejects: dict[str, int]
    dropped: dict[str, int]
    rejects_file: str | None
    commit: int | None
    seconds: float
    described: list[str]
