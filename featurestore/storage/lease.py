"""The mark of a live writer: a lock on a file, which the system releases when the writer's process dies."""

from __future__ import annotations

import abc
import fcntl
import os
import weakref
from pathlib import Path


class Lease(abc.ABC):
    """The mark of a live writer."""

    @abc.abstractmethod
    def touch(self) -> None:
        """Renew the mark."""

    @abc.abstractmethod
    def release(self) -> None:
        """Remove the mark."""


class FileLease(Lease):
    """A locked file of this machine."""

    def __init__(self, file: Path):
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        # Locked under another name first, so that no process sees it unlocked.
        hidden = file.parent.parent / f".{file.name}.lease"
        handle = os.open(hidden, os.O_CREAT | os.O_WRONLY, 0o644)
        # A writer that was not closed releases its lock when it is garbage-collected.
        self._unlock = weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.replace(hidden, file)
        except OSError:
            self._unlock()
            hidden.unlink(missing_ok=True)
            raise

    def touch(self) -> None:
        pass  # the lock is the mark

    def release(self) -> None:
        self._file.unlink(missing_ok=True)
        self._unlock()
