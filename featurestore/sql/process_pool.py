"""Strangers' SQL in processes of their own, so that no query can take the service down or starve the others.

Each worker is a Python process that opens the store for itself and answers one query at a time, within a limit on memory
that the operating system enforces and a limit on time after which it is killed: `SELECT levenshtein(...)` of two long
strings, or a list of two billion numbers, hears no interrupt. Results come as Arrow batches through a pipe.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any, BinaryIO

import msgspec
import pyarrow

from featurestore.errors import Unavailable, error_of
from featurestore.sql.engine import TOO_LARGE, too_large, too_slow
from featurestore.values.parameters import from_json, to_json
from featurestore.values.row_stream import RowStream

# A query is told to stop at its limit, and killed when it has not by then.
PATIENCE_SECONDS = 1.0
START_SECONDS = 60.0
# Code, stacks and results take memory that DuckDB does not count.
OVERHEAD_BYTES = 1_000_000_000
READY, SCHEMA, BATCH, FAILED, DONE = b"r", b"s", b"b", b"e", b"d"


class Asked(msgspec.Struct):
    """What a worker is asked: a SELECT, its parameters (as JSON types), and the tables it can name as Arrow IPC."""

    statement: str
    parameters: dict[str, Any]
    tables: dict[str, bytes]
    timeout: float


class Failure(msgspec.Struct):
    """Why a worker has no result. One that is `spent` ran out of memory: it keeps what it has and has none to spare."""

    code: str
    message: str
    spent: bool = False


class Workers:
    """A pool of SQL processes over one store. Safe to share between threads; close it at the end."""

    def __init__(self, location: str, count: int = 4, memory: int = 1_000_000_000):
        """At most `count` queries run at once, each within `memory` bytes. Processes start when they are first needed."""
        self._location = location
        self._memory = memory
        self._free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)
        self._count = count
        self._live: set[_Worker] = set()
        self._closed = False

    def stream(
        self, statement: str, parameters: Mapping[str, Any], tables: Mapping[str, pyarrow.Table], timeout: float
    ) -> RowStream:
        """As Engine.stream; `timeout` includes waiting for a free process. Raises Unavailable when none becomes free."""
        sent = {name: _ipc(table) for name, table in tables.items()}
        asked = Asked(statement, to_json(parameters), sent, timeout)
        return RowStream(self._batches(asked, time.monotonic() + timeout))

    def _batches(self, asked: Asked, deadline: float) -> Generator[Any, None, None]:
        with self._worker(deadline) as worker:
            # Waiting for a free process counts, starting one does not.
            left = max(deadline - time.monotonic(), 0.1)
            worker.ready()
            deadline = time.monotonic() + left + PATIENCE_SECONDS
            worker.send(msgspec.structs.replace(asked, timeout=left))
            while True:
                kind, body = worker.receive(deadline, asked.timeout)
                if kind == FAILED:
                    failure = msgspec.msgpack.decode(body, type=Failure)
                    worker.idle = not failure.spent
                    raise error_of(failure.code, failure.message.replace(f"{left:g} s", f"{asked.timeout:g} s"))
                if kind == DONE:
                    worker.idle = True
                    return
                with pyarrow.ipc.open_stream(body) as reader:
                    if kind == SCHEMA:
                        yield reader.schema
                    else:
                        yield from reader

    @contextlib.contextmanager
    def _worker(self, deadline: float) -> Iterator[_Worker]:
        try:
            worker = self._free.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise Unavailable(f"{self._count} queries are running and none ended in time; try again later") from None
        try:
            if worker is None or not worker.alive():
                worker = self._start()
            worker.idle = False
            yield worker
        finally:
            # One that was left in the middle of a query is of no use to the next: another warms up in its place.
            if worker is not None and not worker.idle:
                self._live.discard(worker)
                worker.kill()
                worker = None if self._closed else self._start()
            self._free.put(worker)

    def _start(self) -> _Worker:
        worker = _Worker(self._location, self._memory)
        self._live.add(worker)
        return worker

    def warm(self) -> None:
        """Start one process, so that the first query need not wait for it."""
        with contextlib.suppress(Unavailable):
            self.stream("SELECT 1", {}, {}, 30.0).read_all()

    def close(self) -> None:
        """End every process."""
        self._closed = True
        for worker in list(self._live):
            worker.kill()
        self._live.clear()


class _Worker:
    """One process."""

    def __init__(self, location: str, memory: int):
        self.idle = True
        self._ready = False
        command = [sys.executable, "-m", "featurestore.sql.process_pool", location, str(memory)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def alive(self) -> bool:
        return self._process.poll() is None

    def ready(self) -> None:
        """Wait until the process has started."""
        if not self._ready:
            self.receive(time.monotonic() + START_SECONDS, START_SECONDS)
            self._ready = True

    def send(self, asked: Asked) -> None:
        try:
            _write(self._process.stdin, b"q", msgspec.msgpack.encode(asked))
        except OSError:
            raise Unavailable("the process that was to run the query has ended; try again") from None

    def receive(self, deadline: float, timeout: float) -> tuple[bytes, bytes]:
        head = self._exactly(5, deadline, timeout)
        kind, size = struct.unpack("<cI", head)
        return kind, self._exactly(size, deadline, timeout)

    def _exactly(self, size: int, deadline: float, timeout: float) -> bytes:
        pipe = self._process.stdout
        assert pipe is not None
        found = bytearray()
        while len(found) < size:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([pipe], [], [], left)[0]
            if not ready:
                raise too_slow(timeout)
            chunk = os.read(pipe.fileno(), min(size - len(found), 1 << 20))
            if not chunk:
                raise too_large("its process was ended")
            found += chunk
        return bytes(found)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _write(pipe: BinaryIO | Any, kind: bytes, body: bytes) -> None:
    pipe.write(struct.pack("<cI", kind, len(body)))
    pipe.write(body)
    pipe.flush()


def _ipc(table: pyarrow.Table | pyarrow.RecordBatch) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    return sink.getvalue().to_pybytes()


def _read(pipe: BinaryIO, size: int) -> bytes:
    found = pipe.read(size)
    if len(found) < size:
        raise SystemExit(0)  # the service has ended
    return found


def main() -> None:
    """Answer queries from stdin until it ends: what `python -m featurestore.sql.process_pool LOCATION MEMORY` does."""
    from featurestore.errors import FeatureStoreError
    from featurestore.sql.engine import Engine
    from featurestore.storage.directory import Directory

    location, memory = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_DATA, (memory + OVERHEAD_BYTES, memory + OVERHEAD_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)  # pages come first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which then ends this process
    asks, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer
    directory, engine = None, None
    _write(answers, READY, b"")
    while True:
        _, size = struct.unpack("<cI", _read(asks, 5))
        asked = msgspec.msgpack.decode(_read(asks, size), type=Asked)
        try:
            directory = directory or Directory(location)
            snapshot = directory.snapshot(fresh=False)
            if engine is None or engine.commit != snapshot.commit:
                if engine is not None:
                    engine.close()
                engine = Engine(directory, snapshot, memory)
            tables = {name: pyarrow.ipc.open_stream(raw).read_all() for name, raw in asked.tables.items()}
            reader = engine.stream(asked.statement, from_json(asked.parameters), tables, asked.timeout)
            _write(answers, SCHEMA, _ipc(reader.schema.empty_table()))
            for batch in reader:
                if batch.num_rows:
                    _write(answers, BATCH, _ipc(batch))
            _write(answers, DONE, b"")
        except FeatureStoreError as exc:
            spent = isinstance(exc, Unavailable) and str(exc).startswith(TOO_LARGE)
            _write(answers, FAILED, msgspec.msgpack.encode(Failure(exc.code, str(exc), spent)))
        except MemoryError:
            failure = Failure(Unavailable.code, str(too_large("no more is to be had")), True)
            _write(answers, FAILED, msgspec.msgpack.encode(failure))


if __name__ == "__main__":
    # A thread that cannot be had, or memory that cannot be had in one, must end the process, not hang it.
    threading.excepthook = lambda args: os._exit(1)
    with contextlib.suppress(BrokenPipeError):  # the service was killed in the middle of an answer
        main()
