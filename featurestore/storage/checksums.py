"""Whether files are as they were written: their sha256, computed once for each version of a file.

What was computed for large parts is kept in the user's cache directory, beside the time and the number by which the
file system tells a changed file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import msgspec

from featurestore.storage.user_files import cache_root

SMALL = 32_000_000  # bytes; parts up to this size are read again by each process: it takes milliseconds
YOUNG_SECONDS = 2.0  # a file changed so recently may change again without another time

# Of a file: device, number, size, and the times of its content and of its entry, in nanoseconds.
_State = tuple[int, int, int, int, int]
_known: dict[tuple[str, str], _State] = {}  # by path and sha256


def find_changed(path: Path, digests: Mapping[str, str], size: int) -> str | None:
    """Return the name of a file that is missing or is not what it was, or None.

    `digests` are the sha256 of files by their names in the directory `path`, or under an empty name that of the file
    `path`; `size` is about how many bytes they have together.
    """
    record = cache_root() / "checked" / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]}.json"
    kept = _read(record) if size > SMALL else {}
    states: dict[str, _State] = {}
    for name, digest in digests.items():
        file = path / name if name else path
        try:
            state = _state_of(file)
            if state not in (_known.get((str(file), digest)), kept.get(name)) and _hash(file) != digest:
                return name or file.name
        except OSError:
            return name or file.name
        if time.time() - state[-1] / 1e9 > YOUNG_SECONDS:
            states[name] = _known[str(file), digest] = state
    if size > SMALL and states != kept:
        _write(record, states)
    return None


def _state_of(file: Path) -> _State:
    about = os.stat(file)
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _hash(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read(record: Path) -> dict[str, _State]:
    try:
        return msgspec.json.decode(record.read_bytes(), type=dict[str, _State])
    except (OSError, msgspec.MsgspecError):
        return {}


def _write(record: Path, states: dict[str, _State]) -> None:
    temporary = record.with_name(f".{record.name}.{uuid.uuid4().hex[:8]}")
    with contextlib.suppress(OSError):  # without a cache directory the files are read again
        record.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(msgspec.json.encode(states))
        os.replace(temporary, record)
