"""Reads the files of an import into the spool: few of them here, many in processes too, one of Python's locks each.

This process reads as well: it is there already, while another takes half a second of a core to start.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from featurestore import BadRequest, Conflict, FeatureStoreError, NotFound, Progress, Unavailable
from featurestore.extension.processes import start_python
from ingest.formats import registry
from ingest.formats.batches import SourceFile
from ingest.formats.joining.spool import Spool, name_write_errors
from ingest.formats.rejects import Rejects

MOST_PROCESSES = 4  # what they read joins in one process
# So much, or so many files of elsewhere, are read here: a process takes half a second to start.
FEW_BYTES, FEW_FILES = 8 << 20, 8
REJECTS = "rejects.jsonl"
# glibc keeps the memory of one batch's arrays for the next: new memory costs a tenth of the time.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
ERRORS: tuple[type[FeatureStoreError], ...] = (BadRequest, NotFound, Conflict, Unavailable)


class Task(msgspec.Struct):
    """One file to read: where it is, what its messages call it, and where its rows go."""

    format: str
    path: str
    name: str
    folder: str
    place: str
    options: dict[str, Any]
    strict: bool


class Reply(msgspec.Struct):
    """How reading a file ended: the class of an error and its message, or "" for none."""

    error: str = ""
    message: str = ""


class Files(NamedTuple):
    """The files of an import and what its reader is told; `fetch` brings one here where they are elsewhere."""

    format: str
    sources: list[SourceFile]
    options: Mapping[str, Any]
    strict: bool
    fetch: Callable[[SourceFile], Any] | None = None


def read_files(spool: Spool, files: Files, progress: Progress) -> tuple[list[Path], int]:
    """Read every file that was not read before; returns the places of all, and how many were read before.

    Raises what reading a file raises; what others read until then stays for the next time.
    """
    key = repr(sorted((name, repr(value)) for name, value in files.options.items())) + files.format
    places = [spool.place(source.file, source.identity + key) for source in files.sources]
    missing = [at for at, place in enumerate(places) if spool.summary(place) is None]
    stage = progress("reading", len(missing))
    readers = _Readers(_count_processes(files, [files.sources[at] for at in missing]))
    pool = concurrent.futures.ThreadPoolExecutor(max(1, readers.count))
    try:
        work = [pool.submit(_read, spool, places[at], files.sources[at], files, readers) for at in missing]
        for future in concurrent.futures.as_completed(work):
            future.result()
            stage(1)
    finally:
        readers.stop()
        pool.shutdown(wait=True, cancel_futures=True)
        readers.close()
    return places, len(places) - len(missing)


def read_file(task: Task, is_stopped: Callable[[], bool] = lambda: False) -> None:
    """Read one file into its place in the spool. Raises what its reader raises, and Unavailable once it is stopped."""
    place = Path(task.place)
    writer = Spool(Path(task.folder)).begin(place)
    with name_write_errors(place.parent), Rejects(place / REJECTS, task.strict) as rejects:
        for batch in registry.find_format(task.format).read(task.path, rejects, task.options):
            if is_stopped():
                raise Unavailable("reading was stopped")
            writer.add(batch)
        writer.end(task.name, dict(rejects.counts))


def _read(spool: Spool, place: Path, source: SourceFile, files: Files, readers: _Readers) -> None:
    path = source.file if files.fetch is None else str(files.fetch(source))
    folder = str(spool.folder)
    readers.read(Task(files.format, path, source.name, folder, str(place), dict(files.options), files.strict))
    if files.fetch is not None:
        Path(path).unlink(missing_ok=True)  # what it holds is in the spool


def _count_processes(files: Files, sources: list[SourceFile]) -> int:
    """Return in how many processes the files are read, of which this is one; 0 to read them here."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(cores, len(sources), MOST_PROCESSES)
    is_little = sum(map(_size, sources)) < FEW_BYTES if files.fetch is None else len(sources) < FEW_FILES
    return 0 if count < 2 or is_little else count


def _size(source: SourceFile) -> int:
    try:
        return Path(source.file).stat().st_size
    except OSError:
        return 0


class _Readers:
    """Processes that read files, started when they are wanted: one fewer than `count`, as this one reads too."""

    def __init__(self, count: int):
        self.count = count
        self._thread = threading.local()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._is_stopped = False
        self._has_reader_here = False

    def read(self, task: Task) -> None:
        """Read a file, in the process of this thread. Raises what its reader raises, Unavailable when that ends."""
        process = self._process()
        if process is None:
            read_file(task, lambda: self._is_stopped)
            return
        try:
            write_message(process.stdin, msgspec.msgpack.encode(task))
            reply = read_message(process.stdout)
        except OSError:
            reply = None
        if reply is None:
            raise Unavailable(
                f"{task.name}: the process that read it has ended (memory may have run out); run it again"
            )
        answer = msgspec.msgpack.decode(reply, type=Reply)
        if answer.error:
            raise next((kind for kind in ERRORS if kind.__name__ == answer.error), RuntimeError)(answer.message)

    def stop(self) -> None:
        """End all processes. A file that is being read is read again the next time."""
        with self._lock:
            self._is_stopped = True
            for process in self._processes:
                process.kill()

    def close(self) -> None:
        """Close the pipes of processes that were stopped."""
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was not written yet goes nowhere
                    if pipe is not None:
                        pipe.close()

    def _process(self) -> subprocess.Popen[bytes] | None:
        """Return the process that reads for this thread; None for the one thread that reads here."""
        if not hasattr(self._thread, "process"):
            with self._lock:
                if self._is_stopped:
                    raise Unavailable("reading was stopped")
                self._thread.process = self._start() if self._has_reader_here else None
                self._has_reader_here = True
        process: subprocess.Popen[bytes] | None = self._thread.process
        return process

    def _start(self) -> subprocess.Popen[bytes]:
        process = start_python(
            "ingest.formats.reading_process",
            environment=KEEP_MEMORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._processes.append(process)
        return process


def write_message(pipe: IO[bytes] | None, content: bytes) -> None:
    """Write a message with its length before it."""
    assert pipe is not None
    pipe.write(len(content).to_bytes(4, "little") + content)
    pipe.flush()


def read_message(pipe: IO[bytes] | None) -> bytes | None:
    """Return the next message, or None where the pipe has ended."""
    assert pipe is not None
    head = pipe.read(4)
    content = pipe.read(int.from_bytes(head, "little")) if len(head) == 4 else b""
    return content or None
