"""Repairs a store: deletes what killed writers left, and builds again what can be built from whole parts."""

from __future__ import annotations

import contextlib

import msgspec
import pyarrow

from featurestore.maintenance.findings import INDEXES, REBUILT, Checked
from featurestore.snapshot import page_copies
from featurestore.storage.directory import STORE_FILE, Directory, write_about
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part, checkpoint_name, checkpoint_number, commit_number
from featurestore.tables import token_stream
from featurestore.tables.row_reader import Rows
from featurestore.tables.writer import Writer


class Repairs(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair did. Indexes are only removed: building them again is the caller's work."""

    leftovers: int = 0
    leftover_bytes: int = 0
    wrote_store_file: bool = False
    checkpoint: str | None = None  # the file that was written
    removed_indexes: tuple[str, ...] = ()  # files
    gathered_labels: tuple[str, ...] = ()  # dictionaries, one for each shard
    copied_parts: tuple[str, ...] = ()  # files of the originals
    token_streams: tuple[str, ...] = ()  # corpora

    def lines(self) -> list[str]:
        """Return one line per thing done."""
        lines = []
        if self.leftovers:
            lines.append(f"removed {self.leftovers:,} leftovers, {self.leftover_bytes:,} bytes")
        if self.wrote_store_file:
            lines.append(f"wrote {STORE_FILE} again")
        if self.checkpoint is not None:
            lines.append(f"wrote {self.checkpoint}")
        lines += [f"removed {file}" for file in self.removed_indexes]
        lines += [f"gathered the labels of {dictionary} again" for dictionary in self.gathered_labels]
        lines += [f"copied the rows of {file} again" for file in self.copied_parts]
        lines += [f"built the token stream of corpus {corpus} again" for corpus in self.token_streams]
        return lines


def repair(directory: Directory, checked: Checked, tool: str) -> Repairs:
    """Delete leftovers, and repair what `checked` found damaged where the rest of the store has what it takes."""
    for entry in directory.leftovers():
        directory.storage.delete(entry.name)
    damaged = {finding.file for finding in checked.problems}
    snapshot = directory.snapshot()
    if STORE_FILE in damaged:
        write_about(directory.storage, directory.format, directory.created_at)
    checkpoint = _replace_log(directory, snapshot, damaged)
    return msgspec.structs.replace(
        _rebuild_parts(directory, snapshot, damaged, tool),
        leftovers=len(checked.leftovers),
        leftover_bytes=checked.leftover_bytes,
        wrote_store_file=STORE_FILE in damaged,
        checkpoint=checkpoint,
    )


def _replace_log(directory: Directory, snapshot: Snapshot, damaged: set[str]) -> str | None:
    """Write a checkpoint where files of the log are damaged, and delete those; returns its name."""
    if not any("checkpoint" in file or commit_number(file) is not None for file in damaged):
        return None
    # The log was read up to this commit: with a checkpoint of it, the damaged files are not needed.
    directory.log.write_checkpoint(snapshot)
    for file in damaged:
        if (commit_number(file) or checkpoint_number(file) or snapshot.commit) < snapshot.commit:
            directory.storage.delete(file)
    return checkpoint_name(snapshot.commit)


def _rebuild_parts(directory: Directory, snapshot: Snapshot, damaged: set[str], tool: str) -> Repairs:
    """Remove damaged parts, and build copies and token streams again, in one commit."""
    rows = Rows(directory)
    broken = [part for part in snapshot.all() if part.table in REBUILT and _is_damaged(part, damaged)]
    corpora = {key for key in snapshot.keys("tokens") if not snapshot.has("token_stream", key)}
    corpora |= {part.key for part in broken if part.table == "token_stream"}
    originals = [part for table in page_copies.OF_PARTS for part in snapshot.parts(table) if part.file not in damaged]
    uncopied = [part for part in originals if page_copies.copy_of(snapshot, part) in (None, *broken)]
    label_rows = [part for part in broken if part.table == "label_rows"]
    if broken or corpora or uncopied:
        with contextlib.closing(Writer(directory, tool)) as writer:
            writer.remove_parts(broken)
            for corpus in sorted(corpora):
                _rebuild_stream(writer, snapshot, rows, corpus)
            for part in uncopied:
                page_copies.add_copy(writer, rows, part)
            for part in label_rows:
                page_copies.gather_labels(writer, rows, snapshot, part.key, part.shard)
            writer.commit()
    return Repairs(
        removed_indexes=tuple(part.file for part in broken if part.table in INDEXES),
        gathered_labels=tuple(part.key for part in label_rows),
        copied_parts=tuple(part.file for part in uncopied),
        token_streams=tuple(sorted(corpora)),
    )


def _is_damaged(part: Part, damaged: set[str]) -> bool:
    return any(file == part.file or file.startswith(part.file + "/") for file in damaged)


def _rebuild_stream(writer: Writer, snapshot: Snapshot, rows: Rows, corpus: str) -> None:
    documents = pyarrow.concat_tables([rows.all(part) for part in snapshot.parts("documents", corpus)])
    runs = pyarrow.concat_tables([rows.all(part) for part in snapshot.parts("tokens", corpus)])
    runs = runs.sort_by([("document", "ascending"), ("run", "ascending")])
    numbers, lengths = documents["document"].to_numpy(), documents["length"].to_numpy()
    stream = runs["tokens"].combine_chunks().flatten().to_numpy()
    writer.add_built(
        "token_stream", corpus, "", lambda path: token_stream.write_stream(path, numbers, lengths, stream), {}
    )
