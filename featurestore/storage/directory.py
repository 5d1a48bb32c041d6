"""The parts of a store: immutable files, made visible together by one commit of the log.

    store.json                               what this is, and its format version
    log/0000000001.json                      the commits, see log.py
    writers/<writer>                         who is writing, see storage.py
    jobs/<id>.json                           long work and how far it is, see job_records.py
    <table>/<key>/<shard>-<writer>-<n>...    the parts

A file no commit names is invisible: whatever a killed writer left. Its name says whose it is, so that it can be told from
the work of a writer that lives. Two writers race for a commit number; the loser looks at what the winner changed and
either goes on or reports a conflict. Readers take no lock.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import time
import uuid
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from featurestore.errors import (
    BadRequest,
    BadStore,
    Conflict,
    NotFound,
    Unavailable,
    UnsupportedVersion,
)
from featurestore.storage import log as log_module
from featurestore.storage.base import JOBS, LEASES, Entry, Storage
from featurestore.storage.lease import Lease
from featurestore.storage.local import LocalStorage
from featurestore.storage.locations import storage_at
from featurestore.storage.log import Commit, Log, Part, Snapshot, seal, unseal

FORMAT = 3
STORE_FILE = "store.json"
# Where a large index is built: what is there after a kill is gone on with.
UNFINISHED = {"building", "building.lock"}

# Parts that belong to a dictionary and go with it; `key` is its id.
OF_A_DICTIONARY = (
    "dictionaries",
    "features",
    "feature_rows",
    "examples",
    "example_rows",
    "contexts",
    "labels",
    "label_rows",
    "votes",
    "scores",
    "decoder_vectors",
    "token_index",
)
# Parts of an attribution graph; `key` is its name.
OF_A_GRAPH = ("graphs", "graph_nodes", "graph_links")
# Parts of which one key may have many: each writer appends its own.
APPENDED = ("labels", "votes", "scores")
# Parts whose key is a hash of their content: two writers that add the same one agree.
SHARED = ("tokenizers", "documents", "tokens", "token_stream")


class Directory:
    """A store's files: its snapshots, and the one way to change it."""

    def __init__(self, location: str | Path | Storage, formats: Container[int] = (FORMAT,)):
        """Raises NotFound, UnsupportedVersion or BadStore when there is no store of one of these formats."""
        self.storage = location if isinstance(location, Storage) else storage_at(location)
        self.location = self.storage.location
        self.log = Log(self.storage)
        self.created_at, stated = read_about(self.storage)
        # A migration that was killed may have committed the new format without stating it yet.
        found = max(stated, self.log.snapshot().format) if isinstance(stated, int) and stated <= FORMAT else stated
        self.format = found
        if found not in formats:
            raise UnsupportedVersion(
                f"{self.location} is of format {found}; this version of featurestore reads format {FORMAT}: "
                + ("upgrade featurestore" if not isinstance(found, int) or found > FORMAT else _migrate(self.location))
            )

    @classmethod
    def create(cls, location: str | Path) -> Directory:
        """A new, empty store. Raises Conflict when something else is there, Unavailable when it cannot be written."""
        storage = storage_at(location)
        path = storage.path if isinstance(storage, LocalStorage) else None
        try:
            names = [one.name for one in storage.entries()]
            if STORE_FILE in names:
                raise Conflict(f"there is a store at {location} already; open it, or choose another place")
            if names or (path and path.exists() and (not path.is_dir() or any(path.iterdir()))):
                raise Conflict(f"{location} exists and is not an empty directory; choose another place for the store")
            write_about(storage, FORMAT, _now())
        except OSError as exc:
            raise Unavailable(f"cannot create a store at {location}: {exc.strerror or exc}") from None
        return cls(storage)

    def snapshot(self, fresh: bool = True) -> Snapshot:
        """The newest snapshot; see Log.snapshot."""
        return self.log.snapshot(fresh)

    def local(self, part: Part) -> Path:
        """A path of this machine with the part's file or directory."""
        return self.storage.local(part.file)

    def is_whole(self, part: Part) -> bool:
        """Whether a part's files are there, in all as long as they were written; what is in them is not read."""
        beside = self.storage.entries(part.file.rpartition("/")[0])
        own = (one.bytes for one in beside if one.name == part.file or one.name.startswith(f"{part.file}/"))
        return sum(own) == part.bytes

    def open(self, part: Part) -> Any:
        """A Parquet part as pyarrow reads it."""
        return self.storage.open(part.file, part.bytes)

    def sql_path(self, part: Part) -> str:
        """A Parquet part as DuckDB names it."""
        return self.storage.sql_path(part.file)

    def commit(
        self,
        add: Iterable[Part],
        remove: Iterable[str],
        by: str,
        writer: str,
        needs: Iterable[str] = (),
        format: int = FORMAT,
    ) -> Commit:
        """Make `add` visible and `remove` invisible, in one step; the commit as it was written.

        Raises Conflict, changing nothing, when another writer has made the same thing, or removed what this removes too
        or `needs`: files that must still count.
        """
        wanted, remove, needs = tuple(add), tuple(remove), tuple(needs)
        while True:
            snapshot = self.snapshot()
            add = _new_parts(snapshot, wanted, remove)
            _check_conflicts(snapshot, add, remove, needs)
            commit = Commit(
                commit=snapshot.commit + 1, at=_now(), by=by, writer=writer, format=format, add=add, remove=remove
            )
            try:
                self.log.append(commit)
            except FileExistsError:
                continue  # another writer took the number: look at what it did, and try the next
            return commit

    def sweep(self) -> int:
        """Delete what nobody needs: parts removed longer ago than the grace period, and what dead writers left.

        How many files and directories went.
        """
        swept = 0
        now = time.time()
        for name, at in self.snapshot().removed.items():
            if now - at.timestamp() >= log_module.GRACE_SECONDS:
                swept += self.storage.delete(name)
        if self.storage.dead_writers():
            for one in self.leftovers():
                swept += self.storage.delete(one.name)
        return swept

    def leftovers(self) -> list[Entry]:
        """Files that no commit names, of writers that work no more, and those writers' leases."""
        entries = self.storage.entries()
        # Leases and the log are looked at after the files: whoever has begun or committed meanwhile is known by then.
        dead = set(self.storage.dead_writers())
        working = {one.name.rpartition("/")[2] for one in self.storage.entries(LEASES)} - dead
        snapshot = self.snapshot()
        named = {part.file for part in snapshot.all()} | set(snapshot.removed)
        found = []
        for one in entries:
            words = one.name.split("/")
            if words[0] == LEASES:
                left = words[-1] in dead
            elif words[0] == JOBS or UNFINISHED & set(words) or is_of(one.name, named):
                left = False
            elif words[-1].startswith("."):
                left = time.time() - one.at > 60  # a small file under way takes milliseconds
            elif words[0] == "log" or one.name == STORE_FILE:
                left = False
            else:
                left = writer_of(one.name) not in working
            if left:
                found.append(one)
        return found


class Staging:
    """The files of one writer, until they are committed."""

    def __init__(self, directory: Directory, helped: str = ""):
        """`helped` is the writer for which these files are made elsewhere: it holds the lease, and they bear its name."""
        self.writer = helped or uuid.uuid4().hex[:12]
        self._directory = directory
        self._lease: Lease | None = None if helped else directory.storage.lease(self.writer)
        self._mark = f"{uuid.uuid4().hex[:8]}-" if helped else ""
        self._count = 0
        self._names: list[str] = []
        self._kept: set[str] = set()
        self._is_helped = False

    def new_file(self, table: str, key: str, shard: int, suffix: str) -> tuple[str, Path]:
        """Name and place of a new part. Raises BadRequest for a key that would lead elsewhere."""
        if any(word in ("", ".", "..") or "\0" in word or word.startswith(".") for word in key.split("/")):
            raise BadRequest(
                f"'{key}' cannot name a part of the store: its words must not be empty or begin with a dot"
            )
        self._count += 1
        name = f"{table}/{key}/{shard:05d}-{self.writer}-{self._mark}{self._count}{suffix}"
        self._names.append(name)
        return name, self._directory.storage.stage(name)

    def part(self, name: str, staged: Path, **fields: Any) -> Part:
        """The Part of what was built at `staged`, made durable; `fields` are those of Part that do not follow from it."""
        digest, files, size = fingerprint(staged)
        self._directory.storage.publish(staged, name)
        self._touch()
        return Part(file=name, bytes=size, sha256=digest, files=files, **fields)

    def expect_help(self) -> None:
        """Files of this writer may be made elsewhere, also such as nobody tells of since who made them was killed."""
        self._is_helped = True

    def adopt(self, part: Part, content: Mapping[str, bytes] | None) -> None:
        """Take in a part that was made elsewhere; `content` is as `read_content` gives it, None if the part is here."""
        self._names.append(part.file)
        if content is not None:
            staged = self._directory.storage.stage(part.file)
            for name, raw in content.items():
                file = staged / name if name else staged
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(raw)
            self._directory.storage.publish(staged, part.file)
        self._touch()

    def keep(self, names: Iterable[str]) -> None:
        """These are no longer this writer's to delete."""
        self._kept.update(names)
        self._names = [name for name in self._names if name not in self._kept]

    def close(self) -> None:
        """Delete what was not kept, and say that this writer is done."""
        if self._is_helped:
            names = [entry.name for entry in self._directory.storage.entries()]
            self._names = [name for name in names if writer_of(name) == self.writer and not is_of(name, self._kept)]
        for name in self._names:
            self._directory.storage.delete(name)
        self._names = []
        if self._lease:
            self._lease.release()

    def _touch(self) -> None:
        if self._lease:
            self._lease.touch()


def fingerprint(path: Path) -> tuple[str, dict[str, str], int]:
    """sha256 and size of a file; of a directory, the sha256 of its files' hashes, which come by name."""
    if not path.is_dir():
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest(), {}, path.stat().st_size
    files, size = {}, 0
    for one in sorted(p for p in path.rglob("*") if p.is_file()):
        digest, _, bytes_ = fingerprint(one)
        files[one.relative_to(path).as_posix()] = digest
        size += bytes_
    return hashlib.sha256(msgspec.json.encode(files)).hexdigest(), files, size


def read_content(path: Path) -> dict[str, bytes]:
    """The bytes of a file, under an empty name; of a directory, those of each file in it, by its name there."""
    if not path.is_dir():
        return {"": path.read_bytes()}
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def is_of(name: str, parts: Container[str]) -> bool:
    """Whether a file is one of these parts or lies in one: a part can be a directory."""
    words = name.split("/")
    return any("/".join(words[:n]) in parts for n in range(2, len(words) + 1))


def writer_of(name: str) -> str:
    """The writer of a part or of a file in it, by its name; empty when the name says nothing."""
    for word in name.split("/"):
        match = re.match(r"\d{5}-([0-9a-f]{12})(?:-[0-9a-f]{8})?(?:-\d+)?(?:\.|$)", word)
        if match:
            return match[1]
    return ""


def read_about(storage: Storage) -> tuple[datetime.datetime | None, Any]:
    """When the store was made, and the format its store.json states. Raises NotFound or BadStore."""
    place = f"{storage.location}/{STORE_FILE}"
    try:
        raw = storage.read(STORE_FILE)
    except FileNotFoundError:
        if isinstance(storage, LocalStorage) and not storage.path.exists():
            raise NotFound(
                f"no store at {storage.location}: there is no such directory; `featurestore demo` makes one to try"
            ) from None
        raise NotFound(f"{storage.location} is not a store: it has no store.json") from None
    except NotADirectoryError:
        raise NotFound(f"{storage.location} is not a directory") from None
    try:
        plain = msgspec.json.decode(raw)
        about = plain if "format" in plain else unseal(raw, dict[str, Any], place)
        return msgspec.convert(about.get("created_at"), datetime.datetime | None), about["format"]
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError, UnicodeDecodeError) as exc:
        raise BadStore(f"{place} cannot be read: {exc}") from None


def write_about(storage: Storage, format: int, created_at: datetime.datetime | None) -> None:
    """Write store.json: until it is there, this is not a store."""
    storage.write(STORE_FILE, seal({"format": format, "created_at": created_at}))


def _new_parts(snapshot: Snapshot, wanted: tuple[Part, ...], remove: tuple[str, ...]) -> tuple[Part, ...]:
    """`wanted` without what another writer has added meanwhile, content for content."""
    there = [part for table in SHARED for part in snapshot.parts(table) if part.file not in remove]
    shared = {(part.place, part.sha256) for part in there}
    return tuple(part for part in wanted if (part.place, part.sha256) not in shared)


def _check_conflicts(
    snapshot: Snapshot, add: tuple[Part, ...], remove: tuple[str, ...], needs: tuple[str, ...]
) -> None:
    live = {part.file: part for part in snapshot.all()}
    gone = [file for file in (*remove, *needs) if file not in live]
    if gone:
        table, _, rest = gone[0].partition("/")
        raise Conflict(
            f"another writer replaced or removed {table} of {rest.rpartition('/')[0]} meanwhile; nothing was written, "
            "run the command again"
        )
    removed = set(remove)
    kept = [part for part in live.values() if part.file not in removed]
    taken = {part.place for part in kept}
    for part in add:
        if part.place in taken and part.table not in APPENDED:
            raise Conflict(f"the store has {part.table} of {part.key} already; nothing was written")
    there = {part.key for part in [*kept, *add] if part.table == "dictionaries"}
    for part in add:
        if part.table in OF_A_DICTIONARY and part.key not in there:
            raise Conflict(f"the store has no dictionary {part.key} to take {part.table} of; nothing was written")


def _migrate(location: str) -> str:
    return f"run `featurestore migrate --store {location}`"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
