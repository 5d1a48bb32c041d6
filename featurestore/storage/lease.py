"""The sign that a writer works: a lock on a file, which the system lets go when its process dies."""

from __future__ import annotations

import abc
import fcntl
import os
import weakref
from pathlib import Path


class Lease(abc.ABC):
    """The sign that a writer works."""

    @abc.abstractmethod
    def touch(self) -> None:
        """Still working."""

    @abc.abstractmethod
    def release(self) -> None:
        """Done."""


class FileLease(Lease):
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
