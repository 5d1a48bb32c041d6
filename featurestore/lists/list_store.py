"""Lists of features in a store: written in one commit each, read with the labels of their features, removed."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from typing import Any

import pyarrow

from featurestore.display.text import suggest
from featurestore.errors import BadRequest, Conflict, NotFound
from featurestore.snapshot.catalog import Catalog
from featurestore.snapshot.feature_page import FEW, Card, FeaturePages
from featurestore.storage.directory import Directory
from featurestore.storage.log import Snapshot
from featurestore.tables.row_reader import Rows
from featurestore.tables.schema import arrow_schema
from featurestore.tables.writer import Writer
from featurestore.values.dictionary_name import find_alike
from featurestore.values.feature import FeatureId
from featurestore.values.label_text import parse_line
from featurestore.values.lists import (
    MOST_LISTED,
    FeatureList,
    FeatureLists,
    ListedFeature,
    ListSummary,
    check_name,
)

TABLE = "lists"
TOOL = "featurestore list"
MOST_NOTE = 10_000  # characters
MANY = 1000  # features of a list that one statement looks up
MOST_NAMED = 5  # features that a message names
Row = dict[str, Any]


class ListReader:
    """Reads the lists of one snapshot."""

    def __init__(self, rows: Rows, snapshot: Snapshot):
        self._rows = rows
        self._snapshot = snapshot

    def all(self) -> FeatureLists:
        """Every list, ordered by name."""
        rows = [self.row(name) for name in sorted(self._snapshot.keys(TABLE))]
        return FeatureLists(ListSummary(**row | {"features": len(row["features"])}) for row in rows)

    def row(self, name: str) -> Row:
        """The row of stored.lists. Raises NotFound, naming those the store has."""
        name = check_name(name)
        if not self._snapshot.has(TABLE, name):
            raise _missing(self._snapshot, name)
        return self._rows.one(self._snapshot.parts(TABLE, name)[0])

    def ids(self, name: str) -> list[FeatureId]:
        """The features of a list, in order. Raises NotFound."""
        return [FeatureId(each["dictionary"], each["feature"]) for each in self.row(name)["features"]]

    def feature_list(self, name: str, catalog: Catalog, pages: FeaturePages) -> FeatureList:
        """One list, its features with their best labels. Raises NotFound."""
        row = self.row(name)
        ids = [FeatureId(each["dictionary"], each["feature"]) for each in row["features"]]
        wanted = sorted({id for id in ids if catalog.holds(id)})
        cards: dict[FeatureId, Card] = {}
        step = FEW if len(wanted) < MANY else len(wanted)  # few from their pages, many in one statement
        for first in range(0, len(wanted), step):
            cards |= pages.cards(wanted[first : first + step])
        features = tuple(
            ListedFeature(
                id=str(id), note=each["note"], label=cards[id].label if id in cards else None, in_store=id in cards
            )
            for id, each in zip(ids, row["features"], strict=True)
        )
        return FeatureList(**row | {"features": features})


def save(
    directory: Directory,
    catalog: Catalog,
    name: str,
    features: Sequence[ListedFeature],
    note: str | None,
    replace: bool,
    keep_missing: bool,
    tool: str,
) -> None:
    """Write a list. Raises Conflict when one of this name exists and `replace` is false, NotFound for features that
    the store has not, unless `keep_missing`, and BadRequest for a name or a note that cannot be."""
    name = check_name(name)
    snapshot = directory.snapshot()
    exists = snapshot.has(TABLE, name)
    if exists and not replace:
        raise Conflict(f"the store has a list {name}: give another name, replace it, or change it")
    alike = None if exists else find_alike(name, snapshot.keys(TABLE))
    if alike:
        raise Conflict(f"the store has a list {alike}, which differs from {name} by capitals alone: give another name")
    now = datetime.datetime.now(datetime.UTC)
    row = ListReader(Rows(directory), snapshot).row(name) if exists else {"created_at": now}
    entries = _parse_entries(catalog, features, keep_missing)
    _write(directory, name, row, entries, _parse_note("note", note), tool, now, exists)


def change(
    directory: Directory,
    catalog: Catalog,
    name: str,
    add: Sequence[ListedFeature],
    remove: Sequence[str],
    note: str | None,
    tool: str,
) -> None:
    """Add features to a list, take some out, or change its note; an empty `note` takes the note away.

    A feature that the list has already keeps its place, and gets the new note where one is given (an empty one takes
    the note away). Raises NotFound for a
    list, or a feature to take out, that is not there, and Conflict when another writer changes the list meanwhile.
    """
    name = check_name(name)
    row = ListReader(Rows(directory), directory.snapshot()).row(name)
    entries = {(each["dictionary"], each["feature"]): each for each in row["features"]}
    for id in remove:
        parsed = catalog.parse(id)
        if entries.pop((parsed.dictionary, parsed.feature), None) is None:
            raise NotFound(f"the list {name} has no feature {parsed}")
    for listed, entry in zip(add, _parse_entries(catalog, add, keep_missing=False), strict=True):
        key = (entry["dictionary"], entry["feature"])
        # An empty note takes away the one there is; without one it stays.
        entries[key] = entries[key] if key in entries and listed.note is None else entry
    if len(entries) > MOST_LISTED:
        raise BadRequest(f"features: {len(entries):,} are more than the {MOST_LISTED:,} that a list may have")
    changed = row["note"] if note is None else _parse_note("note", note)
    now = datetime.datetime.now(datetime.UTC)
    _write(directory, name, row, list(entries.values()), changed, tool, now, replaces=True)


def remove(directory: Directory, name: str, tool: str) -> None:
    """Remove a list, but not its features. Raises NotFound, naming those the store has."""
    name = check_name(name)
    snapshot = directory.snapshot()
    if not snapshot.has(TABLE, name):
        raise _missing(snapshot, name)
    with contextlib.closing(Writer(directory, tool)) as writer:
        writer.remove(TABLE, name)
        writer.commit()


def _write(
    directory: Directory,
    name: str,
    before: Row,
    entries: Sequence[Row],
    note: str | None,
    tool: str,
    now: datetime.datetime,
    replaces: bool,
) -> None:
    row = {"list": name, "note": note, "features": list(entries), "tool": tool, "changed_at": now}
    row |= {"created_at": before["created_at"]}
    with contextlib.closing(Writer(directory, tool)) as writer:
        if replaces:
            writer.remove(TABLE, name)
        writer.add(TABLE, pyarrow.Table.from_pylist([row], arrow_schema(TABLE)), key=name)
        writer.commit()


def _parse_entries(catalog: Catalog, features: Sequence[ListedFeature], keep_missing: bool) -> list[Row]:
    """Return the features as their list's row holds them. Raises NotFound, which names features that are not there."""
    entries: list[Row] = []
    missing: list[str] = []
    for listed in features:
        id = catalog.parse(listed.id)
        if not catalog.holds(id):
            missing.append(listed.id)
        note = _parse_note(f"note of {listed.id}", listed.note)
        entries.append({"dictionary": id.dictionary, "feature": id.feature, "note": note})
    if missing and not keep_missing:
        if len(missing) == 1:
            catalog.feature_id(missing[0])  # which says why
        more = f" and {len(missing) - MOST_NAMED:,} more" if len(missing) > MOST_NAMED else ""
        raise NotFound(
            f"the store has no features {', '.join(missing[:MOST_NAMED])}{more}; nothing was written (keep_missing "
            "keeps them in the list)"
        )
    return entries


def _parse_note(name: str, note: str | None) -> str | None:
    """Return a note of one or several lines; None for an empty one. Raises BadRequest for what cannot be shown."""
    if note is None or not note.strip():
        return None
    lines = note.replace("\r\n", "\n").strip().split("\n")
    if len(note) > MOST_NOTE:
        raise BadRequest(f"{name}: it has {len(note):,} characters; {MOST_NOTE:,} are taken at most")
    return "\n".join(parse_line(name, line, MOST_NOTE) if line.strip() else "" for line in lines)


def _missing(snapshot: Snapshot, name: str) -> NotFound:
    keys = sorted(snapshot.keys(TABLE))
    known = ", ".join(keys[:8]) or "none"
    more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
    return NotFound(f"no list '{name}'{suggest(name, keys)}; there are: {known}{more}")
