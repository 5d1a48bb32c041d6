"""The process of a job that a service started: python -m featurestore.store.job_process STORE JOB. See job_files.py."""

from __future__ import annotations

import logging
import os
import signal
import sys

import msgspec

from featurestore.errors import FeatureStoreError
from featurestore.maintenance.job_files import read_job
from featurestore.maintenance.job_records import JobRecord, keep_record
from featurestore.progress import no_progress
from featurestore.storage.local import LocalStorage
from featurestore.storage.locations import storage_at
from featurestore.store import Store

log = logging.getLogger("featurestore.store.job_process")
RESULT = ("commit", "files", "bytes", "problems", "leftovers", "leftover_bytes")  # fields of a check's result


def main(location: str, id: str) -> int:
    """Do the work of a job, record its end, and return the exit status."""
    storage = storage_at(location)
    assert isinstance(storage, LocalStorage), location
    job = read_job(storage, id)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with keep_record(storage, job.kind, job=job) as record, Store(location) as store:
            _work(store, job.kind, record)
    except KeyboardInterrupt:
        return 130
    except FeatureStoreError as exc:
        return exc.exit_code
    except Exception:
        log.exception("%s failed", id)
        return 1
    return 0


def _work(store: Store, kind: str, record: JobRecord | None) -> None:
    progress = no_progress if record is None else record.stage
    lines: list[str] = []
    result = None
    if kind == "check":
        checked = store.check(progress)
        lines = [f"{len(checked.problems):,} problems in {checked.files:,} parts" if checked.problems else "whole"]
        fields = msgspec.to_builtins(checked)
        result = {name: fields[name] for name in RESULT}
    else:
        # The label index is built from the best labels, so the store is compacted first, as the command does.
        lines = store.compact(progress)
        if kind == "index":
            lines += store.index(progress=progress)
    if record is not None:
        record.set_result(lines or ["nothing to do"], result=result)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main(*sys.argv[1:]))
