"""A store's files on an object store, by obstore: conditional puts, ranges, and a cache for what is mapped into
memory."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from featurestore.display.text import first_line
from featurestore.errors import BadStore, Unavailable
from featurestore.storage.base import LEASES, Entry, Storage
from featurestore.storage.lease import Lease
from featurestore.storage.ranged_files import RangedFile, RangedFiles
from featurestore.storage.user_files import cache_root

# A writer on an object store is taken for dead when it has not touched its lease this long; it does with every part.
LEASE_SECONDS = 6 * 3600.0
# Seconds between reads that fail at once; one that fails after longer has been repeated by obstore.
PAUSES = (0.1, 0.5, 2.0)
OBSTORE_TRIED = 10.0


class ObjectStorage(Storage):
    """A prefix of an object store, by obstore; credentials and endpoint come from the usual AWS_... variables.

    Parquet is read in ranges where it lies; what has to be mapped into memory (vectors, indexes, tokens) is kept whole
    in a cache directory, $FEATURESTORE_CACHE or ~/.cache/featurestore. Parts never change, so the cache is never stale.
    """

    look_seconds = 1.0

    def __init__(self, url: str):
        try:
            import obstore.store
        except ImportError as exc:
            raise Unavailable(f"{url} needs {exc.name}: pip install 'featurestore[s3]'") from None
        self.location = url.rstrip("/")
        self._root = self.location
        try:
            self._store = obstore.store.from_url(self._root)
        except Exception as exc:  # obstore's own kinds, ValueError, TypeError: whatever a wrong URL meets
            raise Unavailable(f"{url} cannot be opened: {first_line(exc, 300)}") from None
        self._cache = cache_root() / hashlib.sha256(self._root.encode()).hexdigest()[:16]

    @contextlib.contextmanager
    def _translate_errors(self, doing: str) -> Iterator[None]:
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            yield
        except (FileNotFoundError, AlreadyExistsError):
            raise
        except (BaseError, OSError) as exc:
            raise Unavailable(f"{self.location}: {doing} failed: {first_line(exc, 300)}") from None

    def read(self, name: str) -> bytes:
        import obstore

        with self._translate_errors(f"reading {name}"):
            return _try_again(lambda: bytes(obstore.get(self._store, name).bytes()))

    def write(self, name: str, content: bytes) -> None:
        import obstore

        with self._translate_errors(f"writing {name}"):
            obstore.put(self._store, name, content)

    def create(self, name: str, content: bytes) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            with self._translate_errors(f"writing {name}"):
                obstore.put(self._store, name, content, mode="create")
        except AlreadyExistsError:
            raise FileExistsError(name) from None

    def entries(self, prefix: str = "") -> list[Entry]:
        import obstore

        with self._translate_errors(f"listing {prefix or 'the store'}"):
            found = [one for page in obstore.list(self._store, prefix or None) for one in page]
        return sorted(Entry(one["path"], one["size"], one["last_modified"].timestamp()) for one in found)

    def delete(self, name: str) -> bool:
        import obstore

        below = [one.name for one in self.entries(name)]  # a directory is the prefix of its files
        with self._translate_errors(f"deleting {name}"):
            for one in below:
                obstore.delete(self._store, one)
            if not below:
                try:
                    obstore.head(self._store, name)
                except FileNotFoundError:
                    return False
                obstore.delete(self._store, name)
        return True

    def stage(self, name: str) -> Path:
        folder = self._cache / "staged"
        folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=folder)) / Path(name).name

    def publish(self, staged: Path, name: str) -> None:
        import obstore

        for file in sorted(p for p in staged.rglob("*") if p.is_file()) if staged.is_dir() else [staged]:
            to = name if file == staged else f"{name}/{file.relative_to(staged).as_posix()}"
            with self._translate_errors(f"writing {to}"):
                obstore.put(self._store, to, file)
        # Written here, so it may be read here.
        kept = self._cache / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, kept)
        shutil.rmtree(staged.parent, ignore_errors=True)

    def local(self, name: str) -> Path:
        kept = self._cache / name
        if kept.exists():
            return kept
        staged = self.stage(name)
        try:
            for entry in self.entries(name) or [self._find_entry(name)]:
                file = staged if entry.name == name else staged / Path(entry.name).relative_to(name)
                self._download(entry, file)
        except BaseException:
            shutil.rmtree(staged.parent, ignore_errors=True)
            raise
        kept.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # another thread has put the same thing there
            os.replace(staged, kept)
        shutil.rmtree(staged.parent, ignore_errors=True)
        return kept

    def drop_copy(self, name: str) -> bool:
        kept = self._cache / name
        if not kept.exists():
            return False
        shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
        return True

    def _find_entry(self, name: str) -> Entry:
        import obstore

        try:
            with self._translate_errors(f"reading {name}"):
                about = obstore.head(self._store, name)
        except FileNotFoundError:
            raise self._missing(name) from None
        return Entry(name, about["size"], about["last_modified"].timestamp())

    def _download(self, entry: Entry, file: Path) -> None:
        """Copy a file to this machine. Raises Unavailable when fewer bytes came than it has."""
        import obstore

        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._translate_errors(f"reading {entry.name}"), open(file, "wb") as out:
                for chunk in obstore.get(self._store, entry.name).stream():
                    out.write(chunk)
        except FileNotFoundError:
            raise self._missing(entry.name) from None
        if file.stat().st_size != entry.bytes:
            raise Unavailable(
                f"{self.location}/{entry.name}: {file.stat().st_size:,} of its {entry.bytes:,} bytes came; try again"
            )

    def open(self, name: str, size: int | None = None) -> Any:
        kept = self._cache / name
        return kept if kept.is_file() else self._open_ranged(name, size)

    def _open_ranged(self, name: str, size: int | None) -> RangedFile:
        """Open a file where it lies; its size is asked for unless it is known. Raises BadStore when it is not there."""
        if size is None:
            size = self._find_entry(name).bytes
        return RangedFile(self.sql_path(name), size, functools.partial(self._read_range, name))

    def _read_range(self, name: str, start: int, end: int) -> bytes:
        import obstore

        try:
            with self._translate_errors(f"reading {name}"):
                return _try_again(lambda: bytes(obstore.get_range(self._store, name, start=start, end=end)))
        except FileNotFoundError:
            raise self._missing(name) from None

    def _missing(self, name: str) -> BadStore:
        return BadStore(f"{self.location}/{name} is missing; `featurestore check` says what else is")

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[Iterator[bytes]]:
        import obstore

        with self._translate_errors(f"reading {name}"):
            yield (bytes(chunk) for chunk in obstore.get(self._store, name).stream())

    def sql_path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def sql_directories(self) -> list[str]:
        return [f"{self._root}/"]

    def register(self, con: Any, sizes: Mapping[str, int]) -> None:
        by_url = {self.sql_path(name): size for name, size in sizes.items()}

        def open_url(url: str) -> RangedFile:
            name = url.removeprefix(f"{self._root}/")
            if name == url or ".." in name.split("/"):
                raise FileNotFoundError(f"{url} is no file of {self.location}")
            return self._open_ranged(name, by_url.get(url))

        con.register_filesystem(RangedFiles(open_url, by_url))

    def lease(self, writer: str) -> Lease:
        return _ObjectLease(self, f"{LEASES}/{writer}")

    def dead_writers(self) -> list[str]:
        old = time.time() - LEASE_SECONDS
        return [one.name.rpartition("/")[2] for one in self.entries(LEASES) if one.at < old]


class _ObjectLease(Lease):
    def __init__(self, storage: ObjectStorage, name: str):
        self._storage = storage
        self._name = name
        self.touch()

    def touch(self) -> None:
        self._storage.write(self._name, datetime.datetime.now(datetime.UTC).isoformat().encode())

    def release(self) -> None:
        self._storage.delete(self._name)


def _try_again(read: Callable[[], bytes]) -> bytes:
    """Read, and read again after an error that came at once: obstore does not repeat requests cut in an answer."""
    from obstore.exceptions import BaseError

    for pause in PAUSES:
        began = time.monotonic()
        try:
            return read()
        except FileNotFoundError:
            raise
        except BaseError:
            if time.monotonic() - began > OBSTORE_TRIED:
                raise
        time.sleep(pause)
    return read()
