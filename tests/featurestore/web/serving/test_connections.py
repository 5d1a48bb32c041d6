"""Connections of slow, many, broken and hostile clients, over real sockets: the others are answered meanwhile."""

import errno
import functools
import json
import socket
import threading
import time

import pytest
from flask import Flask, Response

from featurestore.errors import Unavailable
from featurestore.web.serving import channel, listener
from featurestore.web.serving.dispatch import Dispatcher
from featurestore.web.serving.listener import Listener
from featurestore.web.serving.sockets import listen_at


class Panic(BaseException):
    """As extensions written in Rust raise it: no Exception."""


def make_app():
    app = Flask("tests")
    app.add_url_rule("/", "small", lambda: "ok")
    app.add_url_rule("/large", "large", lambda: Response(b"x" * 1_000_000 for _ in range(100)))

    @app.get("/panic")
    def panic():
        raise Panic("a poisoned lock")

    @app.get("/begins/<kind>")
    def begins(kind):
        def pieces():
            if kind == "late":
                yield b"the first piece\n"
            raise Unavailable("too slow") if kind == "known" else Panic("in the middle")

        return Response(pieces())

    return app


def end(server):
    """Ends the loop of a listener, in its thread."""
    server.close()
    server._map.clear()


@pytest.fixture
def serve():
    """Serves an app in a thread, with the listener's limits as they are set then; returns the listener."""
    running = []

    def start(app=None):
        server = Listener(app or make_app(), listen_at("127.0.0.1", 0), Dispatcher(4))
        server.port = int(server.effective_port)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.trigger.pull_trigger(functools.partial(end, server))
        thread.join(5)


def connect(server):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    return connection


def ask(server, request=b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
    """Sends bytes; returns status, headers and body of the answer, read until the service closes the connection."""
    with connect(server) as connection:
        connection.sendall(request)
        return parse(read_all(connection))


def read_all(connection):
    answer = bytearray()
    try:
        while piece := connection.recv(1 << 20):
            answer += piece
    except ConnectionResetError:
        pass
    return bytes(answer)


def parse(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def assert_problem(answer, status, words):
    got, headers, body = answer
    problem = json.loads(body)
    assert (got, headers["Content-Type"]) == (status, "application/problem+json")
    assert (problem["status"], problem["request"]) == (status, headers["X-Request-Id"])
    assert problem["code"] == ("error" if status == 500 else "bad_request")
    assert words in problem["detail"]
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (b"hello\r\n\r\n", 400, "start line is invalid"),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400, "invalid header"),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, "content-length"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "content-length"),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "either"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", 400, "either"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "either"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "not supported"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n", 400, "chunk size"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000 + b"\r\n\r\n", 431, "header"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413, "max_body"),
    ],
)
def test_what_is_no_request_gets_a_problem_and_its_connection_is_closed(serve, request_, status, words):
    server = serve()
    # What follows such a request on its connection is not read as another one.
    got, headers, body = ask(server, request_ + b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n" * (status != 431))
    assert headers["Connection"] == "close"
    assert_problem((got, headers, body.lower()), status, words)
    assert ask(server)[2] == b"ok"


def test_panics_end_in_answers(serve, caplog):
    server = serve()
    for path in (b"/panic", b"/begins/early", b"/begins/known"):
        got = ask(server, b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
        assert json.loads(got[2])["code"] == ("unavailable" if path.endswith(b"known") else "error")
        assert "poisoned" not in got[2].decode()
        assert json.loads(got[2])["request"] in caplog.text
    assert "a poisoned lock" in caplog.text
    # What has begun is broken off: its reader must not take it for complete.
    status, _, body = ask(server, b"GET /begins/late HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n\r\n")
    assert (status, body) == (200, b"10\r\nthe first piece\n\r\n")
    assert "request mine" in caplog.text
    assert ask(server)[2] == b"ok"


def test_headers_have_a_deadline_as_a_whole(serve, monkeypatch):
    monkeypatch.setattr(listener, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(channel, "HEADER_SECONDS", 0.5)
    server = serve()
    with connect(server) as slow:
        slow.settimeout(0.05)
        answer = b""
        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        while not answer:  # a byte now and then keeps it no longer
            slow.sendall(b"x")
            try:
                answer = slow.recv(1 << 16)
            except TimeoutError:
                assert ask(server)[2] == b"ok"
    assert_problem(parse(answer), 408, "headers of a request come within")


def test_a_body_has_a_least_rate(serve, monkeypatch):
    monkeypatch.setattr(listener, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(channel, "BODY_SECONDS", 0.3)
    server = serve()
    with connect(server) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        answer = read_all(slow)
    assert_problem(parse(answer), 408, "body of a request comes at 10,000 bytes a second")


def test_connections_without_requests_are_closed(serve, monkeypatch):
    monkeypatch.setattr(listener, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(channel, "IDLE_SECONDS", 0.3)
    server = serve()
    with connect(server) as idle, connect(server) as blank:
        assert read_all(idle) == b""
        blank.settimeout(0.05)
        while True:  # blank lines are no requests
            try:
                blank.sendall(b"\r\n\r\n")
                if blank.recv(10) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break


def test_an_answer_that_nobody_reads_gives_its_thread_back(serve, monkeypatch):
    monkeypatch.setattr(listener, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(listener, "HELD_BYTES", 1_000_000)
    monkeypatch.setattr(channel, "HELD_BYTES", 1_000_000)
    monkeypatch.setattr(channel, "HELD_SECONDS", 0.5)
    server = serve()
    slow = [connect(server) for _ in range(4)]
    for one in slow:
        one.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    assert ask(server)[2] == b"ok"  # although the four threads were all held
    for one in slow:
        assert len(read_all(one)) < 100_000_000
        one.close()


def test_a_reader_that_is_quick_enough_gets_everything(serve, monkeypatch):
    monkeypatch.setattr(listener, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(listener, "HELD_BYTES", 1_000_000)
    monkeypatch.setattr(channel, "HELD_BYTES", 1_000_000)
    body = ask(serve(), b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[2]
    assert body.count(b"x") == 100_000_000


def test_many_half_sent_requests_keep_nobody_waiting(serve, monkeypatch):
    monkeypatch.setattr(listener, "MOST_OF_ADDRESS", 50)
    server = serve()
    half = []
    for _ in range(200):
        half.append(connect(server))
        half[-1].sendall(b"GET / HTTP/1.1\r\nX: ")
    assert ask(server)[2] == b"ok"
    assert len(server.active_channels) <= 50
    assert read_all(half[0]) == b""  # the oldest made room
    for one in half:
        one.close()


def test_a_connection_that_is_answered_is_not_closed_for_another(serve, monkeypatch):
    monkeypatch.setattr(listener, "MOST_OF_ADDRESS", 2)
    app, came, release = make_app(), threading.Semaphore(0), threading.Event()

    @app.get("/waits")
    def waits():
        came.release()
        assert release.wait(20)
        return "ok"

    server = serve(app)
    held = [connect(server) for _ in range(2)]
    for one in held:
        one.sendall(b"GET /waits HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert came.acquire(timeout=20)
    with connect(server) as third:
        assert read_all(third) == b""
    release.set()
    for one in held:
        assert parse(read_all(one))[0] == 200
        one.close()


def test_without_file_numbers_the_acceptor_rests(serve, monkeypatch):
    monkeypatch.setattr(listener, "PAUSE_SECONDS", 0.2)
    server = serve()
    accept, tries = server.accept, []

    def fails():
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept()

    server.accept = fails
    assert ask(server)[2] == b"ok"
    assert tries[1] - tries[0] >= 0.2  # not again and again at full load
    assert len(tries) < 10


def test_addresses_of_a_network_of_ipv6_are_one():
    assert channel.find_network("2001:db8::1") == channel.find_network("2001:db8::ffff:2") == "2001:db8::/64"
    assert channel.find_network("fe80::1%eth0") == "fe80::/64"
    assert channel.find_network("192.0.2.1") == "192.0.2.1"
