"""Visitors' SQL in separate processes, so that no query can stop the service or starve the others.

Each worker is a Python process that opens the store and answers one query at a time. The operating system enforces a
limit on its memory, and it is killed after a limit on time: `SELECT levenshtein(...)` of two long strings, or a list of
two billion numbers, reacts to no interrupt. Results come as Arrow batches through a pipe. What a process does is in
worker_process.py.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from typing import IO, Any

import msgspec
import pyarrow

from featurestore.errors import BadRequest, Unavailable, error_of
from featurestore.sql.conditions import Selection
from featurestore.sql.engine import memory_error, timeout_error
from featurestore.sql.search_functions import SearchPlan
from featurestore.storage.python_process import start_python
from featurestore.values.parameters import to_json
from featurestore.values.row_stream import RowStream

# A query is interrupted at its limit; this much later its process is killed.
PATIENCE_SECONDS = 1.0
START_SECONDS = 60.0
# Code, stacks and results take memory that DuckDB does not count.
OVERHEAD_BYTES = 1_000_000_000
# Of the processor's time, for parsing one statement. DuckDB's parser cannot be interrupted: its process is ended.
PARSE_SECONDS = 2.0
PLAN_SECONDS = 10.0  # for finding the searches of a statement, waiting for a process included
READY, SCHEMA, BATCH, PLAN, FAILED, DONE = b"r", b"s", b"b", b"p", b"e", b"d"


class WorkerQuery(msgspec.Struct):
    """What a worker is to run: a SELECT, its parameters (as JSON types), and the tables it can name (as Arrow IPC).

    With a `selection` it runs that instead; with `plans` it only finds the searches of the statement.
    """

    statement: str
    parameters: dict[str, Any]
    tables: dict[str, bytes]
    timeout: float
    selection: Selection | None = None
    plans: bool = False


class Failure(msgspec.Struct):
    """Why a worker has no result. A `spent` worker ran out of memory, does not return it, and has to be replaced."""

    code: str
    message: str
    spent: bool = False


class Workers:
    """A pool of SQL processes over one store. Safe to share between threads; close it at the end."""

    def __init__(
        self, location: str, count: int = 4, memory: int = 1_000_000_000, what: str = "queries", waiting: int = 1000
    ):
        """Run at most `count` queries at once, each within `memory` bytes. Processes start when first needed.

        At most `waiting` further callers wait for a process. `what` names the queries in messages.
        """
        self._what = what
        self._places = threading.BoundedSemaphore(count + waiting)
        self._location = location
        self.memory = memory
        self._free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)
        self.count = count
        self._live: set[_Worker] = set()
        self._closed = False

    def stream(
        self, statement: str, parameters: Mapping[str, Any], tables: Mapping[str, pyarrow.Table], timeout: float
    ) -> RowStream:
        """Return the result of a SELECT, as Engine.stream does; `timeout` includes waiting for a free process.

        Raises what Engine.stream raises, and Unavailable when no process becomes free in time.
        """
        encoded_tables = {name: encode(table) for name, table in tables.items()}
        query = WorkerQuery(statement, to_json(parameters), encoded_tables, timeout)
        return RowStream(self._batches(query, time.monotonic() + timeout))

    def select(self, selection: Selection, timeout: float) -> RowStream:
        """Return dictionary and feature of a selection, as Engine.select does, within `timeout` as `stream` does."""
        return RowStream(self._batches(WorkerQuery("", {}, {}, timeout, selection), time.monotonic() + timeout))

    def plan(self, statement: str, parameters: Mapping[str, Any]) -> SearchPlan:
        """Find the searches of a statement, as `plan_searches` does, in a process. Raises as `stream` does."""
        query = WorkerQuery(statement, to_json(parameters), {}, PLAN_SECONDS, plans=True)
        (plan,) = self._batches(query, time.monotonic() + PLAN_SECONDS)
        assert isinstance(plan, SearchPlan)
        return plan

    def _batches(self, query: WorkerQuery, deadline: float) -> Generator[Any, None, None]:
        with self._worker(deadline) as worker:
            # Waiting for a free process counts, starting one does not.
            left = max(deadline - time.monotonic(), 0.1)
            worker.ready()
            deadline = time.monotonic() + left + PATIENCE_SECONDS
            worker.send(msgspec.structs.replace(query, timeout=left))
            while True:
                kind, body = worker.receive(deadline, query.timeout)
                if kind == FAILED:
                    failure = msgspec.msgpack.decode(body, type=Failure)
                    worker.idle = not failure.spent
                    raise error_of(failure.code, failure.message.replace(f"{left:g} s", f"{query.timeout:g} s"))
                if kind == DONE:
                    worker.idle = True
                    return
                if kind == PLAN:
                    yield msgspec.msgpack.decode(body, type=SearchPlan)
                    continue
                with pyarrow.ipc.open_stream(body) as reader:
                    if kind == SCHEMA:
                        yield reader.schema
                    else:
                        yield from reader

    @contextlib.contextmanager
    def _worker(self, deadline: float) -> Iterator[_Worker]:
        if not self._places.acquire(blocking=False):
            raise self._busy("as many wait")
        try:
            worker = self._free.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            self._places.release()
            raise self._busy("none ended in time") from None
        try:
            if worker is None or not worker.alive():
                worker = self._start()
            worker.idle = False
            yield worker
        finally:
            # A worker stopped in the middle of a query cannot serve the next one: another starts in its place.
            if worker is not None and not worker.idle:
                self._live.discard(worker)
                worker.kill()
                worker = None if self._closed else self._start()
            self._free.put(worker)
            self._places.release()

    def _busy(self, reason: str) -> Unavailable:
        error = Unavailable(f"{self.count} {self._what} are running and {reason}; try again later")
        error.retry_after = 1.0
        return error

    def _start(self) -> _Worker:
        worker = _Worker(self._location, self.memory)
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
    """One worker process and its two pipes."""

    def __init__(self, location: str, memory: int):
        self.idle = True
        self._ready = False
        # Ctrl-C goes to the terminal's process group: of its own, this process is ended by the service alone.
        self._process = start_python(
            "featurestore.sql.worker_process",
            location,
            str(memory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        assert self._process.stdout is not None
        self._poll = select.poll()  # select() knows no file numbers beyond 1023
        self._poll.register(self._process.stdout, select.POLLIN)

    def alive(self) -> bool:
        """Return whether the process still runs."""
        return self._process.poll() is None

    def ready(self) -> None:
        """Wait until the process has started."""
        if not self._ready:
            self.receive(time.monotonic() + START_SECONDS, START_SECONDS)
            self._ready = True

    def send(self, query: WorkerQuery) -> None:
        """Send a query to the process. Raises Unavailable when it has ended."""
        try:
            write_message(self._process.stdin, b"q", msgspec.msgpack.encode(query))
        except (OSError, ValueError):  # ValueError when its pipes were closed
            raise Unavailable("the process that was to run the query has ended; try again") from None

    def receive(self, deadline: float, timeout: float) -> tuple[bytes, bytes]:
        """Return the kind and the body of the process's next message.

        Raises Unavailable when none has come by `deadline` (the message names `timeout`) or the process has ended.
        """
        head = self._read_exactly(5, deadline, timeout)
        kind, size = struct.unpack("<cI", head)
        return kind, self._read_exactly(size, deadline, timeout)

    def _read_exactly(self, size: int, deadline: float, timeout: float) -> bytes:
        pipe = self._process.stdout
        assert pipe is not None
        body = bytearray()
        while len(body) < size:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(1000 * left):
                raise timeout_error(timeout)
            try:
                chunk = os.read(pipe.fileno(), min(size - len(body), 1 << 20))
            except (OSError, ValueError):  # another thread closed the store, and this pipe with it
                raise Unavailable("the store was closed while the query waited for its process") from None
            if not chunk:
                self._process.wait(START_SECONDS)
                if self._process.returncode == -signal.SIGPROF:
                    raise BadRequest(f"SQL: parsing this takes more than {PARSE_SECONDS:g} s; write it simpler")
                if self._process.returncode > 0:  # it ended by itself, and its log says why
                    raise Unavailable("the process that ran the query has failed; try again, or ask for less")
                raise memory_error("its process was ended")
            body += chunk
        return bytes(body)

    def kill(self) -> None:
        """End the process and close its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def write_message(pipe: IO[bytes] | None, kind: bytes, body: bytes) -> None:
    """Write a message: its kind, its length and its body."""
    assert pipe is not None
    pipe.write(struct.pack("<cI", kind, len(body)))
    pipe.write(body)
    pipe.flush()


def encode(table: pyarrow.Table | pyarrow.RecordBatch) -> bytes:
    """Return rows as an Arrow IPC stream."""
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    return bytes(sink.getvalue())
