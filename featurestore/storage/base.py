"""Where a store's files live: a directory of this machine, or a prefix of an object store. Bytes and names, no meaning.

Both give the same few promises, which is all the log and the parts are built on: a small file appears whole or not at
all; `create` refuses to replace, so that one of two writers finds out; a part is built on this machine and then
published; a writer that has died can be told from one that works.
"""

from __future__ import annotations

import abc
import contextlib
import fcntl
import os
import shutil
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from featurestore.errors import BadStore, NotFound

LEASES = "writers"
JOBS = "jobs"


class Entry(NamedTuple):
    """A file that is there: its name in the store, its size in bytes and when it was written (seconds since 1970)."""

    name: str
    bytes: int
    at: float


class Storage(abc.ABC):
    """Files by name; a name has words between slashes and is relative to the store."""

    location: str
    # Readers look for new commits no more often than this; a look at a directory costs nothing, a request does.
    look_seconds: float = 0.0

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
            # Every question looks for the next commit: a Path takes longer to make than the file to be missed.
            with open(f"{self.location}/{name}", "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
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


def storage_at(location: str | Path) -> Storage:
    """The storage of a location: a directory's path, or an s3:// URL. Nothing is looked at yet."""
    text = str(location)
    if text.startswith("s3://"):
        from featurestore.storage.object_store import ObjectStorage

        return ObjectStorage(text)
    if "://" in text:
        raise NotFound(f"'{text}': a store is a directory, an s3:// prefix, or the http:// address of a service")
    return LocalStorage(Path(location))
