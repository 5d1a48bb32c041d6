"""The directory a store is: immutable files, and a log of commits that says which of them count.

    store.json                     format version, written once
    log/0000000001.json            commit 1: the parts it adds and removes; appears whole, by one atomic link
    <table>/<key>/<shard>-<id>...  the parts

A file no commit names is invisible: whatever a killed writer left. Two writers race for a commit number; the loser
looks at what the winner changed and either goes on or reports a conflict. Readers take no lock.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from featurestore.errors import BadRequest, BadStore, Conflict, NotFound, Unavailable, UnsupportedVersion

FORMAT = 1
# Files a commit has removed are kept this long, for readers that opened the store before it.
GRACE_SECONDS = 300.0

# Parts that belong to a dictionary and go with it; `key` is its id.
OF_A_DICTIONARY = ("dictionaries", "features", "examples", "labels", "decoder_vectors")
# Parts of which one key may have many: each writer appends its own.
APPENDED = ("labels",)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable file (or directory, for a keyword index) and what it holds.

    `table` is a table of schema.sql, or decoder_vectors, decoder_index, label_index, keyword_index. `key` is what it
    belongs to: a dictionary, corpus, tokenizer or space. `about` is what an index was built from and with.
    """

    file: str
    table: str
    key: str
    shard: int
    rows: int
    bytes: int
    sha256: str
    about: dict[str, Any] = {}

    @property
    def place(self) -> tuple[str, str, int]:
        """What this part is the content of; only one live part may be (appended tables apart)."""
        return (self.table, self.key, self.shard)


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log."""

    commit: int
    at: datetime.datetime
    by: str
    add: tuple[Part, ...] = ()
    remove: tuple[str, ...] = ()


class Snapshot:
    """The parts that count after a certain commit. Never changes."""

    def __init__(self, commit: int, parts: dict[str, Part]):
        self.commit = commit
        self._parts = parts

    def parts(self, table: str, key: str | None = None) -> list[Part]:
        """The live parts of a table, of one key if given, in a fixed order."""
        found = (p for p in self._parts.values() if p.table == table and (key is None or p.key == key))
        return sorted(found, key=lambda part: (part.key, part.shard, part.file))

    def all(self) -> list[Part]:
        """Every live part."""
        return list(self._parts.values())

    def has(self, table: str, key: str) -> bool:
        """Whether a live part of this table and key exists."""
        return any(p.table == table and p.key == key for p in self._parts.values())

    def after(self, commit: Commit) -> Snapshot:
        """The snapshot that follows by `commit`."""
        parts = {file: part for file, part in self._parts.items() if file not in commit.remove}
        return Snapshot(commit.commit, parts | {part.file: part for part in commit.add})


class Directory:
    """A store's directory: its snapshots, and the one way to change it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._check_format()
        self._snapshot = Snapshot(0, {})

    @classmethod
    def create(cls, path: str | Path) -> Directory:
        """A new, empty store. Raises Conflict when something else is there, Unavailable when it cannot be written."""
        path = Path(path)
        if (path / "store.json").exists():
            raise Conflict(f"there is a store at {path} already; open it, or choose another place")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise Conflict(f"{path} exists and is not an empty directory; choose another place for the store")
        try:
            (path / "log").mkdir(parents=True, exist_ok=True)
            # store.json comes last: until it is there, this is not a store.
            about = {"format": FORMAT, "created_at": _now()}
            _write_whole(path / "store.json", msgspec.json.format(msgspec.json.encode(about)))
        except OSError as exc:
            raise Unavailable(f"cannot create a store at {path}: {exc.strerror or exc}") from None
        return cls(path)

    def _check_format(self) -> None:
        file = self.path / "store.json"
        if not self.path.exists():
            raise NotFound(f"no store at {self.path}: there is no such directory; `featurestore demo` makes one to try")
        if not file.is_file():
            raise NotFound(f"{self.path} is not a store: it has no store.json")
        try:
            found = msgspec.json.decode(file.read_bytes())["format"]
        except (msgspec.DecodeError, KeyError, TypeError, OSError) as exc:
            raise BadStore(f"{file} cannot be read: {exc}") from None
        if found != FORMAT:
            raise UnsupportedVersion(
                f"{self.path} is of format {found}; this version of featurestore reads format {FORMAT}: "
                + ("upgrade featurestore" if isinstance(found, int) and found > FORMAT else "build the store again")
            )

    def _log_file(self, commit: int) -> Path:
        return self.path / "log" / f"{commit:010d}.json"

    def snapshot(self) -> Snapshot:
        """The newest snapshot; asking again when nothing was committed costs one look at the directory."""
        while True:
            file = self._log_file(self._snapshot.commit + 1)
            try:
                raw = file.read_bytes()
            except FileNotFoundError:
                return self._snapshot
            except OSError as exc:
                raise BadStore(f"{file} cannot be read: {exc.strerror or exc}") from None
            try:
                commit = msgspec.json.decode(raw, type=Commit)
            except msgspec.DecodeError as exc:
                raise BadStore(f"{file} is damaged: {exc}") from None
            self._snapshot = self._snapshot.after(commit)

    def full_path(self, part: Part) -> Path:
        """Where the part's file is."""
        return self.path / part.file

    def new_file(self, table: str, key: str, shard: int, suffix: str) -> Path:
        """A place for a new part; its directory is made. Nobody sees the file before a commit names it.

        Raises BadRequest for a key that would lead elsewhere.
        """
        if any(word in ("", ".", "..") or "\0" in word for word in key.split("/")):
            raise BadRequest(f"'{key}' cannot name a part of the store: its words must not be empty, . or ..")
        file = self.path / table / key / f"{shard:05d}-{uuid.uuid4().hex[:12]}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def part(self, file: Path, *, table: str, key: str, shard: int = 0, rows: int, about: dict[str, Any] | None = None):
        """The Part of a file just written, made durable."""
        files = sorted(p for p in file.rglob("*") if p.is_file()) if file.is_dir() else [file]
        digest, size = hashlib.sha256(), 0
        for one in files:
            with open(one, "rb") as f:
                while chunk := f.read(1 << 20):
                    digest.update(chunk)
                    size += len(chunk)
                os.fsync(f.fileno())
        return Part(
            file=file.relative_to(self.path).as_posix(),
            table=table,
            key=key,
            shard=shard,
            rows=rows,
            bytes=size,
            sha256=digest.hexdigest(),
            about=about or {},
        )

    def commit(self, add: Iterable[Part], remove: Iterable[str], by: str) -> int:
        """Make `add` visible and `remove` invisible, in one step; the commit's number.

        Raises Conflict, changing nothing, when another writer has made the same thing or removed what this needs.
        """
        add, remove = tuple(add), tuple(remove)
        while True:
            snapshot = self.snapshot()
            _check_conflicts(snapshot, add, remove)
            commit = Commit(commit=snapshot.commit + 1, at=_now(), by=by, add=add, remove=remove)
            try:
                _write_whole(self._log_file(commit.commit), msgspec.json.encode(commit), exclusive=True)
            except FileExistsError:
                continue  # another writer took the number: look at what it did, and try the next
            self._snapshot = snapshot.after(commit)
            return commit.commit

    def sweep(self) -> int:
        """Delete files that commits older than the grace period removed; how many."""
        swept = 0
        for file in sorted((self.path / "log").glob("*.json")):
            commit = msgspec.json.decode(file.read_bytes(), type=Commit)
            if time.time() - commit.at.timestamp() < GRACE_SECONDS:
                continue
            for name in commit.remove:
                swept += discard(self.path / name)
        return swept


def discard(path: Path) -> bool:
    """Delete a part's file or directory if it is there; whether it was."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return True
    try:
        path.unlink()
        return True
    except FileNotFoundError:
        return False


def _check_conflicts(snapshot: Snapshot, add: tuple[Part, ...], remove: tuple[str, ...]) -> None:
    live = {part.file: part for part in snapshot.all()}
    gone = [file for file in remove if file not in live]
    if gone:
        raise Conflict(f"another writer removed {gone[0]} meanwhile; nothing was written, run the command again")
    kept = [part for part in live.values() if part.file not in remove]
    taken = {part.place for part in kept}
    for part in add:
        if part.place in taken and part.table not in APPENDED:
            raise Conflict(f"the store has {part.table} of {part.key} already; nothing was written")
    there = {part.key for part in [*kept, *add] if part.table == "dictionaries"}
    for part in add:
        if part.table in OF_A_DICTIONARY and part.key not in there:
            raise Conflict(f"the store has no dictionary {part.key} to take {part.table} of; nothing was written")


def _write_whole(path: Path, content: bytes, exclusive: bool = False) -> None:
    """Write a file that appears whole or not at all. With `exclusive`, FileExistsError when it is there."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        if exclusive:
            os.link(temporary, path)  # unlike rename, refuses to replace
        else:
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
