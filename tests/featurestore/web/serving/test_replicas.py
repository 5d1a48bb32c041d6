"""Several services over one store: what any of them, or a writer beside them, commits, all of them answer next."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager

import pytest

import featurestore
from bench import serve as bench
from tests.support import tiny

SERVED = """
import os, sys
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[2]
import featurestore
from featurestore import web
def one(listening):
    with featurestore.connect(sys.argv[1]) as store:
        web.serve(store, settings=web.Settings(writes=True), listening=listening)
web.serve_workers(one, "127.0.0.1", 0, 2, "here")
"""


@contextmanager
def replica(store, folder):
    """A service of two processes; its process and port."""
    folder.mkdir()
    command = [sys.executable, "-u", "-c", SERVED, str(store), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process, int(process.stdout.readline().split()[3].rpartition(":")[2])
        process.terminate()
        process.stdout.read()


def asked(port, method, path, body=None, headers=()):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        sent = {"Content-Type": "application/json"} if body else {}
        connection.request(method, path, json.dumps(body) if body else None, sent | dict(headers))
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None, answer.headers.get("ETag")


def test_replicas_answer_what_was_committed_anywhere(tmp_path):
    path, id = tmp_path / "s", "tiny/0-res/3"
    tiny.write_tiny_store(path, index=False).close()
    with ExitStack() as stack:
        ports = [stack.enter_context(replica(path, tmp_path / f"r{n}"))[1] for n in range(2)]
        tags = {asked(port, "GET", f"/v1/features/{id}")[2] for port in ports for _ in range(4)}
        assert len(tags) == 1, "every process of every replica has the same tag for the same answer"
        for n in range(3):
            status, _, _ = asked(ports[n % 2], "PUT", f"/v1/labels/{id}", {"label": f"said {n}"})
            assert status == 200
            for port in ports * 2:
                status, page, tag = asked(
                    port, "GET", f"/v1/features/{id}", headers={"If-None-Match": tags.copy().pop()}
                )
                assert (status, page["label"]) == (200, f"said {n}")
            tags = {tag}
        with featurestore.connect(path) as owner, owner.writer("tests") as writer:
            tiny.add_dictionary(writer, "2-res", 2)
        for port in ports * 2:
            assert asked(port, "GET", "/v1/features/tiny/2-res/5")[1]["id"] == "tiny/2-res/5"
        with featurestore.connect(path) as owner:
            owner.remove("tiny/2-res")
            owner.compact()
        for port in ports * 2:
            assert asked(port, "GET", "/v1/features/tiny/2-res/5")[0] == 404
            assert asked(port, "GET", f"/v1/features/{id}")[1]["label"] == "said 2"


@pytest.mark.crash
def test_pages_stay_right_while_a_writer_compacts_and_workers_are_replaced(tmp_path):
    """Pages asked all the while are whole, and of a label that was there: none is older than one seen before."""
    path = tmp_path / "s"
    tiny.write_tiny_store(path, index=False).close()
    wrong, seen, ended = [], [], threading.Event()

    def ask(port):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            follow(connection)

    def follow(connection):
        last = -1
        while not ended.is_set():
            connection.request("GET", "/v1/features/tiny/0-res/3")
            answer = connection.getresponse()
            page = json.loads(answer.read())
            number = int(page["label"].split()[-1]) if answer.status == 200 else None
            if number is None or number < last or len(page["examples"]) != 4:
                wrong.append((answer.status, page))
                return
            last = number
            seen.append(number)

    with replica(path, tmp_path / "r") as (process, port), featurestore.connect(path) as owner:
        asked(port, "PUT", "/v1/labels/tiny/0-res/3", {"label": "number 0"})
        askers = [threading.Thread(target=ask, args=(port,)) for _ in range(3)]
        for asker in askers:
            asker.start()
        for number in range(1, 9):
            assert asked(port, "PUT", "/v1/labels/tiny/0-res/3", {"label": f"number {number}"})[0] == 200
            if number % 3 == 0:
                owner.compact()
            if number == 4:
                process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while 8 not in seen and not wrong and time.monotonic() < deadline:
            time.sleep(0.05)
        ended.set()
        for asker in askers:
            asker.join(30)
    assert wrong == []
    assert 8 in seen


@pytest.mark.slow
def test_mixed_load_with_a_writer_and_a_reload_has_no_error(tmp_path):
    """`python -m bench.serve` at a small size: its figures are not judged here, its errors are."""
    found = bench.measure(tmp_path / "bench.features", 3000, 1.0, 20.0)
    assert found["errors"] == 0
    assert set(found) == {
        "bare_rps",
        "page_rps",
        "page_ratio",
        "page_ratios",
        "page_half_p99_ms",
        "errors",
        "endpoints",
        "rss_growth_mb",
        "memory_mb",
    }
    assert all(one["rps"] > 0 for one in found["endpoints"].values())
