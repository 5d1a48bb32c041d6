"""The files of a log: commits and checkpoints, their names, and the checksum each carries.

Each file carries the sha256 of its content, so that a flipped bit is noticed and the file is named.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from typing import Any, TypeVar

import msgspec

from featurestore.errors import BadStore

T = TypeVar("T")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable file (or directory, for some indexes) and what it holds.

    `table` is a table of schema.sql, or feature_rows, example_rows, label_rows, decoder_vectors, token_stream,
    decoder_index, label_index, example_index, token_index, label_rule. `key` is what it belongs to: a dictionary,
    corpus, tokenizer or space. `sha256` is of the file; of a directory, of its files' hashes, which `files` has by
    name. `about` says what an index was built from and with.
    """

    file: str
    table: str
    key: str
    shard: int
    rows: int
    bytes: int
    sha256: str
    files: dict[str, str] = {}
    commit: int = 0
    about: dict[str, Any] = {}

    def __hash__(self) -> int:
        return hash(self.file)  # a file never changes, so its name identifies it

    @property
    def origin(self) -> str:
        """A hash of the rows as they were first written: one that `compact` keeps where it copies labels beside
        features.
        """
        return str(self.about.get("origin") or self.sha256)

    @property
    def place(self) -> tuple[str, str, int]:
        """Table, key and shard; only one live part may have them, but in appended tables."""
        return (self.table, self.key, self.shard)


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the log."""

    commit: int
    at: datetime.datetime
    by: str
    writer: str = ""
    format: int = 1
    add: tuple[Part, ...] = ()
    remove: tuple[str, ...] = ()


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The live parts after a commit; `removed` are files kept for readers of older snapshots."""

    commit: int
    at: datetime.datetime
    format: int
    parts: tuple[Part, ...]
    removed: dict[str, datetime.datetime]


class Sealed(msgspec.Struct, forbid_unknown_fields=True):
    """A value and the sha256 of its JSON."""

    sha256: str
    content: msgspec.Raw


def seal(value: Any) -> bytes:
    """Return `value` as JSON, with its sha256."""
    raw = msgspec.json.encode(value)
    return msgspec.json.encode(Sealed(hashlib.sha256(raw).hexdigest(), msgspec.Raw(raw)))


def unseal(raw: bytes, type_: type[T], name: str) -> T:
    """Return the value of a sealed file. Raises BadStore, naming the file, when a bit of it has changed."""
    try:
        sealed = msgspec.json.decode(raw, type=Sealed)
        if hashlib.sha256(sealed.content).hexdigest() != sealed.sha256:
            raise BadStore(f"{name} is damaged: its content is not what its checksum says")
        return msgspec.json.decode(sealed.content, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadStore(f"{name} is damaged: {exc}") from None


def read_commit(raw: bytes, place: str) -> Commit:
    """Return the commit that a file holds; one of format 1 has no checksum.

    Raises BadStore, naming the file, when it is damaged.
    """
    if b'"content"' in raw[:120]:
        return unseal(raw, Commit, place)
    try:
        return msgspec.json.decode(raw, type=Commit)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadStore(f"{place} is damaged: {exc}") from None


def commit_name(number: int) -> str:
    """Return the name of a commit's file."""
    return f"log/{number:010d}.json"


def checkpoint_name(number: int) -> str:
    """Return the name of the file of the checkpoint after a commit."""
    return f"log/{number:010d}.checkpoint.json"


def commit_number(name: str) -> int | None:
    """Return the number of the commit in a file of this name; None for another file."""
    match = re.fullmatch(r"log/(\d{10})\.json", name)
    return int(match[1]) if match else None


def checkpoint_number(name: str) -> int | None:
    """Return the number of the commit before the checkpoint in a file of this name; None for another file."""
    match = re.fullmatch(r"log/(\d{10})\.checkpoint\.json", name)
    return int(match[1]) if match else None
