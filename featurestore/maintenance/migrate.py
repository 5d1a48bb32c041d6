"""Stores of older formats are rewritten in this one, in place, in one commit.

1 -> 2   documents lose their tokens to the tables `tokens` (in runs) and `token_stream`; features gain columns for
         copies of their best labels; parts of directories say the hash of each file; the log is sealed.
2 -> 3   documents say whether they are held out; features gain columns that only a new harvest fills; the tables
         `contexts`, `graphs`, `graph_nodes` and `graph_links` are new.
"""

from __future__ import annotations

import contextlib

import msgspec
import numpy
import pyarrow

from featurestore.storage.directory import FORMAT, Directory, write_about
from featurestore.storage.locations import storage_at
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.storage.staging import fingerprint
from featurestore.tables.row_reader import Rows
from featurestore.tables.schema import arrow_schema
from featurestore.tables.writer import Writer

TOOL = "featurestore migrate"


def migrate(location: str) -> list[str]:
    """Rewrite a store of an older format in this one. Returns lines that say what was done.

    Killed at any moment it leaves the old store or the new one. Raises Conflict when the store is written to meanwhile.
    """
    storage = storage_at(location)
    directory = Directory(storage, formats=range(1, FORMAT + 1))
    lines = []
    if directory.format < FORMAT:
        with contextlib.closing(Writer(directory, TOOL)) as writer:
            lines = _rewrite(directory, writer)
            writer.commit()
    stated = directory.created_at
    write_about(storage, FORMAT, stated)
    return lines or [f"{location} is of format {FORMAT} already"]


def _rewrite(directory: Directory, writer: Writer) -> list[str]:
    snapshot, rows = directory.snapshot(), Rows(directory)
    for part in snapshot.parts("documents"):
        old = rows.all(part)
        if directory.format == 1:
            tokens = old["tokens"].combine_chunks()
            lengths = numpy.diff(tokens.offsets.to_numpy()).astype(numpy.int32)
            old = old.select(["document", "name", "tokenizer"]).append_column("length", pyarrow.array(lengths))
            stream = tokens.flatten().to_numpy()
        else:
            stream = rows.stream(snapshot.parts("token_stream", part.key)[0]).tokens
            old = old.drop_columns(["corpus"])
        writer.remove_parts([part, *snapshot.parts("tokens", part.key), *snapshot.parts("token_stream", part.key)])
        writer.add_corpus(part.key, old, stream)
    for part in snapshot.parts("features"):
        table = _add_columns(rows.all(part), "features")
        writer.remove_parts([part, *_copies(snapshot, part)])
        writer.add_checked("features", table, key=part.key, shard=part.shard, about=part.about, commit=part.commit)
    for part in snapshot.parts("labels"):
        writer.remove_parts([part])
        table = _add_columns(rows.all(part), "labels")
        writer.add_checked("labels", table, key=part.key, shard=part.shard, commit=part.commit)
    lines = [
        f"format {directory.format} -> {FORMAT}: rewrote {len(snapshot.parts('features')):,} parts of features, "
        f"{len(snapshot.parts('labels')):,} of labels and {len(snapshot.parts('documents')):,} corpora"
    ]
    if directory.format > 1:
        return lines
    lines.append("run `featurestore compact`, so that the best labels lie beside the features")
    for part in snapshot.parts("label_index"):
        covered = [p for p in snapshot.parts("labels") if p.file in part.about["covers"]]
        # It takes long to build and its content is right: only what the log says of it changes.
        digest, files, size = fingerprint(directory.local(part))
        about = part.about | {"covers": {}, "commit": max((p.commit for p in covered), default=0)}
        writer.restate(msgspec.structs.replace(part, sha256=digest, files=files, bytes=size, about=about))
    return lines


def _add_columns(old: pyarrow.Table, table: str) -> pyarrow.Table:
    """Return the rows with the columns that the table has now; new ones are null."""
    wanted = arrow_schema(table)
    for name in set(wanted.names) - set(old.column_names):
        old = old.append_column(name, pyarrow.nulls(old.num_rows, wanted.field(name).type))
    return old.select(wanted.names).cast(wanted)


def _copies(snapshot: Snapshot, features: Part) -> list[Part]:
    """Return the copies for pages of a part of features."""
    return [part for part in snapshot.parts("feature_rows", features.key) if part.shard == features.shard]
