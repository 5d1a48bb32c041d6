"""The files of jobs in a store's directory, from which every process can read how far long work has come.

    jobs/<id>.json     the job and its progress, written at most once a second
    jobs/<id>.lock     locked as long as the job's process lives: a job without end and without lock was interrupted
    jobs/<id>.cancel   present once the job was asked to end
    jobs/<kind>.alone  locked while a job of this kind works that a service started: one of a kind at a time

Stores on an object store have none of these files: there is no lock that ends with its process.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec

from featurestore.errors import BadStore, NotFound
from featurestore.storage.base import JOBS, Storage
from featurestore.storage.local import LocalStorage
from featurestore.values.jobs import Job, Jobs
from featurestore.values.kinds import JOB_STATES

MOST_ENDED = 30  # ended jobs whose files are kept
ID = r"[a-z]+-[0-9a-f]{12}"


class StoredJob(msgspec.Struct):
    """The content of a job's file."""

    job: Job
    process: int
    by_service: bool = msgspec.field(name="ours")  # started by a service, which may end it


def new_job(kind: str, about: str) -> Job:
    """Return a job that begins now, with a new id. Nothing is written."""
    now = datetime.datetime.now(datetime.UTC)
    return Job(id=f"{kind}-{uuid.uuid4().hex[:12]}", kind=kind, about=about, state="running", began=now, changed=now)


def read_jobs(storage: Storage) -> Jobs:
    """Return all jobs, the newest first."""
    jobs = [read_state(storage, stored) for stored in _load_all(storage)]
    return Jobs(sorted(jobs, key=lambda job: (job.began, job.id), reverse=True))


def read_job(storage: Storage, id: str) -> Job:
    """Return one job. Raises NotFound."""
    return read_state(storage, load(storage, id))


def read_state(storage: Storage, stored: StoredJob) -> Job:
    """Return a job as it is now: its process may have died since it wrote its file."""
    job = stored.job
    if job.state == "running" and not is_locked(storage, job.id):
        # It may have ended between the two looks.
        job = load(storage, job.id).job
        if job.state == "running":
            job = msgspec.structs.replace(job, state="cancelled" if is_cancelled(storage, job.id) else "interrupted")
    return msgspec.structs.replace(job, message=_message(job, stored.by_service))


def _message(job: Job, by_service: bool) -> str:
    steps = "" if not job.total else f", {job.done or 0:,} of {job.total:,}"
    stage = f"{job.doing}{steps}" if job.doing else job.kind
    if job.state == "running":
        return stage
    if job.state == "interrupted":
        again = "start it again" if by_service else "run the same command again"
        return f"its process ended at: {stage}; {again}, it goes on with what it kept"
    if job.error is not None:
        return job.error.detail
    return job.lines[-1] if job.lines else job.state


def load(storage: Storage, id: str) -> StoredJob:
    """Return the content of a job's file. Raises NotFound when it is missing or not readable."""
    if not re.fullmatch(ID, id) or not isinstance(storage, LocalStorage):
        raise _missing(storage, id)
    try:
        stored = msgspec.json.decode(storage.read(f"{JOBS}/{id}.json"), type=StoredJob)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadStore):
        raise _missing(storage, id) from None
    if find_problem(stored, id):
        raise _missing(storage, id)
    return stored


def _missing(storage: Storage, id: str) -> NotFound:
    """The error that names some of the jobs there are, by their files: reading one that is damaged ends here."""
    files = (storage.path / JOBS).glob("*.json") if isinstance(storage, LocalStorage) else ()
    names = sorted(file.stem for file in files if re.fullmatch(ID, file.stem) and file.stem != id)
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return NotFound(f"no job '{id:.80}'; there are: {listed or 'none'}")


def find_problem(stored: StoredJob, id: str) -> str | None:
    """Return what in the file of the job `id` is not as a job writes it, or None.

    A store may come from anybody, files of jobs are deleted by their id, and their process is ended by its number.
    """
    job = stored.job
    if job.id != id:
        return f"id: it says {job.id!r:.80}"
    if job.kind != id.rpartition("-")[0]:
        return f"kind: it says {job.kind!r:.80}"
    if job.state not in JOB_STATES:
        return f"state: {job.state!r:.80} is none"
    if stored.process != 0 and not 1 < stored.process < 2**31:
        return f"process: {stored.process} is no number of a process"
    for name, at in (("began", job.began), ("changed", job.changed)):
        if at.tzinfo is None or not 1970 <= at.year < 9999:
            return f"{name}: {at} is not a time at which a job was written"
    return None


def _load_all(storage: Storage) -> list[StoredJob]:
    if not isinstance(storage, LocalStorage):
        return []
    jobs = []
    for file in (storage.path / JOBS).glob("*.json"):
        with contextlib.suppress(NotFound):  # deleted meanwhile, or not a job's file
            jobs.append(load(storage, file.stem))
    return jobs


def find_foreign(storage: Storage) -> Iterator[tuple[str, str]]:
    """Yield the files among those of jobs that no job wrote, and what is wrong with each."""
    for entry in storage.entries(JOBS) if isinstance(storage, LocalStorage) else ():
        id, suffix = os.path.splitext(entry.name.removeprefix(f"{JOBS}/"))
        if suffix != ".json" or id.startswith("."):
            continue
        try:
            stored = msgspec.json.decode(storage.read(entry.name), type=StoredJob)
        except FileNotFoundError:  # it has ended meanwhile
            continue
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadStore) as exc:
            yield entry.name, f"is not the file of a job: {exc}"
            continue
        if problem := find_problem(stored, id):
            yield entry.name, f"is not the file of a job: {problem}"


def save(storage: Storage, stored: StoredJob) -> None:
    """Write a job's file. Raises OSError when that fails, or when the store was deleted."""
    if not (Path(storage.location) / JOBS).is_dir():
        # A new store is deleted again when its first work fails. The record of that work must not bring it back.
        raise FileNotFoundError(errno.ENOENT, "the store is gone")
    storage.write(f"{JOBS}/{stored.job.id}.json", msgspec.json.encode(stored))


def forget(storage: Storage, id: str) -> None:
    """Delete the files of a job."""
    for suffix in ("json", "lock", "cancel"):
        storage.delete(f"{JOBS}/{id}.{suffix}")


def forget_old(storage: Storage, kind: str, about: str) -> None:
    """Forget the oldest ended jobs, and interrupted ones of this kind and subject, which now go on."""
    ended = [job for job in read_jobs(storage) if job.state != "running"]
    for age, job in enumerate(ended):
        if age >= MOST_ENDED or (job.state == "interrupted" and (job.kind, job.about) == (kind, about)):
            forget(storage, job.id)


def lock(storage: Storage, name: str) -> int:
    """Create and lock a file; returns its descriptor.

    Raises BlockingIOError while another process holds the lock, OSError where no file can be made.
    """
    path = LocalStorage(Path(storage.location)).inside(f"{JOBS}/{name}")
    path.parent.mkdir(exist_ok=True)
    # A link in its place could have a file made elsewhere.
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def is_locked(storage: Storage, id: str) -> bool:
    """Whether the process of a job lives."""
    try:
        # A pipe in its place would wait for its writer.
        descriptor = os.open(Path(storage.location) / JOBS / f"{id}.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def is_cancelled(storage: Storage, id: str) -> bool:
    """Whether a job was asked to end."""
    return isinstance(storage, LocalStorage) and (storage.path / JOBS / f"{id}.cancel").exists()
