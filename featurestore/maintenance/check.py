"""Checks whether a store is whole: its log, and every file against its checksum, the schema and what it refers to."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import msgspec

from featurestore.errors import BadStore, FeatureStoreError
from featurestore.maintenance import job_files
from featurestore.maintenance.contents import find_content_problems, find_reference_problems
from featurestore.maintenance.findings import Checked, Finding, remedy_of
from featurestore.progress import Progress, no_progress
from featurestore.storage.directory import STORE_FILE, Directory, read_about
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part, checkpoint_number, commit_number
from featurestore.tables.row_reader import Rows
from featurestore.tables.schema import Gate

# Tables that pages read, and the tables they are copies of.
COPIES = {"feature_rows": "features", "example_rows": "examples", "label_rows": "labels"}


def check(directory: Directory, progress: Progress = no_progress) -> Checked:
    """Read every byte and return what is wrong. Raises BadStore when the log itself cannot be followed.

    `progress` is called with bytes.
    """
    snapshot = directory.snapshot()
    size = sum(part.bytes for part in snapshot.all())
    problems = [*_log_problems(directory, snapshot), *_about_problems(directory), *_job_problems(directory)]
    stage = progress("checking bytes", size)
    rows = Rows(directory)
    damaged: set[str] = set()
    with contextlib.closing(Gate()) as gate:
        # Originals come before their copies: a copy is compared only with an original that is whole.
        for part in sorted(snapshot.all(), key=lambda part: (part.table in COPIES, part.file)):
            findings = [*_byte_problems(directory, part)]
            originals = snapshot.parts(COPIES[part.table], part.key) if part.table in COPIES else []
            if not findings and not any(original.file in damaged for original in originals):
                findings = [*find_content_problems(directory, snapshot, rows, gate, part)]
            damaged |= {part.file} if findings else set()
            problems += findings
            stage(part.bytes)
    problems += find_reference_problems(snapshot, rows, damaged)
    leftovers = directory.leftovers()
    return Checked(
        location=directory.location,
        commit=snapshot.commit,
        files=len(snapshot.all()),
        bytes=size,
        problems=tuple(problems),
        leftovers=tuple(entry.name for entry in leftovers),
        leftover_bytes=sum(entry.bytes for entry in leftovers),
    )


def _log_problems(directory: Directory, snapshot: Snapshot) -> Iterator[Finding]:
    entries = directory.storage.entries("log")
    checkpoints = [n for entry in entries if (n := checkpoint_number(entry.name)) is not None]
    for entry in entries:
        number, before = commit_number(entry.name), checkpoint_number(entry.name)
        try:
            if number is not None:
                directory.log.read(number)
            elif before is not None:
                directory.log.checkpoint(before)
        except FileNotFoundError:
            continue
        except BadStore as exc:
            yield Finding(entry.name, str(exc), "`featurestore check --repair` writes what it said into a checkpoint")
    commits = {n for entry in entries if (n := commit_number(entry.name)) is not None}
    for number in range(max(checkpoints, default=0) + 1, snapshot.commit + 1):
        if number not in commits:
            yield Finding(f"log/{number:010d}.json", "is missing", "`featurestore check --repair` writes a checkpoint")


def _about_problems(directory: Directory) -> Iterator[Finding]:
    try:
        _, stated = read_about(directory.storage)
        if stated != directory.format:
            yield Finding(
                STORE_FILE, f"states format {stated}, the log {directory.format}", "run `featurestore migrate`"
            )
    except FeatureStoreError as exc:
        yield Finding(STORE_FILE, str(exc), "`featurestore check --repair` writes it again")


def _job_problems(directory: Directory) -> Iterator[Finding]:
    remedy = "delete the file: no job wrote it, and none reads it"
    for name, problem in job_files.find_foreign(directory.storage):
        yield Finding(name, problem, remedy)


def _byte_problems(directory: Directory, part: Part) -> Iterator[Finding]:
    """Yield files of a part that are not what they were when they were written."""
    present = {entry.name for entry in directory.storage.entries(part.file)} if part.files else set()
    for name, digest in (part.files or {"": part.sha256}).items():
        file = f"{part.file}/{name}" if name else part.file
        try:
            written = _digest(directory, file)
        except FileNotFoundError:
            yield Finding(file, "is missing", remedy_of(part))
            continue
        except (FeatureStoreError, OSError) as exc:
            yield Finding(file, f"cannot be read: {exc}", remedy_of(part))
            continue
        if written != digest:
            yield Finding(file, "is damaged: its content is not what its checksum says", remedy_of(part))
    for extra in sorted(present - {f"{part.file}/{name}" for name in part.files}):
        yield Finding(extra, f"is no file of {part.file}", remedy_of(part))
    if part.files and hashlib.sha256(msgspec.json.encode(part.files)).hexdigest() != part.sha256:
        yield Finding(
            part.file, "is not what the log says: the hashes of its files do not fit together", remedy_of(part)
        )


def _digest(directory: Directory, file: str) -> str:
    with directory.storage.stream(file) as chunks:
        digest = hashlib.sha256()
        for chunk in chunks:
            digest.update(chunk)
        return digest.hexdigest()
