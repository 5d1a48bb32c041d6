"""Where a store's files live: a directory of this machine, or a prefix of an object store. Bytes and names, no meaning.

Both give the same few promises, which is all the log and the parts are built on: a small file appears whole or not at
all; `create` refuses to replace, so that one of two writers finds out; a part is built on this machine and then
published; a writer that has died can be told from one that works.
"""

from __future__ import annotations

import abc
import contextlib
import datetime
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from featurestore.errors import BadStore, NotFound, Unavailable

LEASES = "writers"
# A writer on an object store is taken for dead when it has not touched its lease this long; it does with every part.
LEASE_SECONDS = 6 * 3600.0


class Entry(NamedTuple):
    """A file that is there: its name in the store, its size in bytes and when it was written (seconds since 1970)."""

    name: str
    bytes: int
    at: float


class Storage(abc.ABC):
    """Files by name; a name has words between slashes and is relative to the store."""

    location: str

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file. Raises FileNotFoundError; BadStore when it is there and cannot be read."""

    @abc.abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a small file, whole or not at all, in place of one that is there."""

    @abc.abstractmethod
    def create(self, name: str, content: bytes) -> None:
        """Write a small file, whole or not at all. Raises FileExistsError, changing nothing, when it is there."""

    @abc.abstractmethod
    def entries(self, prefix: str = "") -> list[Entry]:
        """Every file below a directory, ordered by name."""

    @abc.abstractmethod
    def delete(self, name: str) -> bool:
        """Delete a file, or a directory with all that is in it; whether something was there."""

    @abc.abstractmethod
    def stage(self, name: str) -> Path:
        """A place on this machine to build the part `name` (a file or a directory) in."""

    @abc.abstractmethod
    def publish(self, staged: Path, name: str) -> None:
        """Make what was built there durable, as `name`. Nobody looks at it before a commit names it."""

    @abc.abstractmethod
    def local(self, name: str) -> Path:
        """A path of this machine with the part `name`, which may be a directory. Raises BadStore when it is not there."""

    @abc.abstractmethod
    def open(self, name: str) -> Any:
        """The file as pyarrow reads it: a path, or an open file. Raises BadStore when it is not there."""

    @abc.abstractmethod
    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[Iterator[bytes]]:
        """The bytes of the file where it lies, in chunks, past any cache. Raises FileNotFoundError."""

    @abc.abstractmethod
    def sql_path(self, name: str) -> str:
        """The file as DuckDB names it."""

    @abc.abstractmethod
    def sql_directories(self) -> list[str]:
        """The directories that hold what `sql_path` names, for DuckDB's list of what may be read."""

    def register(self, con: Any) -> None:  # noqa: B027 - a directory needs nothing
        """Teach a DuckDB connection to read `sql_path`s."""

    @abc.abstractmethod
    def lease(self, writer: str) -> Lease:
        """Say that a writer works, until the lease is released or its process dies."""

    @abc.abstractmethod
    def dead_writers(self) -> list[str]:
        """Writers that left a lease and work no more."""


class Lease(abc.ABC):
    """The sign that a writer works."""

    @abc.abstractmethod
    def touch(self) -> None:
        """Still working."""

    @abc.abstractmethod
    def release(self) -> None:
        """Done."""


class LocalStorage(Storage):
    """A directory of this machine."""

    def __init__(self, path: Path):
        self.path = path
        self.location = str(path)

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise BadStore(f"{self.path / name} cannot be read: {exc.strerror or exc}") from None

    def write(self, name: str, content: bytes) -> None:
        with self._whole(name, content) as temporary:
            os.replace(temporary, self.path / name)

    def create(self, name: str, content: bytes) -> None:
        with self._whole(name, content) as temporary:
            os.link(temporary, self.path / name)  # unlike rename, refuses to replace

    @contextlib.contextmanager
    def _whole(self, name: str, content: bytes) -> Iterator[Path]:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
        try:
            with open(temporary, "wb") as f:
                f.write(content)
                f.flush()
                os.fsync(f.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
        _sync(file.parent)

    def entries(self, prefix: str = "") -> list[Entry]:
        found = []
        for folder, _, names in os.walk(self.path / prefix if prefix else self.path):
            for name in names:
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):  # swept meanwhile
                    about = os.stat(path)
                    found.append(Entry(os.path.relpath(path, self.path), about.st_size, about.st_mtime))
        return sorted(found)

    def delete(self, name: str) -> bool:
        path = self.path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            return True
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        return True

    def stage(self, name: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def publish(self, staged: Path, name: str) -> None:
        for one in [staged, *staged.rglob("*")] if staged.is_dir() else [staged]:
            _sync(one)
        # The names of new directories are as mortal as the files in them.
        for folder in staged.parents:
            _sync(folder)
            if folder == self.path:
                break

    def local(self, name: str) -> Path:
        return self.path / name

    def open(self, name: str) -> Path:
        file = self.path / name
        if not file.is_file():
            raise BadStore(f"{file} is missing; `featurestore check` says what else is")
        return file

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[Iterator[bytes]]:
        with open(self.path / name, "rb") as file:
            yield iter(lambda: file.read(1 << 20), b"")

    def sql_path(self, name: str) -> str:
        return str(self.path / name)

    def sql_directories(self) -> list[str]:
        return [str(self.path.resolve()), str(self.path)]

    def lease(self, writer: str) -> Lease:
        return _FileLease(self.path / LEASES / writer)

    def dead_writers(self) -> list[str]:
        found = []
        for file in sorted((self.path / LEASES).glob("*")):
            with contextlib.suppress(OSError), open(file, "rb") as f:
                # The lock of a process that was killed is free.
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(file.name)
        return found


class _FileLease(Lease):
    def __init__(self, file: Path):
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        # Locked under another name, so that nobody finds it unlocked.
        hidden = file.parent.parent / f".{file.name}.lease"
        handle = os.open(hidden, os.O_CREAT | os.O_WRONLY, 0o644)
        # A writer that nobody closed lets go of its lock when it is forgotten.
        self._unlock = weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.replace(hidden, file)
        except OSError:
            self._unlock()
            hidden.unlink(missing_ok=True)
            raise

    def touch(self) -> None:
        pass  # the lock speaks for itself

    def release(self) -> None:
        self._file.unlink(missing_ok=True)
        self._unlock()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class ObjectStorage(Storage):
    """A prefix of an object store, by obstore; credentials and endpoint come from the usual AWS_... variables.

    Parquet is read in ranges where it lies; what has to be mapped into memory (vectors, indexes, tokens) is kept whole in
    a cache directory, $FEATURESTORE_CACHE or ~/.cache/featurestore. Parts never change, so the cache is never stale.
    """

    def __init__(self, url: str):
        try:
            import obstore.store
            from obstore.fsspec import FsspecStore
        except ImportError as exc:
            raise Unavailable(f"{url} needs {exc.name}: pip install 'featurestore[s3]'") from None
        self.location = url.rstrip("/")
        self._root = self.location
        try:
            self._store = obstore.store.from_url(self._root)
            self._files = FsspecStore("s3")
        except Exception as exc:  # obstore's own kinds, ValueError, TypeError: whatever a wrong URL meets
            raise Unavailable(f"{url} cannot be opened: {_first_line(exc)}") from None
        root = os.environ.get("FEATURESTORE_CACHE") or "~/.cache/featurestore"
        self._cache = Path(root).expanduser() / hashlib.sha256(self._root.encode()).hexdigest()[:16]

    @contextlib.contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            yield
        except (FileNotFoundError, AlreadyExistsError):
            raise
        except (BaseError, OSError) as exc:
            raise Unavailable(f"{self.location}: {doing} failed: {_first_line(exc)}") from None

    def read(self, name: str) -> bytes:
        import obstore

        with self._told(f"reading {name}"):
            return bytes(obstore.get(self._store, name).bytes())

    def write(self, name: str, content: bytes) -> None:
        import obstore

        with self._told(f"writing {name}"):
            obstore.put(self._store, name, content)

    def create(self, name: str, content: bytes) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            with self._told(f"writing {name}"):
                obstore.put(self._store, name, content, mode="create")
        except AlreadyExistsError:
            raise FileExistsError(name) from None

    def entries(self, prefix: str = "") -> list[Entry]:
        import obstore

        with self._told(f"listing {prefix or 'the store'}"):
            found = [one for page in obstore.list(self._store, prefix or None) for one in page]
        return sorted(Entry(one["path"], one["size"], one["last_modified"].timestamp()) for one in found)

    def delete(self, name: str) -> bool:
        import obstore

        below = [one.name for one in self.entries(name)]  # a directory is the prefix of its files
        with self._told(f"deleting {name}"):
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
            with self._told(f"writing {to}"):
                obstore.put(self._store, to, file)
        # Written here, so it may be read here.
        kept = self._cache / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, kept)
        shutil.rmtree(staged.parent, ignore_errors=True)

    def local(self, name: str) -> Path:
        import obstore

        kept = self._cache / name
        if kept.exists():
            return kept
        staged = self.stage(name)
        below = self.entries(name)
        with self._told(f"reading {name}"):
            for one in below or [Entry(name, 0, 0.0)]:
                file = staged if one.name == name else staged / Path(one.name).relative_to(name)
                file.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with open(file, "wb") as out:
                        for chunk in obstore.get(self._store, one.name).stream():
                            out.write(chunk)
                except FileNotFoundError:
                    raise BadStore(f"{self.location}/{name} is missing") from None
        kept.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # another thread has put the same thing there
            os.replace(staged, kept)
        shutil.rmtree(staged.parent, ignore_errors=True)
        return kept

    def open(self, name: str) -> Any:
        kept = self._cache / name
        if kept.is_file():
            return kept
        try:
            with self._told(f"reading {name}"):
                return self._files.open(self.sql_path(name))
        except FileNotFoundError:
            raise BadStore(f"{self.location}/{name} is missing; `featurestore check` says what else is") from None

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[Iterator[bytes]]:
        import obstore

        with self._told(f"reading {name}"):
            yield (bytes(chunk) for chunk in obstore.get(self._store, name).stream())

    def sql_path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def sql_directories(self) -> list[str]:
        return [f"{self._root}/"]

    def register(self, con: Any) -> None:
        con.register_filesystem(self._files)

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


def is_object_url(location: str) -> bool:
    """Whether a location names an object store."""
    return location.startswith("s3://")


def storage_at(location: str | Path) -> Storage:
    """The storage of a location: a directory's path, or an s3:// URL. Nothing is looked at yet."""
    text = str(location)
    if is_object_url(text):
        return ObjectStorage(text)
    if "://" in text:
        raise NotFound(f"'{text}': a store is a directory, an s3:// prefix, or the http:// address of a service")
    return LocalStorage(Path(location))


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0][:300]
