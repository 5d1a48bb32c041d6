"""The log of a store: numbered commits that say which parts count, and checkpoints so that it need not be read from its start.

    log/0000000001.json              commit 1: the parts it adds and removes
    log/0000000100.checkpoint.json   every part that counts after commit 100

Each file carries the sha256 of its content, so that a flipped bit is found and named. A reader that looks again sees the
next commit by one look at its name. Commits before the newest checkpoint go after a grace period.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import re
import time
from typing import Any, TypeVar

import msgspec

from featurestore.errors import BadStore
from featurestore.storage.base import Storage

# Files a commit has removed, and commits a checkpoint has, are kept this long for readers that looked before.
GRACE_SECONDS = 300.0
CHECKPOINT_COMMITS = 100

T = TypeVar("T")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable file (or directory, for some indexes) and what it holds.

    `table` is a table of schema.sql, or feature_rows, example_rows, label_rows, decoder_vectors, token_stream, decoder_index, label_index,
    token_index, label_rule. `key` is what it belongs to: a dictionary, corpus, tokenizer or space. `sha256` is of the file; of a
    directory, of its files' hashes, which `files` has by name. `about` says what an index was built from and with.
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
        return hash(self.file)  # a file never changes, so its name is what it is

    @property
    def place(self) -> tuple[str, str, int]:
        """What this part is the content of; only one live part may be (appended tables apart)."""
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
    """What counts after a commit; `removed` are files that still lie there for readers of older snapshots."""

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
    """`value` as JSON, with its sha256."""
    raw = msgspec.json.encode(value)
    return msgspec.json.encode(Sealed(hashlib.sha256(raw).hexdigest(), msgspec.Raw(raw)))


def unseal(raw: bytes, type_: type[T], name: str) -> T:
    """The value of a sealed file. Raises BadStore, naming the file, when a bit of it has changed."""
    try:
        sealed = msgspec.json.decode(raw, type=Sealed)
        if hashlib.sha256(sealed.content).hexdigest() != sealed.sha256:
            raise BadStore(f"{name} is damaged: its content is not what its checksum says")
        return msgspec.json.decode(sealed.content, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadStore(f"{name} is damaged: {exc}") from None


class Snapshot:
    """The parts that count after a certain commit. Never changes."""

    def __init__(
        self,
        commit: int,
        parts: dict[str, Part],
        removed: dict[str, datetime.datetime] | None = None,
        at: datetime.datetime | None = None,
        format: int = 1,
    ):
        self.commit = commit
        self.at = at
        self.format = format
        self.removed = removed or {}
        self._parts = parts

    @functools.cached_property
    def _placed(self) -> dict[str, dict[str, list[Part]]]:
        placed: dict[str, dict[str, list[Part]]] = {}
        for part in sorted(self._parts.values(), key=lambda part: (part.key, part.shard, part.file)):
            placed.setdefault(part.table, {}).setdefault(part.key, []).append(part)
        return placed

    def parts(self, table: str, key: str | None = None) -> list[Part]:
        """The live parts of a table, of one key if given, ordered by key, shard and file."""
        keys = self._placed.get(table, {})
        return [part for parts in keys.values() for part in parts] if key is None else list(keys.get(key, ()))

    def keys(self, table: str) -> list[str]:
        """The keys a table has parts of, in order."""
        return list(self._placed.get(table, {}))

    def all(self) -> list[Part]:
        """Every live part."""
        return list(self._parts.values())

    def has(self, table: str, key: str) -> bool:
        """Whether a live part of this table and key exists."""
        return key in self._placed.get(table, {})

    def after(self, commit: Commit) -> Snapshot:
        """The snapshot that follows by `commit`."""
        gone = set(commit.remove)
        parts = {file: part for file, part in self._parts.items() if file not in gone}
        for part in commit.add:
            parts[part.file] = part if part.commit else msgspec.structs.replace(part, commit=commit.commit)
        removed = self.removed | {file: commit.at for file in commit.remove if file not in parts}
        return Snapshot(commit.commit, parts, removed, commit.at, max(self.format, commit.format))


class Log:
    """The commits of a store, read as they come."""

    def __init__(self, storage: Storage):
        self._storage = storage
        self._snapshot: Snapshot | None = None
        self._looked = 0.0
        self._highest = 0
        self._damage: BadStore | None = None

    def snapshot(self, fresh: bool = True) -> Snapshot:
        """The newest snapshot; asking again when nothing was committed costs one look at a name.

        Unless `fresh`, one that is as old as the storage finds bearable, a second on an object store.
        """
        now = time.monotonic()
        if not fresh and self._snapshot is not None and now - self._looked < self._storage.look_seconds:
            return self._snapshot
        # Commits are kept for the grace period: whoever looked more recently cannot have missed one.
        listed = self._snapshot is None or now - self._looked > GRACE_SECONDS / 2
        if listed:
            self._start()
        assert self._snapshot is not None
        while (commit := self.read(self._snapshot.commit + 1)) is not None:
            self._snapshot = self._snapshot.after(commit)
        if listed and self._snapshot.commit < self._highest:
            raise self._damage or BadStore(
                f"{self._storage.location}/{commit_name(self._snapshot.commit + 1)} is missing, but later commits are there"
            )
        self._looked = now
        return self._snapshot

    def read(self, number: int) -> Commit | None:
        """A commit; None when there is none yet. Raises BadStore when it is damaged."""
        name = commit_name(number)
        try:
            raw = self._storage.read(name)
        except FileNotFoundError:
            return None
        place = f"{self._storage.location}/{name}"
        commit = _old_commit(raw, place) if b'"content"' not in raw[:120] else unseal(raw, Commit, place)
        if commit.commit != number:
            raise BadStore(f"{place} is damaged: it says it is commit {commit.commit}")
        return commit

    def append(self, commit: Commit) -> None:
        """Write the commit that follows the snapshot. Raises FileExistsError when another writer took its number."""
        assert self._snapshot is not None and commit.commit == self._snapshot.commit + 1
        try:
            self._storage.create(commit_name(commit.commit), seal(commit))
        except FileExistsError:
            # An object store may have written it and lost the answer on the way.
            there = self.read(commit.commit)
            if there is None or not commit.writer or there.writer != commit.writer:
                raise
        self._snapshot = self._snapshot.after(commit)

    def tidy(self) -> None:
        """Write a checkpoint when one is due, and delete commits and checkpoints that nobody needs any more."""
        snapshot = self.snapshot()
        files = self._storage.entries("log")
        checkpoints = sorted(n for one in files if (n := checkpoint_number(one.name)) is not None)
        newest = checkpoints[-1] if checkpoints else 0
        if snapshot.commit - newest >= CHECKPOINT_COMMITS:
            self.write_checkpoint(snapshot)
        old = time.time() - GRACE_SECONDS
        kept = max((n for one in files if (n := checkpoint_number(one.name)) and one.at < old), default=0)
        for one in files:
            number = commit_number(one.name)
            before = checkpoint_number(one.name)
            passed = (number is not None and number <= kept) or (before is not None and before < kept)
            if passed and one.at < old:
                self._storage.delete(one.name)

    def write_checkpoint(self, snapshot: Snapshot) -> None:
        """Write the checkpoint of a snapshot, in place of a damaged one."""
        # What has been swept since need not be remembered. A part can be a directory, that is, a prefix of names.
        lying = (
            {name for one in self._storage.entries() for name in (one.name, *_above(one.name))}
            if snapshot.removed
            else ()
        )
        content = Checkpoint(
            commit=snapshot.commit,
            at=snapshot.at or datetime.datetime.now(datetime.UTC),
            format=snapshot.format,
            parts=tuple(sorted(snapshot.all(), key=lambda part: part.file)),
            removed={name: at for name, at in snapshot.removed.items() if name in lying},
        )
        self._storage.write(checkpoint_name(snapshot.commit), seal(content))

    def checkpoint(self, number: int) -> Checkpoint:
        """A checkpoint. Raises FileNotFoundError, or BadStore when it is damaged."""
        name = checkpoint_name(number)
        return unseal(self._storage.read(name), Checkpoint, f"{self._storage.location}/{name}")

    def _start(self) -> None:
        """Begin from the newest readable checkpoint, unless the snapshot at hand is newer; note how far the log goes."""
        names = [one.name for one in self._storage.entries("log")]
        commits = [n for name in names if (n := commit_number(name)) is not None]
        checkpoints = sorted((n for name in names if (n := checkpoint_number(name)) is not None), reverse=True)
        self._highest = max([*commits, *checkpoints], default=0)
        self._damage = None
        at_hand = self._snapshot or Snapshot(0, {})
        self._snapshot = at_hand
        for number in checkpoints:
            if number <= at_hand.commit:
                return
            try:
                found = self.checkpoint(number)
            except FileNotFoundError:
                continue
            except BadStore as exc:
                self._damage = exc  # an older one, or the commits themselves, may still be there
                continue
            parts = {part.file: part for part in found.parts}
            self._snapshot = Snapshot(found.commit, parts, dict(found.removed), found.at, found.format)
            return


def _above(name: str) -> list[str]:
    words = name.split("/")
    return ["/".join(words[:n]) for n in range(1, len(words))]


def _old_commit(raw: bytes, place: str) -> Commit:
    """A commit of format 1, which had no checksum."""
    try:
        return msgspec.json.decode(raw, type=Commit)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadStore(f"{place} is damaged: {exc}") from None


def commit_name(number: int) -> str:
    """The file of a commit."""
    return f"log/{number:010d}.json"


def checkpoint_name(number: int) -> str:
    """The file of the checkpoint after a commit."""
    return f"log/{number:010d}.checkpoint.json"


def commit_number(name: str) -> int | None:
    """The commit a file is of; None when it is no commit."""
    match = re.fullmatch(r"log/(\d{10})\.json", name)
    return int(match[1]) if match else None


def checkpoint_number(name: str) -> int | None:
    """The commit a file is the checkpoint of; None when it is none."""
    match = re.fullmatch(r"log/(\d{10})\.checkpoint\.json", name)
    return int(match[1]) if match else None
