"""The log of a store: numbered commits that say which parts count, and checkpoints to begin reading from.

    log/0000000001.json              commit 1: the parts it adds and removes
    log/0000000100.checkpoint.json   every part that counts after commit 100

A reader that looks again sees the next commit by one look at its name. Commits before the newest checkpoint are deleted
after a grace period. log_files.py has what is in a file.
"""

from __future__ import annotations

import datetime
import functools
import time

import msgspec

from featurestore.errors import BadStore
from featurestore.storage.base import Storage
from featurestore.storage.border import check_checkpoint, check_commit
from featurestore.storage.log_files import (
    Checkpoint,
    Commit,
    Part,
    checkpoint_name,
    checkpoint_number,
    commit_name,
    commit_number,
    read_commit,
    seal,
    unseal,
)

# Files a commit has removed, and commits a checkpoint has, are kept this long for readers that looked before.
GRACE_SECONDS = 300.0
CHECKPOINT_COMMITS = 100


class Snapshot:
    """The parts that count after one commit. Never changes."""

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
    def _by_table(self) -> dict[str, dict[str, list[Part]]]:
        by_table: dict[str, dict[str, list[Part]]] = {}
        for part in sorted(self._parts.values(), key=lambda part: (part.key, part.shard, part.file)):
            by_table.setdefault(part.table, {}).setdefault(part.key, []).append(part)
        return by_table

    def parts(self, table: str, key: str | None = None) -> list[Part]:
        """Return the live parts of a table, of one key if given, ordered by key, shard and file."""
        keys = self._by_table.get(table, {})
        return [part for parts in keys.values() for part in parts] if key is None else list(keys.get(key, ()))

    def keys(self, table: str) -> list[str]:
        """Return the keys of a table's parts, in order."""
        return list(self._by_table.get(table, {}))

    def evidence(self, dictionary: str) -> list[str]:
        """Return the hashes of what a dictionary's examples and statistics were first written as, sorted; [] of none.

        Compacting keeps them; another harvest does not.
        """
        parts = [part for table in ("examples", "features") for part in self.parts(table, dictionary)]
        return sorted(part.origin for part in parts)

    def all(self) -> list[Part]:
        """Return every live part."""
        return list(self._parts.values())

    def has(self, table: str, key: str) -> bool:
        """Return whether a live part of this table and key exists."""
        return key in self._by_table.get(table, {})

    def after(self, commit: Commit) -> Snapshot:
        """Return the snapshot after one more commit."""
        removals = set(commit.remove)
        parts = {file: part for file, part in self._parts.items() if file not in removals}
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
        """Return the newest snapshot; a second call without a commit in between costs one look at a name.

        Unless `fresh`, it may be as old as the storage allows: a second on an object store.
        """
        now = time.monotonic()
        if not fresh and self._snapshot is not None and now - self._looked < self._storage.look_seconds:
            return self._snapshot
        # Commits are kept for the grace period: a reader that looked more recently cannot have missed one.
        listed = self._snapshot is None or now - self._looked > GRACE_SECONDS / 2
        if listed:
            self._start()
        assert self._snapshot is not None
        while (commit := self.read(self._snapshot.commit + 1)) is not None:
            self._snapshot = self._snapshot.after(commit)
        if listed and self._snapshot.commit < self._highest:
            raise self._damage or BadStore(
                f"{self._storage.location}/{commit_name(self._snapshot.commit + 1)} is missing, "
                "but later commits are there"
            )
        self._looked = now
        return self._snapshot

    def read(self, number: int) -> Commit | None:
        """Return a commit; None when it is not written yet. Raises BadStore when it is damaged."""
        name = commit_name(number)
        try:
            raw = self._storage.read(name)
        except FileNotFoundError:
            return None
        place = f"{self._storage.location}/{name}"
        commit = read_commit(raw, place)
        if commit.commit != number:
            raise BadStore(f"{place} is damaged: it says it is commit {commit.commit}")
        check_commit(commit, place)
        return commit

    def append(self, commit: Commit) -> None:
        """Write the commit that follows the snapshot. Raises FileExistsError when another writer took its number."""
        assert self._snapshot is not None and commit.commit == self._snapshot.commit + 1
        check_commit(commit, "this commit")  # what no reader would take must not be written either
        try:
            self._storage.create(commit_name(commit.commit), seal(commit))
        except FileExistsError:
            # An object store may have written it and lost the answer on the way.
            written = self.read(commit.commit)
            if written is None or not commit.writer or written.writer != commit.writer:
                raise
        self._snapshot = self._snapshot.after(commit)

    def tidy(self) -> None:
        """Write a checkpoint when one is due, and delete commits and checkpoints that no reader needs any more."""
        snapshot = self.snapshot()
        files = self._storage.entries("log")
        checkpoints = sorted(n for entry in files if (n := checkpoint_number(entry.name)) is not None)
        newest = checkpoints[-1] if checkpoints else 0
        if snapshot.commit - newest >= CHECKPOINT_COMMITS:
            self.write_checkpoint(snapshot)
        old = time.time() - GRACE_SECONDS
        kept = max((n for entry in files if (n := checkpoint_number(entry.name)) and entry.at < old), default=0)
        for entry in files:
            number = commit_number(entry.name)
            before = checkpoint_number(entry.name)
            passed = (number is not None and number <= kept) or (before is not None and before < kept)
            if passed and entry.at < old:
                self._storage.delete(entry.name)

    def write_checkpoint(self, snapshot: Snapshot) -> None:
        """Write the checkpoint of a snapshot, in place of a damaged one."""
        # Removed files that have been deleted need no record. A part can be a directory, that is, a prefix of names.
        present = (
            {name for entry in self._storage.entries() for name in (entry.name, *_list_parents(entry.name))}
            if snapshot.removed
            else ()
        )
        content = Checkpoint(
            commit=snapshot.commit,
            at=snapshot.at or datetime.datetime.now(datetime.UTC),
            format=snapshot.format,
            parts=tuple(sorted(snapshot.all(), key=lambda part: part.file)),
            removed={name: at for name, at in snapshot.removed.items() if name in present},
        )
        self._storage.write(checkpoint_name(snapshot.commit), seal(content))

    def checkpoint(self, number: int) -> Checkpoint:
        """Return a checkpoint. Raises FileNotFoundError, or BadStore when it is damaged."""
        name = checkpoint_name(number)
        place = f"{self._storage.location}/{name}"
        checkpoint = unseal(self._storage.read(name), Checkpoint, place)
        if checkpoint.commit != number:
            raise BadStore(f"{place} is damaged: it says it is of commit {checkpoint.commit}")
        check_checkpoint(checkpoint, place)
        return checkpoint

    def _start(self) -> None:
        """Begin from the newest readable checkpoint, unless the present snapshot is newer; note the log's end."""
        names = [entry.name for entry in self._storage.entries("log")]
        commits = [n for name in names if (n := commit_number(name)) is not None]
        checkpoints = sorted((n for name in names if (n := checkpoint_number(name)) is not None), reverse=True)
        self._highest = max([*commits, *checkpoints], default=0)
        self._damage = None
        present = self._snapshot or Snapshot(0, {})
        self._snapshot = present
        for number in checkpoints:
            if number <= present.commit:
                return
            try:
                checkpoint = self.checkpoint(number)
            except FileNotFoundError:
                continue
            except BadStore as exc:
                self._damage = exc  # an older one, or the commits themselves, may still be there
                continue
            parts = {part.file: part for part in checkpoint.parts}
            self._snapshot = Snapshot(
                checkpoint.commit, parts, dict(checkpoint.removed), checkpoint.at, checkpoint.format
            )
            return


def _list_parents(name: str) -> list[str]:
    words = name.split("/")
    return ["/".join(words[:n]) for n in range(1, len(words))]
