"""The process of a job that a service started: python -m featurestore.store.job_process STORE JOB. See job_records.py."""

from __future__ import annotations

import logging
import os
import signal
import sys

import msgspec

from featurestore.errors import FeatureStoreError
from featurestore.maintenance import jobs
from featurestore.maintenance.jobs import JobRecord
from featurestore.progress import Progress, no_progress
from featurestore.storage.local import LocalStorage
from featurestore.storage.locations import storage_at
from featurestore.store import Store

log = logging.getLogger("featurestore.store.job_process")


def main(location: str, id: str) -> int:
    """Do the work of a job, and say so in its record; the exit status."""
    storage = storage_at(location)
    assert isinstance(storage, LocalStorage), location
    asked = jobs.job(storage, id)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with jobs.recorded(storage, asked.kind, job=asked) as record, Store(location) as store:
            _work(store, asked.kind, record)
    except KeyboardInterrupt:
        return 130
    except FeatureStoreError as exc:
        return exc.exit_code
    except Exception:
        log.exception("%s failed", id)
        return 1
    return 0


def _work(store: Store, kind: str, record: JobRecord | None) -> None:
    progress: Progress = no_progress if record is None else record.stage
    lines: list[str] = []
    result = None
    if kind == "check":
        found = store.check(progress)
        lines = [f"{len(found.problems):,} problems in {found.files:,} parts" if found.problems else "whole"]
        said = msgspec.to_builtins(found)
        result = {name: said[name] for name in ("commit", "files", "bytes", "problems", "leftovers", "leftover_bytes")}
    else:
        # An index is built of labels at their best: compacted first, as the command does.
        lines = store.compact(progress)
        if kind == "index":
            lines += store.index(progress=progress)
    if record is not None:
        record.did(lines or ["nothing to do"], result=result)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main(*sys.argv[1:]))
