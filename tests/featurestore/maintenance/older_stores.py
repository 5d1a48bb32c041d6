"""The tiny store as older formats had it: written as today's, then rewritten with the columns of that time."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path

import msgspec
import pyarrow
import pyarrow.parquet

from featurestore.storage.directory import Directory
from featurestore.storage.log import Log
from featurestore.storage.log_files import Commit
from featurestore.storage.staging import fingerprint
from tests.support import tiny

SINCE_3 = {
    "documents": ["held_out"],
    "features": [
        *("first_active", "last_active", "coactive"),
        *("logit_mean", "logit_std", "logit_skewness", "logit_kurtosis", "logit_histogram"),
    ],
    "labels": ["tokens_in", "tokens_out", "money"],
}
SINCE_4 = {
    "dictionaries": [
        *("origin", "import_format", "import_location", "import_tool"),
        *("dataset", "prompts", "histogram_scale", "decimals"),
    ],
    "tokenizers": ["collected"],
    "documents": ["excerpt"],
    "features": [
        *("first_token_share", "after_break_share", "top_token_share", "distinct_tokens"),
        *("histogram_edges", "logit_histogram_edges", "extra"),
    ],
    "examples": ["band_share", "repeated", "extra"],
    "labels": ["imported", "removed"],
}
EFFECTS = pyarrow.list_(pyarrow.struct({"token": pyarrow.string(), "value": pyarrow.float32()}))


def rewrite_as(table: str, format: int, rows: pyarrow.Table) -> pyarrow.Table:
    """Rows of a table of today with the columns that they had in a format."""
    rows = rows.drop_columns(SINCE_4.get(table, []))
    if format < 3:
        rows = rows.drop_columns(SINCE_3.get(table, []))
    if format < 2 and table == "features":
        rows = rows.drop_columns(["label", "explainer"])
    for name in ("top_logits", "bottom_logits"):
        if name in rows.column_names:
            effects = [
                value and [{"token": e["token"], "value": e["value"]} for e in value]
                for value in rows[name].to_pylist()
            ]
            rows = rows.set_column(rows.column_names.index(name), name, pyarrow.array(effects, EFFECTS))
    return rows


def make_older(folder: Path, format: int) -> None:
    """Rewrite a store of today as one of format 2 or 3, in one commit; copies for pages go where they have no place."""
    directory = Directory(folder)
    add = []
    for part in directory.snapshot().all():
        file = folder / part.file
        if part.table in ("example_rows", "label_rows", "feature_rows"):
            continue
        if part.table in SINCE_4:
            table = pyarrow.parquet.read_table(file, partitioning=None)
            pyarrow.parquet.write_table(rewrite_as(part.table, format, table), file)
            digest, files, size = fingerprint(file)
            part = msgspec.structs.replace(part, sha256=digest, files=files, bytes=size)
        add.append(part)
    hashes = {old.sha256: new.sha256 for old in directory.snapshot().all() for new in add if new.file == old.file}
    for n, part in enumerate(add):
        if part.table == "token_index":
            covers = sorted(hashes.get(digest, digest) for digest in part.about["covers"])
            add[n] = msgspec.structs.replace(part, about=part.about | {"covers": covers})
    shutil.rmtree(folder / "log")
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    commit = Commit(commit=1, at=now, by="tests", writer="tests", format=format, add=tuple(add), remove=())
    written = Log(directory.storage)
    written.snapshot()
    written.append(commit)
    (folder / "store.json").write_text(json.dumps({"format": format, "created_at": "2026-01-01T00:00:00Z"}, indent=2))


def write_format_1(folder: Path) -> Path:
    """A store as format 1 had it: documents with their tokens, no copies of labels, an unsealed log."""
    tiny.write_tiny_store(folder, index=False).close()
    parts = Directory(folder).snapshot().all()
    for name in ("log", "tokens", "token_stream", "feature_rows"):
        shutil.rmtree(folder / name)
    add = []
    for part in parts:
        file = folder / part.file
        if part.table == "documents":
            pyarrow.parquet.write_table(_documents_with_tokens(), file)
        elif part.table in SINCE_4:
            table = pyarrow.parquet.read_table(file, partitioning=None)
            pyarrow.parquet.write_table(rewrite_as(part.table, 1, table), file)
        if part.table not in ("tokens", "token_stream", "feature_rows", "example_rows"):
            old = msgspec.to_builtins(part)
            add.append({name: old[name] for name in ("file", "table", "key", "shard", "rows", "bytes", "sha256")})
    (folder / "log").mkdir()
    commit = {"commit": 1, "at": "2026-01-01T00:00:00Z", "by": "tests", "add": add, "remove": []}
    (folder / "log" / "0000000001.json").write_text(json.dumps(commit))
    (folder / "store.json").write_text(json.dumps({"format": 1, "created_at": "2026-01-01T00:00:00Z"}, indent=2))
    return folder


def _documents_with_tokens() -> pyarrow.Table:
    rows = [
        {"corpus": tiny.CORPUS, "document": n, "name": f"document {n}", "tokenizer": tiny.TOKENIZER, "tokens": tokens}
        for n, tokens in enumerate(tiny.DOCUMENTS)
    ]
    texts = [(name, pyarrow.string()) for name in ("name", "tokenizer")]
    types = [("corpus", pyarrow.string()), ("document", pyarrow.int32()), *texts]
    schema = pyarrow.schema([*types, ("tokens", pyarrow.list_(pyarrow.int32()))])
    return pyarrow.Table.from_pylist(rows, schema=schema)
