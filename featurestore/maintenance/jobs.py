"""Starts maintenance in a separate process, and cancels it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from featurestore.errors import BadRequest, Conflict, Unavailable
from featurestore.maintenance.job_files import (
    StoredJob,
    forget,
    forget_old,
    load,
    lock,
    new_job,
    read_job,
    read_jobs,
    read_state,
    save,
)
from featurestore.storage.base import JOBS, Storage
from featurestore.storage.local import LocalStorage
from featurestore.storage.python_process import start_python
from featurestore.values.jobs import KINDS, Job

PATIENCE = 3.0  # seconds in which a cancelled job can end by itself


def start(storage: Storage, kind: str) -> Job:
    """Start maintenance of this kind in its own process, and return its job.

    Raises BadRequest for an unknown kind, Conflict while a job of this kind runs, and Unavailable when no process can
    be started or no file can be written.
    """
    if kind not in KINDS:
        raise BadRequest(f"kind: '{kind}' is not one of {', '.join(KINDS)}")
    if not isinstance(storage, LocalStorage):
        raise Unavailable("jobs are for stores in a directory: run the command beside the store")
    locks: list[int] = []
    try:
        try:
            locks.append(lock(storage, f"{kind}.alone"))
        except BlockingIOError:
            raise _conflict(storage, kind) from None
        if _find_running(storage, kind) is not None:
            raise _conflict(storage, kind)
        forget_old(storage, kind, "")
        job = new_job(kind, "")
        locks.append(lock(storage, f"{job.id}.lock"))
        save(storage, StoredJob(job, 0, True))
        # The process inherits both locks and holds them until it ends, in whatever way.
        process = start_python(
            "featurestore.store.job_process",
            storage.location,
            job.id,
            pass_fds=locks,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        save(storage, StoredJob(job, process.pid, True))
    except OSError as exc:
        raise Unavailable(f"no job can be started: {exc.strerror or exc}") from None
    finally:
        for descriptor in locks:
            os.close(descriptor)
    # Waiting for the process frees its number in the system once it has ended.
    threading.Thread(target=process.wait, daemon=True).start()
    return read_state(storage, StoredJob(job, process.pid, True))


def cancel(storage: Storage, id: str) -> Job:
    """End a job that a service started, or forget one that has ended; returns the job as it is then.

    What the job did not commit is gone; the store is as it was before. Raises NotFound, and Conflict for a job that was
    started as a command: only its terminal ends it. Raises Unavailable when the process does not end.
    """
    stored = load(storage, id)
    job = read_state(storage, stored)
    if job.state != "running":
        forget(storage, id)
        return job
    if not stored.by_service:
        raise Conflict(f"{id} was started by hand: end it where it runs")
    storage.write(f"{JOBS}/{id}.cancel", b"")
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = load(storage, id).process
        if process and _is_process_of(process, id):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, number)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            job = read_job(storage, id)
            if job.state != "running":
                return job
            time.sleep(0.02)
    raise Unavailable(f"{id} does not end: its process hears no signal")


def _is_process_of(process: int, id: str) -> bool:
    """Whether this is the process of a job. The store's file says so, and may come from anybody."""
    try:
        arguments = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        # It has ended, or this system does not show what a process was started with: the job's lock is held then.
        return not Path("/proc/self/cmdline").exists()
    except OSError:
        return False
    return id.encode() in arguments


def _conflict(storage: Storage, kind: str) -> Conflict:
    return Conflict(f"one {kind} at a time: {_find_running(storage, kind) or 'another'} runs already")


def _find_running(storage: Storage, kind: str) -> str | None:
    """The id of a running job of this kind."""
    return next((job.id for job in read_jobs(storage) if job.kind == kind and job.state == "running"), None)
