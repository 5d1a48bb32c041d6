"""One process for SQL by itself: it ends with the service, answers whatever fails, and sends rows in small pieces."""

import os
import signal
import struct
import subprocess
import sys

import msgspec
import pyarrow
import pytest

from featurestore.errors import BadRequest, Unavailable
from featurestore.sql import process_pool
from featurestore.sql.batches import check_row, split_batch
from featurestore.sql.process_pool import BATCH, DONE, FAILED, READY, Failure, WorkerQuery, write_message
from featurestore.sql.worker_process import MOST_MESSAGE

ENDLESS = "SELECT sum(hash(a.range + b.range)) FROM range(10000000) a, range(10000000) b"


@pytest.fixture
def worker(tiny_store):
    command = [sys.executable, "-m", "featurestore.sql.worker_process", str(tiny_store), "400000000"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert receive(process)[0] == READY
        yield process
        process.kill()


def receive(process):
    kind, size = struct.unpack("<cI", process.stdout.read(5))
    return kind, process.stdout.read(size)


def ask(process, statement, timeout=20.0):
    query = WorkerQuery(statement, {}, {}, timeout)
    write_message(process.stdin, b"q", msgspec.msgpack.encode(query))


def test_it_ends_with_the_service_in_the_middle_of_a_query(worker):
    ask(worker, ENDLESS)
    worker.stdin.close()  # as when the service is killed
    assert worker.wait(20) == 0


def test_a_text_that_the_parser_does_not_end_with_ends_its_process(tiny_store):
    """Past the scan, which refuses such a text, the parser itself has a limit."""
    script = "from featurestore.sql import checks, worker_process as w; checks.check_text = lambda *_: None; w.main()"
    memory = "8000000000"  # so much that the time ends first, however fast the machine is
    command = [sys.executable, "-c", script, str(tiny_store), memory]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert receive(process)[0] == READY
        ask(process, "WITH a AS (" * 24)
        # It fills the memory besides, which takes the kernel's time: that counts as well.
        assert process.wait(60) == -signal.SIGPROF


def test_it_ends_by_itself_where_nobody_reads_its_answer(worker, monkeypatch):
    ask(worker, "SELECT repeat('x', 1000) FROM range(100000000)", -5.5)  # half a second in all, for the kernel
    assert worker.wait(20) < 0


def test_whatever_fails_is_an_answer_and_the_next_query_has_one(worker):
    for statement in ("SELECT union_value(a := 1)", "SELEC", "SELECT 'a'::INTEGER"):
        ask(worker, statement)
        kind, body = receive(worker)
        assert kind == FAILED
        assert msgspec.msgpack.decode(body, type=Failure).code == "bad_request"
    ask(worker, "SELECT 1")
    assert [receive(worker)[0] for _ in range(3)][1:] == [BATCH, DONE]


def test_rows_come_in_pieces(worker):
    ask(worker, "SELECT repeat('x', 100000) AS text FROM range(200)")
    receive(worker)
    rows, kind = 0, BATCH
    while True:
        kind, body = receive(worker)
        if kind == DONE:
            break
        assert len(body) < MOST_MESSAGE + 10_000
        rows += pyarrow.ipc.open_stream(body).read_all().num_rows
    assert rows == 200


def test_pieces_are_the_batch_and_a_large_row_is_refused():
    batch = pyarrow.record_batch({"n": list(range(1000)), "text": ["x" * n for n in range(1000)]})
    pieces = list(split_batch(batch, 10_000))
    assert pyarrow.Table.from_batches(pieces).to_pylist() == batch.to_pylist()
    assert max(piece.nbytes for piece in pieces) <= 10_000
    assert list(split_batch(batch.slice(0, 0), 10)) == []
    check_row(batch, 10)  # not a single row
    with pytest.raises(BadRequest, match="a row takes 1,0.. bytes; 10 are sent at most"):
        check_row(batch.slice(999), 10)


def test_a_store_that_is_closed_while_a_query_waits_for_its_process_says_so(tiny_store):
    worker = process_pool._Worker(str(tiny_store), 400_000_000)
    worker.kill()  # as Pool.close does from another thread
    with pytest.raises(Unavailable, match="was closed while the query waited"):
        worker.ready()
    with pytest.raises(Unavailable, match="has ended"):
        worker.send(WorkerQuery("SELECT 1", {}, {}, 1.0))


INTERRUPTED = """
import sys, threading, time
from featurestore.sql.process_pool import Workers
pool = Workers(sys.argv[1], 1)
threading.Thread(target=pool.warm).start()
while not pool._live:
    time.sleep(0.01)
try:
    print("opening", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    pool.close()
print("stopped", flush=True)
"""


def test_ctrl_c_while_a_process_opens_prints_no_traceback(tiny_store):
    command = [sys.executable, "-c", INTERRUPTED, str(tiny_store)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        assert process.stdout.readline() == "opening\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.communicate(timeout=60) == ("stopped\n", "")
