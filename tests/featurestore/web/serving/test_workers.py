"""Several processes behind one port: no request is lost while they are replaced, killed or ended."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

SERVED = """
import os, sys
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[2]
import featurestore
from featurestore import web
def one(listening):
    with featurestore.connect(sys.argv[1]) as store:
        os.write(1, f"worker {os.getpid()}\\n".encode())  # in one piece: two of them write at once
        web.serve(store, listening=listening)
web.serve_workers(one, "127.0.0.1", 0, 2, "here")
"""


@pytest.fixture
def served(tiny_store, tmp_path):
    """A service of two processes, its port, and the processes it started so far."""
    command = [sys.executable, "-u", "-c", SERVED, str(tiny_store), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port, started = None, []
        for line in process.stdout:
            if line.startswith("worker"):
                started.append(int(line.split()[1]))
            else:
                port = int(line.split()[3].rpartition(":")[2])
            if port and len(started) == 2:
                break
        yield process, port, started
        process.terminate()


class Asking(threading.Thread):
    """Asks for a feature's page again and again over one connection, opened anew when the service closes it."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.answers, self.stop = port, [], False

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self.stop:
            connection.request("GET", "/v1/features/tiny/0-res/8")
            answer = connection.getresponse()
            self.answers.append((answer.status, len(json.load(answer)["examples"]) > 0))
            time.sleep(0.002)
        connection.close()


@pytest.mark.crash
def test_no_request_is_lost_while_workers_are_replaced(served):
    process, port, first = served
    askers = [Asking(port) for _ in range(4)]
    for asker in askers:
        asker.start()
    process.send_signal(signal.SIGHUP)
    second = [int(process.stdout.readline().split()[1]) for _ in range(2)]
    deadline = time.monotonic() + 30
    while any(map(alive, first)) and time.monotonic() < deadline:
        time.sleep(0.05)
    counts = [len(asker.answers) for asker in askers]
    while any(len(asker.answers) < count + 5 for asker, count in zip(askers, counts, strict=True)):
        assert all(asker.is_alive() for asker in askers)
        time.sleep(0.01)
    for asker in askers:
        asker.stop = True
    for asker in askers:
        asker.join(30)
    assert not set(first) & set(second)
    assert not any(map(alive, first))
    assert {answer for asker in askers for answer in asker.answers} == {(200, True)}


def test_a_killed_worker_is_replaced_and_the_rest_serve_on(served):
    process, port, first = served
    os.kill(first[0], signal.SIGKILL)
    assert int(process.stdout.readline().split()[1]) not in first
    assert got(port, "/readyz") == b'{"status":"ok"}'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_end_together(served, number):
    process, port, first = served
    assert b"featurestore_requests_under_way" in got(port, "/metrics")
    process.send_signal(number)
    assert process.wait(30) == 0
    assert process.stdout.read() == "stopped\n"
    assert not any(map(alive, first))


def got(port, path):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
