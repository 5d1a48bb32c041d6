"""One process of the pool: opens the store, answers one query at a time from its standard input, and ends with limits.

The limits hold here too, whatever becomes of the service: memory, time for each query, and the life of the service
itself, whose end is the end of standard input.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import IO, Any

import msgspec
import pyarrow

from featurestore.errors import BadRequest, FeatureStoreError, Unavailable
from featurestore.sql.batches import check_row, split_batch
from featurestore.sql.engine import TOO_LARGE, Engine, memory_error
from featurestore.sql.process_pool import (
    BATCH,
    DONE,
    FAILED,
    OVERHEAD_BYTES,
    PARSE_SECONDS,
    PATIENCE_SECONDS,
    PLAN,
    READY,
    SCHEMA,
    Failure,
    WorkerQuery,
    encode,
    write_message,
)
from featurestore.sql.search_functions import plan_searches
from featurestore.storage.directory import Directory
from featurestore.storage.python_process import end_with_parent
from featurestore.values.parameters import from_json

# After the limit of a query the service kills its process; where the service cannot, this much later the kernel does.
KILL_SECONDS = 5.0
# The service holds one message at a time. A row cannot be sent in parts.
MOST_MESSAGE = 4_000_000  # bytes
MOST_ROW = 64_000_000


def main() -> None:
    """Answer queries until standard input ends, for `python -m featurestore.sql.worker_process LOCATION MEMORY`."""
    location, memory = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_DATA, (memory + OVERHEAD_BYTES, memory + OVERHEAD_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)  # pages come first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which then ends this process
    queries, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be read as an answer
    threading.Thread(target=end_with_parent, daemon=True).start()
    runner = _Runner(location, memory)

    def send(kind: bytes, body: bytes = b"") -> None:
        """Write one message of the answer."""
        write_message(answers, kind, body)

    send(READY)
    while True:
        _, size = struct.unpack("<cI", _read(queries, 5))
        query = msgspec.msgpack.decode(_read(queries, size), type=WorkerQuery)
        signal.setitimer(signal.ITIMER_REAL, query.timeout + PATIENCE_SECONDS + KILL_SECONDS)
        try:
            runner.answer(query, send)
            send(DONE)
        except Exception as exc:
            failure = _describe(exc)
            # A visitor does not learn where the store lies.
            failure = msgspec.structs.replace(failure, message=failure.message.replace(location, "the store"))
            send(FAILED, msgspec.msgpack.encode(failure))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


class _Runner:
    """The store and its newest snapshot, opened when first needed."""

    def __init__(self, location: str, memory: int):
        self._location = location
        self._memory = memory
        self._directory: Directory | None = None
        self._engine: Engine | None = None

    def answer(self, query: WorkerQuery, send: Callable[[bytes, bytes], Any]) -> None:
        """Send the answer of a query, message by message. Raises what is wrong with it."""
        if query.plans:
            with _limit_parsing():
                plan = plan_searches(query.statement, from_json(query.parameters))
            send(PLAN, msgspec.msgpack.encode(plan))
            return
        engine = self._open()
        if query.selection is not None:
            rows = engine.select(query.selection, query.timeout)
        else:
            tables = {name: pyarrow.ipc.open_stream(raw).read_all() for name, raw in query.tables.items()}
            rows = engine.stream(query.statement, from_json(query.parameters), tables, query.timeout)
        send(SCHEMA, encode(rows.schema.empty_table()))
        for batch in rows:
            for piece in split_batch(batch, MOST_MESSAGE):
                check_row(piece, MOST_ROW)
                send(BATCH, encode(piece))

    def _open(self) -> Engine:
        self._directory = self._directory or Directory(self._location)
        snapshot = self._directory.snapshot(fresh=False)
        if self._engine is None or self._engine.commit != snapshot.commit or self._engine.broken:
            if self._engine is not None:
                self._engine.close()
            self._engine = Engine(self._directory, snapshot, self._memory, _limit_parsing, is_served=True)
        return self._engine


def _describe(exc: Exception) -> Failure:
    """Return the error as the service gets it. What nobody foresaw is printed here, and not shown to the visitor."""
    if isinstance(exc, FeatureStoreError):
        return Failure(exc.code, str(exc), isinstance(exc, Unavailable) and str(exc).startswith(TOO_LARGE))
    if isinstance(exc, RecursionError):
        return Failure(BadRequest.code, "SQL: the statement is nested too deep; split it up")
    if isinstance(exc, MemoryError):
        return Failure(Unavailable.code, str(memory_error("the machine has no more")), True)
    if isinstance(exc, pyarrow.ArrowException):
        return Failure(BadRequest.code, f"SQL: a column's type cannot be sent ({exc}); cast it to VARCHAR")
    traceback.print_exc()
    return Failure(FeatureStoreError.code, "something failed inside the process for SQL; the service's log says what")


def _read(pipe: IO[bytes], size: int) -> bytes:
    body = pipe.read(size)
    if len(body) < size:
        raise SystemExit(0)  # the service has ended
    return body


@contextlib.contextmanager
def _limit_parsing() -> Iterator[None]:
    """End this process when what is inside takes more than PARSE_SECONDS of the processor's time."""
    signal.setitimer(signal.ITIMER_PROF, PARSE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    # A thread that cannot start, or that runs out of memory, must end the process, not hang it.
    threading.excepthook = lambda args: os._exit(1)
    with contextlib.suppress(BrokenPipeError):  # the service was killed in the middle of an answer
        main()
