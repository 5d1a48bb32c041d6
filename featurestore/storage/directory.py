"""The parts of a store: immutable files, made visible together by one commit of the log.

    store.json                               what this is, and its format version
    log/0000000001.json                      the commits, see log.py
    writers/<writer>                         who is writing, see lease.py
    jobs/<id>.json                           long work and how far it is, see job_records.py
    <table>/<key>/<shard>-<writer>-<n>...    the parts

A file that no commit names is invisible, such as one that a killed writer left. Its name contains the writer's, which
tells it from the work of a live writer. Two writers race for a commit number; the loser looks at what the winner
changed and either goes on or reports a conflict. Readers take no lock.
"""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import msgspec

from featurestore.errors import (
    BadStore,
    Conflict,
    NotFound,
    Unavailable,
    UnsupportedVersion,
)
from featurestore.storage import log as log_module
from featurestore.storage.base import JOBS, LEASES, Entry, Storage
from featurestore.storage.border import APPENDED, OF_A_DICTIONARY, SHARED, check_store_file
from featurestore.storage.checksums import find_changed
from featurestore.storage.local import LocalStorage
from featurestore.storage.locations import storage_at
from featurestore.storage.log import Log, Snapshot
from featurestore.storage.log_files import Commit, Part, seal, unseal
from featurestore.storage.staging import is_of, writer_of

FORMAT = 4
STORE_FILE = "store.json"
# Where a large index is built: after a kill, the next build continues with these files.
UNFINISHED = {"building", "building.lock"}


class Directory:
    """A store's files: its snapshots, and the one way to change it."""

    def __init__(self, location: str | Path | Storage, formats: Container[int] = (FORMAT,)):
        """Open a store. Raises NotFound, UnsupportedVersion or BadStore when no store of these formats is there."""
        self.storage = location if isinstance(location, Storage) else storage_at(location)
        self.location = self.storage.location
        self.log = Log(self.storage)
        self.created_at, stated = read_about(self.storage)
        # A migration that was killed may have committed the new format without stating it yet.
        known = isinstance(stated, int) and stated <= FORMAT
        self.format = max(stated, self.log.snapshot().format) if known else stated
        if self.format not in formats:
            newer = not isinstance(self.format, int) or self.format > FORMAT
            raise UnsupportedVersion(
                f"{self.location} is of format {self.format}; this version of featurestore reads format {FORMAT}: "
                + ("upgrade featurestore" if newer else f"run `featurestore migrate --store {self.location}`")
            )

    @classmethod
    def create(cls, location: str | Path) -> Directory:
        """Create an empty store. Raises Conflict for a place that is taken, Unavailable when it cannot be written."""
        storage = storage_at(location)
        path = storage.path if isinstance(storage, LocalStorage) else None
        try:
            names = [entry.name for entry in storage.entries()]
            if STORE_FILE in names:
                raise Conflict(f"there is a store at {location} already; open it, or choose another place")
            if names or (path and path.exists() and (not path.is_dir() or any(path.iterdir()))):
                raise Conflict(f"{location} exists and is not an empty directory; choose another place for the store")
            write_about(storage, FORMAT, _now())
        except OSError as exc:
            raise Unavailable(f"cannot create a store at {location}: {exc.strerror or exc}") from None
        return cls(storage)

    def snapshot(self, fresh: bool = True) -> Snapshot:
        """Return the newest snapshot; see Log.snapshot."""
        return self.log.snapshot(fresh)

    def local(self, part: Part) -> Path:
        """Return a path of this machine with the part's file or directory. Raises BadStore for a pipe or a device."""
        for name in part.files if isinstance(self.storage, LocalStorage) else ():
            self.storage.local(f"{part.file}/{name}")
        return self.storage.local(part.file)

    def open_index(self, part: Part) -> Path:
        """Return a path of this machine with the files of an index, which are as they were written.

        Libraries that read indexes trust what they read. Raises BadStore for a file that was changed or is missing.
        """
        changed = self._find_changed(part)
        if changed and self.storage.drop_copy(part.file):
            changed = self._find_changed(part)
        if changed:
            raise BadStore(
                f"{self.location}/{changed} is damaged: its content is not what its checksum says; "
                "run `featurestore index --rebuild`"
            )
        return self.local(part)

    def find_index(self, part: Part) -> Path | None:
        """Return what `open_index` does, or None where the files of the index are not as they were written."""
        try:
            return self.open_index(part) if self.is_intact(part) else None
        except BadStore:
            return None

    def is_intact(self, part: Part) -> bool:
        """Return whether an index's files have the size and, on this machine, the content they were written with."""
        return self.is_whole(part) and not (isinstance(self.storage, LocalStorage) and self._find_changed(part))

    def _find_changed(self, part: Part) -> str | None:
        """Return the name of a file of the part that is not what it was when it was written, or None."""
        digests = part.files or {"": part.sha256}
        name = find_changed(self.local(part), digests, part.bytes)
        return f"{part.file}/{name}" if name and part.files else name and part.file

    def is_whole(self, part: Part) -> bool:
        """Return whether a part's files exist and have together the size they were written with; no content is read."""
        beside = self.storage.entries(part.file.rpartition("/")[0])
        files = (file for file in beside if file.name == part.file or file.name.startswith(f"{part.file}/"))
        return sum(file.bytes for file in files) == part.bytes

    def open(self, part: Part) -> Any:
        """Return a Parquet part as pyarrow reads it."""
        return self.storage.open(part.file, part.bytes)

    def sql_path(self, part: Part) -> str:
        """Return a Parquet part as DuckDB names it."""
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
        """Make `add` visible and `remove` invisible, in one step, and return the commit as it was written.

        `needs` are files that must still count. Raises Conflict, changing nothing, when another writer has added the
        same thing, or removed a file of `remove` or `needs`.
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
        """Delete parts removed longer ago than the grace period, and what dead writers left.

        Returns how many files and directories were deleted.
        """
        swept = 0
        now = time.time()
        for name, at in self.snapshot().removed.items():
            if now - at.timestamp() >= log_module.GRACE_SECONDS:
                swept += self.storage.delete(name)
        if self.storage.dead_writers():
            for entry in self.leftovers():
                swept += self.storage.delete(entry.name)
        return swept

    def leftovers(self) -> list[Entry]:
        """Return the files of dead writers that no commit names, and those writers' leases."""
        entries = self.storage.entries()
        # Leases and the log are read after the files: they then name every writer that began or committed meanwhile.
        dead = set(self.storage.dead_writers())
        working = {entry.name.rpartition("/")[2] for entry in self.storage.entries(LEASES)} - dead
        snapshot = self.snapshot()
        named = {part.file for part in snapshot.all()} | set(snapshot.removed)
        return [entry for entry in entries if self._is_left(entry, named, working, dead)]

    def _is_left(self, entry: Entry, named: set[str], working: set[str], dead: set[str]) -> bool:
        words = entry.name.split("/")
        if words[0] == LEASES:
            return words[-1] in dead
        if words[0] == JOBS or UNFINISHED & set(words) or is_of(entry.name, named):
            return False
        if words[-1].startswith("."):
            return time.time() - entry.at > 60  # a small file is written in milliseconds
        if words[0] == "log" or entry.name == STORE_FILE:
            return False
        return writer_of(entry.name) not in working


def read_about(storage: Storage) -> tuple[datetime.datetime | None, Any]:
    """Return when the store was made, and the format its store.json states. Raises NotFound or BadStore."""
    place = f"{storage.location}/{STORE_FILE}"
    try:
        raw = storage.read(STORE_FILE)
    except FileNotFoundError:
        if isinstance(storage, LocalStorage) and not storage.path.exists():
            if re.fullmatch(r"[\w.-]+:[0-9]{1,5}(/.*)?", storage.location):
                raise NotFound(
                    f"no store at {storage.location}: for a service write http://{storage.location}"
                ) from None
            raise NotFound(
                f"no store at {storage.location}: there is no such directory; `featurestore demo` makes one to try"
            ) from None
        raise NotFound(f"{storage.location} is not a store: it has no store.json") from None
    except NotADirectoryError:
        raise NotFound(f"{storage.location} is not a directory") from None
    try:
        plain = msgspec.json.decode(raw, type=dict[str, Any])
        about = plain if "format" in plain else unseal(raw, dict[str, Any], place)
        created_at = msgspec.convert(about.get("created_at"), datetime.datetime | None)
        stated = about["format"]
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, UnicodeDecodeError, RecursionError) as exc:
        raise BadStore(f"{place} cannot be read: {exc}") from None
    check_store_file(created_at, stated, place)
    return created_at, stated


def write_about(storage: Storage, format: int, created_at: datetime.datetime | None) -> None:
    """Write store.json, which makes a directory a store."""
    storage.write(STORE_FILE, seal({"format": format, "created_at": created_at}))


def _new_parts(snapshot: Snapshot, wanted: tuple[Part, ...], remove: tuple[str, ...]) -> tuple[Part, ...]:
    """Return `wanted` without the parts that another writer has added meanwhile with the same content."""
    present = [part for table in SHARED for part in snapshot.parts(table) if part.file not in remove]
    shared = {(part.place, part.sha256) for part in present}
    return tuple(part for part in wanted if (part.place, part.sha256) not in shared)


def _check_conflicts(
    snapshot: Snapshot, add: tuple[Part, ...], remove: tuple[str, ...], needs: tuple[str, ...]
) -> None:
    live = {part.file: part for part in snapshot.all()}
    missing = [file for file in (*remove, *needs) if file not in live]
    if missing:
        table, _, rest = missing[0].partition("/")
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
    dictionaries = {part.key for part in [*kept, *add] if part.table == "dictionaries"}
    for part in add:
        if part.table in OF_A_DICTIONARY and part.key not in dictionaries:
            raise Conflict(f"the store has no dictionary {part.key} to take {part.table} of; nothing was written")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
