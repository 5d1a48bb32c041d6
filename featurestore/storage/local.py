"""A store's files in a directory of this machine."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from featurestore.errors import BadStore
from featurestore.storage.base import LEASES, Entry, Storage
from featurestore.storage.lease import FileLease, Lease


class LocalStorage(Storage):
    """A directory of this machine."""

    def __init__(self, path: Path):
        self.path = path
        self.location = str(path)

    def read(self, name: str) -> bytes:
        try:
            # Every question looks for the next commit: a Path takes longer to make than the file to be missed.
            with open(f"{self.location}/{name}", "rb", opener=_open_regular) as file:
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
        file = self.inside(name)
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
        entries = []
        for folder, _, names in os.walk(self.path / prefix if prefix else self.path):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    about = os.stat(path)
                except OSError as exc:
                    if exc.errno not in (errno.ENOENT, errno.ELOOP):  # swept meanwhile, a link to itself
                        raise
                    continue
                entries.append(Entry(os.path.relpath(path, self.path), about.st_size, about.st_mtime))
        return sorted(entries)

    def delete(self, name: str) -> bool:
        path = self.inside(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            return True
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        return True

    def stage(self, name: str) -> Path:
        file = self.inside(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def inside(self, name: str) -> Path:
        """Return the path of a file that is to be written or deleted.

        Raises BadStore when a name, or a link to a directory in the store, leads out of the store.
        """
        path = self.path / name
        # The file itself may be a link, which is deleted or replaced, not followed.
        parent = os.path.realpath(path.parent)
        root = os.path.realpath(self.path)
        if path.name in ("", ".", "..") or (parent != root and not parent.startswith(root.rstrip("/") + "/")):
            raise BadStore(f"{path} leads out of the store: a directory of a store must not be a link to elsewhere")
        return path

    def publish(self, staged: Path, name: str) -> None:
        for path in [staged, *staged.rglob("*")] if staged.is_dir() else [staged]:
            _sync(path)
        # A crash can lose the names of new directories too.
        for folder in staged.parents:
            _sync(folder)
            if folder == self.path:
                break

    def local(self, name: str) -> Path:
        return _not_special(self.path / name)

    def open(self, name: str, size: int | None = None) -> Path:
        file = self.path / name
        if not _not_special(file).is_file():
            raise BadStore(f"{file} is missing; `featurestore check` says what else is")
        return file

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[Iterator[bytes]]:
        with open(self.path / name, "rb", opener=_open_regular) as file:
            yield iter(lambda: file.read(1 << 20), b"")

    def sql_path(self, name: str) -> str:
        path = _not_special(self.path / name)
        if path.is_dir():  # which DuckDB would take for all files in it
            raise BadStore(f"{path} is a folder, and no file of a table")
        return _escape_pattern(str(path))

    def sql_directories(self) -> list[str]:
        directories = [str(self.path.resolve()), str(self.path)]
        return sorted({*directories, *map(_escape_pattern, directories)}, key=len, reverse=True)

    def lease(self, writer: str) -> Lease:
        return FileLease(self.inside(f"{LEASES}/{writer}"))

    def dead_writers(self) -> list[str]:
        writers = []
        for file in sorted((self.path / LEASES).glob("*")):
            with contextlib.suppress(OSError), open(file, "rb", opener=_open_regular) as f:
                # The lock of a process that was killed is free.
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                writers.append(file.name)
        return writers


def _escape_pattern(path: str) -> str:
    """Return a path as DuckDB takes it, to which *, ? and [ are patterns of names."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)


def _not_special(path: Path) -> Path:
    """Return the path. Raises BadStore for a pipe, a device or a socket: who reads one may wait for ever."""
    with contextlib.suppress(OSError):  # what is missing is said where it is read
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise BadStore(f"{path} is not a regular file: a store consists of files and folders")
    return path


def _open_regular(path: str, flags: int) -> int:
    """Open a file for `open`. A pipe would wait for its writer, and a device never ends: OSError for both."""
    handle = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    return handle


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
