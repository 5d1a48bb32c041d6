"""The record that long work keeps of itself among the store's jobs: its progress, and how it ended."""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from featurestore.errors import FeatureStoreError
from featurestore.maintenance.job_files import StoredJob, forget_old, is_cancelled, lock, new_job, save
from featurestore.progress import Stage
from featurestore.storage.base import Storage
from featurestore.storage.local import LocalStorage
from featurestore.storage.log import Log
from featurestore.values.jobs import Job, JobError

TABLES = {"harvest": "features", "label": "labels", "score": "scores"}  # the table that each kind of work adds rows to
SECONDS = 1.0  # between two writes of the file


class JobRecord:
    """The file of a job that runs, written by the process that does the work. Only one thread may report progress."""

    def __init__(self, storage: Storage, kind: str, about: str = "", job: Job | None = None):
        """Begin a record, or continue that of a `job` whose lock this process has inherited. Raises OSError."""
        self._storage = storage
        self._by_service = job is not None
        self._lock: int | None = None
        self._wrote = 0.0
        if job is None:
            forget_old(storage, kind, about)
            job = new_job(kind, about)
            self._lock = lock(storage, f"{job.id}.lock")
        self._job = job
        self._first = Log(storage).snapshot().commit if job.kind in TABLES else None
        self._write()

    @property
    def job(self) -> Job:
        """The job as it was last recorded."""
        return self._job

    def stage(self, description: str, total: int | None, /) -> Stage:
        """Begin a stage of `total` steps. A state that is given with steps is not recorded."""
        self._update(doing=description, done=0, total=total, force=True)

        def advance(steps: int, state: str | None = None, /) -> None:
            """Record `steps` more steps."""
            self._update(done=(self._job.done or 0) + steps)

        return advance

    def set_result(self, lines: Sequence[str], result: Any = None) -> None:
        """Set what the work did, in lines and as JSON. It is written with the job's end."""
        self._job = msgspec.structs.replace(self._job, lines=tuple(map(self._hide_path, lines)), result=result)

    def end(self, state: str, error: BaseException | None = None) -> None:
        """Write that the work has ended, and release the lock."""
        job_error = None
        if isinstance(error, FeatureStoreError):
            job_error = JobError(error.code, self._hide_path(str(error)))
        elif error is not None:
            job_error = JobError(FeatureStoreError.code, f"something failed inside: {type(error).__name__}")
        self._job = msgspec.structs.replace(self._job, rows=self._count_rows())
        doing = self._job.doing if state == "interrupted" else None
        self._update(state=state, error=job_error, doing=doing, force=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _update(self, force: bool = False, **fields: Any) -> None:
        self._job = msgspec.structs.replace(self._job, changed=datetime.datetime.now(datetime.UTC), **fields)
        if force or time.monotonic() - self._wrote >= SECONDS:
            # The work continues even if its record cannot be written.
            with contextlib.suppress(OSError, FeatureStoreError):
                self._write()

    def _write(self) -> None:
        save(self._storage, StoredJob(self._job, os.getpid(), self._by_service))
        self._wrote = time.monotonic()

    def _count_rows(self) -> int | None:
        """Rows added to the table of this kind of work since the record began; None for work that adds none."""
        table = TABLES.get(self._job.kind)
        if table is None or self._first is None:
            return None
        with contextlib.suppress(OSError, FeatureStoreError):
            parts = Log(self._storage).snapshot().parts(table)
            return sum(part.rows for part in parts if part.commit > self._first)
        return None

    def _hide_path(self, text: str) -> str:
        """The text with only the name of the store where it had the store's path."""
        place = Path(self._storage.location)
        for path in sorted({str(place), str(place.resolve())}, key=len, reverse=True):
            if os.sep in path:
                text = text.replace(path, place.name)
        return text


@contextlib.contextmanager
def keep_record(storage: Storage, kind: str, about: str = "", job: Job | None = None) -> Iterator[JobRecord | None]:
    """Record the work inside among the store's jobs. Yields None where no record can be kept; the work goes on."""
    record = None
    if isinstance(storage, LocalStorage):
        with contextlib.suppress(OSError, FeatureStoreError):
            record = JobRecord(storage, kind, about, job)
    try:
        yield record
    except (KeyboardInterrupt, SystemExit):
        if record is not None:
            record.end("cancelled" if is_cancelled(storage, record.job.id) else "interrupted")
        raise
    except BaseException as exc:
        if record is not None:
            record.end("failed", exc)
        raise
    if record is not None:
        record.end("done")
