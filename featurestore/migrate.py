"""From the format before to this one, in place, in one commit.

1 -> 2   documents lose their tokens to the tables `tokens` (in runs) and `token_stream`; features gain columns for
         copies of their best labels; parts of directories say the hash of each file; the log is sealed.
"""

from __future__ import annotations

import contextlib

import msgspec
import numpy
import pyarrow

from featurestore.parts import FORMAT, Directory, fingerprint, write_about
from featurestore.rows import Rows
from featurestore.schema import arrow_schema
from featurestore.storage import storage_at
from featurestore.writer import Writer

TOOL = "featurestore migrate"


def migrate(location: str) -> list[str]:
    """Bring a store of the format before to this one; lines that say what was done.

    Killed at any moment it leaves the old store or the new one. Raises Conflict when somebody writes to it meanwhile.
    """
    storage = storage_at(location)
    directory = Directory(storage, formats=(1, FORMAT))
    said = []
    if directory.format < FORMAT:
        with contextlib.closing(Writer(directory, TOOL)) as writer:
            said = _rewrite(directory, writer)
            writer.commit()
    stated = directory.created_at
    write_about(storage, FORMAT, stated)
    return said or [f"{location} is of format {FORMAT} already"]


def _rewrite(directory: Directory, writer: Writer) -> list[str]:
    snapshot, rows = directory.snapshot(), Rows(directory)
    for part in snapshot.parts("documents"):
        old = rows.all(part)
        tokens = old["tokens"].combine_chunks()
        writer.remove_parts([part])
        lengths = numpy.diff(tokens.offsets.to_numpy()).astype(numpy.int32)
        table = old.select(["document", "name", "tokenizer"]).append_column("length", pyarrow.array(lengths))
        writer.add_corpus(part.key, table, tokens.flatten().to_numpy())
    for part in snapshot.parts("features"):
        table = rows.all(part)
        empty = pyarrow.nulls(table.num_rows, pyarrow.string())
        for name in ("label", "explainer"):
            table = table.append_column(name, empty)
        writer.remove_parts([part])
        writer.add_checked(
            "features", table.cast(arrow_schema("features")), key=part.key, shard=part.shard, commit=part.commit
        )
    for part in snapshot.parts("labels"):
        writer.remove_parts([part])
        writer.add_checked("labels", rows.all(part), key=part.key, shard=part.shard, commit=part.commit)
    for part in snapshot.parts("label_index"):
        covered = [p for p in snapshot.parts("labels") if p.file in part.about["covers"]]
        # Dear to build, and its content is as it should be: only what the log says of it changes.
        digest, files, size = fingerprint(directory.local(part))
        about = part.about | {"covers": {}, "commit": max((p.commit for p in covered), default=0)}
        writer.restate(msgspec.structs.replace(part, sha256=digest, files=files, bytes=size, about=about))
    return [
        f"format {directory.format} -> {FORMAT}: rewrote {len(snapshot.parts('features')):,} parts of features, "
        f"{len(snapshot.parts('labels')):,} of labels and {len(snapshot.parts('documents')):,} corpora",
        "run `featurestore compact`, so that the best labels lie beside the features",
    ]
