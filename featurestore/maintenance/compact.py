"""Removing dictionaries, and merging many small parts of labels, votes and scores into few."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import pyarrow

from featurestore.display.text import first_line
from featurestore.errors import BadStore, Conflict
from featurestore.progress import Progress
from featurestore.snapshot import page_copies
from featurestore.snapshot.catalog import Catalog
from featurestore.sql.engine import Engine
from featurestore.storage.border import APPENDED
from featurestore.storage.directory import Directory
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables import schema
from featurestore.tables.best_label import UNLABELLED, copy_state, stale_features
from featurestore.tables.layout import LAYOUTS, SHARD_FEATURES
from featurestore.tables.row_reader import Rows
from featurestore.tables.writer import Writer
from featurestore.values.dictionary import Dictionary


def remove(directory: Directory, catalog: Catalog, ids: Sequence[str], tool: str) -> list[str]:
    """Remove dictionaries with all their rows, and corpora, tokenizers and indexes that no other uses, in one commit.

    Returns a line per removed dictionary and one on the files. Raises NotFound for an unknown dictionary, Conflict when
    another writer came first.
    """
    going = {catalog.dictionary(id).dictionary for id in ids}
    staying = [dictionary for dictionary in catalog.dictionaries if dictionary.dictionary not in going]
    snapshot = directory.snapshot()
    parts: list[Part] = []
    with contextlib.closing(Writer(directory, tool)) as writer:
        for id in sorted(going):
            writer.remove_dictionary(id)
            parts += [part for part in snapshot.all() if part.key == id]
        gone = [dictionary for dictionary in catalog.dictionaries if dictionary.dictionary in going]
        corpora = _find_corpora(directory, snapshot)
        in_use = {corpus for dictionary in staying for corpus in corpora.get(dictionary.dictionary, ())}
        unused = {corpus for id in going for corpus in corpora.get(id, ())} - in_use
        unused -= {dictionary.corpus for dictionary in staying if dictionary.corpus}
        for corpus in sorted(unused - {dictionary.corpus for dictionary in gone if dictionary.corpus}):
            for table in ("documents", "tokens", "token_stream"):
                writer.remove(table, corpus)
                parts += snapshot.parts(table, corpus)
        shared: list[tuple[tuple[str, ...], Callable[[Dictionary], str | None]]] = [
            (
                ("documents", "tokens", "token_stream"),
                lambda dictionary: None if dictionary.corpus in in_use else dictionary.corpus,
            ),
            (("tokenizers",), lambda dictionary: dictionary.tokenizer),
            (("decoder_index",), lambda dictionary: dictionary.space),
        ]
        for tables, key_of in shared:
            used = {key_of(dictionary) for dictionary in staying}
            for key in sorted({key_of(dictionary) for dictionary in gone} - used - {None}, key=str):
                for table in tables:
                    writer.remove(table, str(key))
                    parts += snapshot.parts(table, str(key))
        if not staying:
            for table in ("label_index", "example_index"):
                for key in snapshot.keys(table):
                    writer.remove(table, key)
        writer.commit()
    size = sum(part.bytes for part in parts)
    lines = [f"removed {id}" for id in sorted(going)]
    return [*lines, f"{size:,} bytes in {len(parts):,} files are deleted once nobody reads them any more (5 minutes)"]


def _find_corpora(directory: Directory, snapshot: Snapshot) -> dict[str, set[str]]:
    """Return by dictionary the corpora of its examples and contexts; an import may have several."""
    corpora: dict[str, set[str]] = {}
    statement = "SELECT dictionary, corpus FROM stored.examples UNION SELECT dictionary, corpus FROM stored.contexts"
    with contextlib.closing(Engine(directory, snapshot)) as engine:
        for dictionary, corpus in engine.rows(statement):
            corpora.setdefault(dictionary, set()).add(corpus)
    return corpora


def compact(directory: Directory, rows: Rows, tool: str, progress: Progress) -> list[str]:
    """Merge small parts of labels, votes and scores, group labels for pages, copy the best ones beside the features.

    Each dictionary has a commit. Returns lines that say what was done. A dictionary that another writer changes
    meanwhile is left as it is, and a line says so.
    """
    lines: list[str] = []
    snapshot = directory.snapshot()
    stale = {part.key for part in stale_features(snapshot)}
    todo = [
        key
        for key in snapshot.keys("features")
        if key in stale
        or any(_loose(snapshot, table, key) for table in APPENDED)
        or page_copies.list_uncopied(snapshot, key)
        or page_copies.list_ungathered(snapshot, key)
    ]
    advance = progress("compacting dictionaries", len(todo))
    for key in todo:
        try:
            lines += _compact_dictionary(directory, rows, key, tool)
        except Conflict as exc:
            lines.append(f"{key}: left as it is, {exc}")
        advance(1)
    return lines


def _compact_dictionary(directory: Directory, rows: Rows, key: str, tool: str) -> list[str]:
    snapshot = directory.snapshot()
    with (
        contextlib.closing(Engine(directory, snapshot)) as engine,
        contextlib.closing(Writer(directory, tool)) as writer,
    ):
        lines = _merge_parts(directory, snapshot, engine, writer, key)
        lines += _copy_best_labels(directory, snapshot, engine, writer, key)
        for part in page_copies.list_uncopied(snapshot, key):
            if part.table == "examples":
                page_copies.add_copy(writer, rows, part)
                lines.append(f"{key}: {part.rows:,} examples copied for pages")
        for shard in page_copies.list_ungathered(snapshot, key):
            page_copies.gather_labels(writer, rows, snapshot, key, shard)
        # Labels added meanwhile make the copies stale, not wrong; another change of these parts is a conflict.
        writer.commit()
    return lines


def _merge_parts(directory: Directory, snapshot: Snapshot, engine: Engine, writer: Writer, key: str) -> list[str]:
    """Merge the dictionary's parts of labels, votes and scores to one per shard of features."""
    lines = []
    for table in APPENDED:
        loose = _loose(snapshot, table, key)
        if not loose:
            continue
        files = [directory.sql_path(part) for part in loose]
        merged = engine.table(f"FROM read_parquet(?, {schema.OPTIONS}) ORDER BY {LAYOUTS[table].order}", [files])
        newest = max(part.commit for part in loose)
        shards = _split_by_shard(_fit(directory, loose[0], merged))
        for shard, shard_rows in shards:
            writer.add_checked(table, shard_rows, key=key, shard=shard, commit=newest)
        writer.remove_parts(loose)
        lines.append(f"{key}: {merged.num_rows:,} {table} from {len(loose):,} parts into {len(shards):,}")
    return lines


def _copy_best_labels(directory: Directory, snapshot: Snapshot, engine: Engine, writer: Writer, key: str) -> list[str]:
    """Rewrite the dictionary's parts of features whose copied labels are stale."""
    lines = []
    state = copy_state(snapshot, key)
    for part in snapshot.parts("features", key):
        copy = page_copies.copy_of(snapshot, part)
        if part.about.get("labels", UNLABELLED) == state and copy:
            continue
        first = part.shard * SHARD_FEATURES
        table = engine.table(
            f"SELECT f.* REPLACE (b.label AS label, b.explainer AS explainer) FROM read_parquet(?, {schema.OPTIONS}) f "
            "LEFT JOIN (FROM best_labels WHERE dictionary = ? AND feature BETWEEN ? AND ?) b "
            "ON b.feature = f.feature ORDER BY f.feature",
            [directory.sql_path(part), key, first, first + SHARD_FEATURES - 1],
        )
        writer.remove_parts([part, *([copy] if copy else ())])
        table = _fit(directory, part, table)
        writer.add_checked("features", table, key=key, shard=part.shard, about={"labels": state, "origin": part.origin})
        lines.append(f"{key}: best labels copied beside {part.rows:,} features")
    return lines


def _fit(directory: Directory, part: Part, rows: pyarrow.Table) -> pyarrow.Table:
    """Return rows of a part with the schema's columns and types. Raises BadStore for others: they are not copied."""
    try:
        return rows.cast(schema.arrow_schema(part.table))
    except (pyarrow.ArrowException, ValueError) as exc:
        raise BadStore(
            f"{directory.location}/{part.file} does not have the columns of {part.table}; run `featurestore check` "
            f"({first_line(exc)})"
        ) from None


def _loose(snapshot: Snapshot, table: str, key: str) -> list[Part]:
    """Return parts of labels, votes or scores to merge: those that share a shard of features, or reach over several."""
    by_shard: dict[int, list[Part]] = {}
    loose: dict[str, Part] = {}
    for part in snapshot.parts(table, key):
        first, last = (part.about.get(name, 0) // SHARD_FEATURES for name in ("first", "last"))
        if first != last:
            loose[part.file] = part
        for shard in range(first, last + 1):
            by_shard.setdefault(shard, []).append(part)
    for parts in by_shard.values():
        if len(parts) > 1:
            loose |= {part.file: part for part in parts}
    return list(loose.values())


def _split_by_shard(table: pyarrow.Table) -> list[tuple[int, pyarrow.Table]]:
    """Return the pieces of a table ordered by feature, with the number of the shard of each."""
    shard = table["feature"].to_numpy() // SHARD_FEATURES
    numbers, starts = numpy.unique(shard, return_index=True)
    ends: list[Any] = [*starts[1:], len(shard)]
    return [
        (int(n), table.slice(int(start), int(end) - int(start)))
        for n, start, end in zip(numbers, starts, ends, strict=True)
    ]
