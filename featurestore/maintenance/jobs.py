"""What long work says of itself, in small files of the store's directory, so that anybody can see how far it is.

    jobs/<id>.json     what it is and how far, written again at most once a second
    jobs/<id>.lock     locked for as long as its process lives: who dies without a word was interrupted
    jobs/<id>.cancel   somebody asked for its end
    jobs/<kind>.alone  locked while one that a service started works: one of a kind at a time

An object store tells nobody that a process has died, so there are no such files there.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from featurestore.errors import BadRequest, Conflict, FeatureStoreError, NotFound, Unavailable
from featurestore.progress import Stage
from featurestore.storage.base import JOBS, Storage
from featurestore.storage.local import LocalStorage
from featurestore.storage.log import Log
from featurestore.values.jobs import KINDS, Job, JobError, Jobs

TABLES = {"harvest": "features", "label": "labels", "score": "scores"}  # what such work adds to
start_process = subprocess.Popen
EVERY = 1.0  # seconds between two words of progress
KEPT = 30  # jobs that have ended
PATIENCE = 3.0  # seconds in which a job that is cancelled can leave in order
ID = r"[a-z]+-[0-9a-f]{12}"


class _Kept(msgspec.Struct):
    """The content of a job's file."""

    job: Job
    process: int
    ours: bool  # started by a service, which may end it


class JobRecord:
    """The file of a job that runs, held by whoever does the work. Safe to be told of progress by one thread."""

    def __init__(self, storage: Storage, kind: str, about: str = "", job: Job | None = None):
        """Begin a record, or go on with that of a `job` whose lock this process has inherited. Raises OSError."""
        self._storage = storage
        self._ours = job is not None
        self._lock: int | None = None
        self._wrote = 0.0
        if job is None:
            _tidy(storage, kind, about)
            job = _begun(kind, about)
            self._lock = _locked(storage, f"{job.id}.lock")
        self._job = job
        self._first = Log(storage).snapshot().commit if job.kind in TABLES else None
        self._write()

    @property
    def job(self) -> Job:
        """What it says now."""
        return self._job

    def stage(self, description: str, total: int | None, /) -> Stage:
        """Begin a stage of `total` steps; a state of the work that is given with steps is not recorded."""
        self._say(doing=description, done=0, total=total, force=True)

        def advance(steps: int, state: str | None = None, /) -> None:
            self._say(done=(self._job.done or 0) + steps)

        return advance

    def did(self, lines: Sequence[str], result: Any = None) -> None:
        """What came of it; told with its end."""
        self._job = msgspec.structs.replace(self._job, lines=tuple(map(self._bare, lines)), result=result)

    def end(self, state: str, error: BaseException | None = None) -> None:
        """The work has ended."""
        said = None
        if isinstance(error, FeatureStoreError):
            said = JobError(error.code, self._bare(str(error)))
        elif error is not None:
            said = JobError(FeatureStoreError.code, f"something failed inside: {type(error).__name__}")
        self._job = msgspec.structs.replace(self._job, rows=self._gained())
        doing = self._job.doing if state == "interrupted" else None
        self._say(state=state, error=said, doing=doing, force=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _say(self, force: bool = False, **fields: Any) -> None:
        self._job = msgspec.structs.replace(self._job, changed=_now(), **fields)
        if force or time.monotonic() - self._wrote >= EVERY:
            # Work goes on though nobody can be told of it.
            with contextlib.suppress(OSError, FeatureStoreError):
                self._write()

    def _write(self) -> None:
        _write(self._storage, _Kept(self._job, os.getpid(), self._ours))
        self._wrote = time.monotonic()

    def _gained(self) -> int | None:
        """Rows that the table of this kind of work has gained since; None for work that has none."""
        table = TABLES.get(self._job.kind)
        if table is None or self._first is None:
            return None
        with contextlib.suppress(OSError, FeatureStoreError):
            parts = Log(self._storage).snapshot().parts(table)
            return sum(part.rows for part in parts if part.commit > self._first)
        return None

    def _bare(self, text: str) -> str:
        """A text without where the store lies."""
        place = Path(self._storage.location)
        for path in sorted({str(place), str(place.resolve())}, key=len, reverse=True):
            if os.sep in path:
                text = text.replace(path, place.name)
        return text


@contextlib.contextmanager
def recorded(storage: Storage, kind: str, about: str = "", job: Job | None = None) -> Iterator[JobRecord | None]:
    """The record of the work inside; None where none can be kept."""
    record = None
    if isinstance(storage, LocalStorage):
        with contextlib.suppress(OSError, FeatureStoreError):
            record = JobRecord(storage, kind, about, job)
    try:
        yield record
    except (KeyboardInterrupt, SystemExit):
        if record is not None:
            record.end("cancelled" if _asked_to_end(storage, record.job.id) else "interrupted")
        raise
    except BaseException as exc:
        if record is not None:
            record.end("failed", exc)
        raise
    if record is not None:
        record.end("done")


def jobs(storage: Storage) -> Jobs:
    """Every job that is known, the newest first."""
    found = [_seen(storage, kept) for kept in _all(storage)]
    return Jobs(sorted(found, key=lambda job: (job.began, job.id), reverse=True))


def job(storage: Storage, id: str) -> Job:
    """One job. Raises NotFound."""
    return _seen(storage, _kept(storage, id))


def start(storage: Storage, kind: str) -> Job:
    """Start the maintenance of a kind in its own process; its job as it begins.

    Raises BadRequest for a kind that is none, Conflict where one of it runs, Unavailable where no process or file can be had.
    """
    if kind not in KINDS:
        raise BadRequest(f"kind: '{kind}' is not one of {', '.join(KINDS)}")
    if not isinstance(storage, LocalStorage):
        raise Unavailable("jobs are for stores in a directory: run the command beside the store")
    locks: list[int] = []
    try:
        try:
            locks.append(_locked(storage, f"{kind}.alone"))
        except BlockingIOError:
            raise _busy(storage, kind) from None
        if any(one.kind == kind and one.state == "running" for one in jobs(storage)):
            raise _busy(storage, kind)
        _tidy(storage, kind, "")
        made = _begun(kind, "")
        locks.append(_locked(storage, f"{made.id}.lock"))
        _write(storage, _Kept(made, 0, True))
        # Both locks go along, and are held until that process ends, however it does.
        process = start_process(
            [sys.executable, "-m", "featurestore.store.job_process", storage.location, made.id],
            pass_fds=locks,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        _write(storage, _Kept(made, process.pid, True))
    except OSError as exc:
        raise Unavailable(f"no job can be started: {exc.strerror or exc}") from None
    finally:
        for lock in locks:
            os.close(lock)
    # Somebody has to wait for it, or the system keeps its number when it has ended.
    threading.Thread(target=process.wait, daemon=True).start()
    return _seen(storage, _Kept(made, process.pid, True))


def cancel(storage: Storage, id: str) -> Job:
    """End a job that a service started, or forget one that has ended; the job as it is then.

    What it did not commit is gone, and the store is as if it had not begun that. Raises NotFound, and Conflict for a job that
    somebody runs by hand.
    """
    kept = _kept(storage, id)
    found = _seen(storage, kept)
    if found.state != "running":
        _forget(storage, id)
        return found
    if not kept.ours:
        raise Conflict(f"{id} was started by hand: end it where it runs")
    storage.write(f"{JOBS}/{id}.cancel", b"")
    for number, seconds in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, PATIENCE)):
        process = _kept(storage, id).process
        if process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, number)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = job(storage, id)
            if found.state != "running":
                return found
            time.sleep(0.02)
    raise Unavailable(f"{id} does not end: its process hears no signal")


def _busy(storage: Storage, kind: str) -> Conflict:
    running = next((one.id for one in jobs(storage) if one.kind == kind and one.state == "running"), None)
    return Conflict(f"one {kind} at a time: {running or 'another'} runs already")


def _begun(kind: str, about: str) -> Job:
    now = _now()
    return Job(id=f"{kind}-{uuid.uuid4().hex[:12]}", kind=kind, about=about, state="running", began=now, changed=now)


def _seen(storage: Storage, kept: _Kept) -> Job:
    """A job as it is, whatever it said last."""
    found = kept.job
    if found.state == "running" and not _held(storage, found.id):
        # It may have ended between the two looks.
        found = _kept(storage, found.id).job
        if found.state == "running":
            ended = "cancelled" if _asked_to_end(storage, found.id) else "interrupted"
            found = msgspec.structs.replace(found, state=ended)
    return msgspec.structs.replace(found, message=_message(found, kept.ours))


def _message(job: Job, ours: bool) -> str:
    steps = "" if not job.total else f", {job.done or 0:,} of {job.total:,}"
    at = f"{job.doing}{steps}" if job.doing else job.kind
    if job.state == "running":
        return at
    if job.state == "interrupted":
        again = "start it again" if ours else "run the same command again"
        return f"its process ended at: {at}; {again}, it goes on with what it kept"
    if job.error is not None:
        return job.error.detail
    return job.lines[-1] if job.lines else job.state


def _all(storage: Storage) -> list[_Kept]:
    if not isinstance(storage, LocalStorage):
        return []
    found = []
    for file in (storage.path / JOBS).glob("*.json"):
        with contextlib.suppress(NotFound):  # forgotten meanwhile, or no file of ours
            found.append(_kept(storage, file.stem))
    return found


def _kept(storage: Storage, id: str) -> _Kept:
    missing = NotFound(f"no job '{id:.80}': `featurestore jobs` lists those there are")
    if not re.fullmatch(ID, id) or not isinstance(storage, LocalStorage):
        raise missing
    try:
        return msgspec.json.decode(storage.read(f"{JOBS}/{id}.json"), type=_Kept)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        raise missing from None


def _write(storage: Storage, kept: _Kept) -> None:
    if not (Path(storage.location) / JOBS).is_dir():
        # A store that was made for work that failed is gone with it, and is not to come back for a word on that.
        raise FileNotFoundError(errno.ENOENT, "the store is gone")
    storage.write(f"{JOBS}/{kept.job.id}.json", msgspec.json.encode(kept))


def _tidy(storage: Storage, kind: str, about: str) -> None:
    """Forget interrupted work that is gone on with, and what ended long ago."""
    ended = [one for one in jobs(storage) if one.state != "running"]
    for n, one in enumerate(ended):
        if n >= KEPT or (one.state == "interrupted" and (one.kind, one.about) == (kind, about)):
            _forget(storage, one.id)


def _forget(storage: Storage, id: str) -> None:
    for suffix in ("json", "lock", "cancel"):
        storage.delete(f"{JOBS}/{id}.{suffix}")


def _locked(storage: Storage, name: str) -> int:
    """A locked file. Raises BlockingIOError where somebody else has locked it."""
    path = Path(storage.location) / JOBS / name
    path.parent.mkdir(exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _held(storage: Storage, id: str) -> bool:
    """Whether the process of a job lives."""
    try:
        handle = os.open(Path(storage.location) / JOBS / f"{id}.lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _asked_to_end(storage: Storage, id: str) -> bool:
    return isinstance(storage, LocalStorage) and (storage.path / JOBS / f"{id}.cancel").exists()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
