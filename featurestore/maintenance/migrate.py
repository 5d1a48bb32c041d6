"""Stores of older formats are rewritten in this one, in place, in one commit.

1 -> 2   documents lose their tokens to the tables `tokens` (in runs) and `token_stream`; features gain columns for
         copies of their best labels; parts of directories say the hash of each file; the log is sealed.
2 -> 3   documents say whether they are held out; features gain columns that only a new harvest fills; the tables
         `contexts`, `graphs`, `graph_nodes` and `graph_links` are new.
3 -> 4   every table gains columns for what imports say and for what they lack; a histogram is of the 64 or 40 standard
         bins, or says its edges; every dictionary has a row for each of its features.
"""

from __future__ import annotations

import contextlib
import json

import msgspec
import numpy
import pyarrow
import pyarrow.compute

from featurestore.storage.directory import FORMAT, Directory, write_about
from featurestore.storage.locations import storage_at
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.storage.staging import fingerprint
from featurestore.tables.layout import LAYOUTS, OTHERS
from featurestore.tables.row_reader import Rows
from featurestore.tables.schema import Gate
from featurestore.tables.writer import Writer

TOOL = "featurestore migrate"
# Tables that gain nullable columns alone.
WIDENED = ("dictionaries", "tokenizers", "examples", "labels")
# The histograms of stored.features and how many bins each has without edges of its own.
STANDARD_BINS = {"histogram": 64, "logit_histogram": 40}


def migrate(location: str) -> list[str]:
    """Rewrite a store of an older format in this one. Returns lines that say what was done.

    Killed at any moment it leaves the old store or the new one. Raises Conflict when the store is written to meanwhile.
    """
    storage = storage_at(location)
    directory = Directory(storage, formats=range(1, FORMAT + 1))
    lines = []
    if directory.format < FORMAT:
        with contextlib.closing(Writer(directory, TOOL)) as writer, contextlib.closing(Gate()) as gate:
            lines = _rewrite(directory, writer, gate)
            writer.commit()
    stated = directory.created_at
    write_about(storage, FORMAT, stated)
    return lines or [f"{location} is of format {FORMAT} already"]


def _rewrite(directory: Directory, writer: Writer, gate: Gate) -> list[str]:
    snapshot, rows = directory.snapshot(), Rows(directory)
    for part in snapshot.parts("documents"):
        _rewrite_documents(directory, snapshot, rows, writer, part)
    hashes: dict[str, str] = {}
    for table in WIDENED:
        for part in snapshot.parts(table):
            hashes[part.sha256] = _replace(writer, gate, snapshot, part, rows.as_written(part))
    moved = 0
    for part in snapshot.parts("features"):
        table, count = _move_odd_histograms(rows.as_written(part))
        hashes[part.sha256] = _replace(writer, gate, snapshot, part, table)
        moved += count
    for part in snapshot.parts("token_index"):
        # What it was built from is the same, under other hashes.
        covers = sorted(hashes.get(digest, digest) for digest in part.about["covers"])
        writer.restate(msgspec.structs.replace(part, about=part.about | {"covers": covers}))
    counts = {table: len(snapshot.parts(table)) for table in ("features", "examples", "labels", "documents")}
    written = ", ".join(f"{count:,} of {table}" for table, count in counts.items())
    lines = [f"format {directory.format} -> {FORMAT}: rewrote parts, {written}"]
    if moved:
        lines.append(
            f"{moved:,} histograms of an unknown number of bins, whose edges nothing says, are now in the column extra"
        )
    lines.append("run `featurestore compact`, so that the best labels lie beside the features")
    if directory.format == 1:
        _restate_label_index(directory, snapshot, writer)
    return lines


def _rewrite_documents(directory: Directory, snapshot: Snapshot, rows: Rows, writer: Writer, part: Part) -> None:
    old = rows.as_written(part)
    if directory.format > 2:
        whole = pyarrow.array(numpy.zeros(old.num_rows, dtype=bool))
        writer.remove_parts([part])
        writer.add_checked("documents", old.append_column("excerpt", whole), key=part.key, commit=part.commit)
        return
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


def _replace(writer: Writer, gate: Gate, snapshot: Snapshot, part: Part, old: pyarrow.Table) -> str:
    """Write a part's rows with the columns that its table has now, and return the new part's hash."""
    table = gate.check(part.table, old, LAYOUTS.get(part.table, OTHERS).order)
    copies = {"features": "feature_rows", "examples": "example_rows", "labels": "label_rows"}.get(part.table)
    if copies:
        writer.remove_parts([copy for copy in snapshot.parts(copies, part.key) if copy.shard == part.shard])
    writer.remove_parts([part])
    about = part.about if part.table == "features" else {}
    return writer.add_checked(part.table, table, key=part.key, shard=part.shard, about=about, commit=part.commit).sha256


def _move_odd_histograms(features: pyarrow.Table) -> tuple[pyarrow.Table, int]:
    """Return features whose histograms of an unknown number of bins are in `extra`, as JSON, and how many these are."""
    odd: dict[int, dict[str, list[int]]] = {}
    for name, bins in STANDARD_BINS.items():
        if name not in features.column_names:
            continue
        counts = features[name].combine_chunks()
        is_odd = pyarrow.compute.not_equal(pyarrow.compute.list_value_length(counts), bins).fill_null(False)
        for at in numpy.flatnonzero(is_odd.to_numpy(zero_copy_only=False)).tolist():
            odd.setdefault(at, {})[name] = counts[at].as_py()
        column = pyarrow.compute.if_else(is_odd, None, counts)
        features = features.set_column(features.column_names.index(name), name, column)
    if odd:
        extra = [json.dumps(odd[at]) if at in odd else None for at in range(features.num_rows)]
        features = features.append_column("extra", pyarrow.array(extra, pyarrow.string()))
    return features, sum(map(len, odd.values()))


def _restate_label_index(directory: Directory, snapshot: Snapshot, writer: Writer) -> None:
    for part in snapshot.parts("label_index"):
        covered = [p for p in snapshot.parts("labels") if p.file in part.about["covers"]]
        # It takes long to build and its content is right: only what the log says of it changes.
        digest, files, size = fingerprint(directory.local(part))
        about = part.about | {"covers": {}, "commit": max((p.commit for p in covered), default=0)}
        writer.restate(msgspec.structs.replace(part, sha256=digest, files=files, bytes=size, about=about))
