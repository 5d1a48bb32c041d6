"""Serving for real: waitress, one process of several threads."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from featurestore.errors import Unavailable
from featurestore.interface import FeatureStore
from featurestore.web.settings import Settings, trusted_hosts

DRAIN = 1.0  # seconds in which a worker's connections may go elsewhere


def check_port(host: str, port: int) -> None:
    """Raises Unavailable, naming the remedy, when nothing can listen there."""
    bound(host, port).close()


def serve(
    store: FeatureStore,
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int = 8,
    settings: Settings | None = None,
    listening: socket.socket | None = None,
) -> None:
    """Serve `store` until interrupted (Ctrl-C) or terminated; requests under way get some seconds to end.

    With `listening`, a socket that others listen on too, this is one of several workers: it says nothing, and before it ends
    it lets those who are connected go elsewhere. Raises Unavailable when the port is taken.
    """
    from waitress.server import create_server

    from featurestore.web.app import MAX_BODY, create_app
    from featurestore.web.serving.dispatch import Dispatcher
    from featurestore.wire.limits import MOST_GRAPH

    shared = listening is not None
    # Bound here, so that a busy port is told before anything starts; port 0 takes a free one.
    listening = listening or bound(host, port)
    logging.getLogger("waitress").setLevel(logging.ERROR)
    # Flask refuses a body over MAX_BODY with a problem document; what is far larger is not even received.
    server = create_server(
        create_app(store, settings or Settings(hosts=trusted_hosts(host), threads=threads)),
        sockets=[listening],
        _dispatcher=Dispatcher(threads),
        ident="featurestore",
        max_request_body_size=2 * MAX_BODY if settings is None or not settings.writes else MOST_GRAPH + MAX_BODY,
        connection_limit=1000,
        channel_timeout=60,
    )
    if not shared:
        click.echo(f"serving {store.location} at {address_of(listening)} (Ctrl-C stops)")
    try:
        with _drained_when_terminated(server) if shared else _terminated_as_interrupted():
            server.run()
    finally:
        server.close()
        if not shared:
            click.echo("stopped")


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises Unavailable, naming the remedy."""
    try:
        return _listening(host, port)
    except OSError as exc:
        raise _refused(host, port, exc) from None


def address_of(listening: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _drained_when_terminated(server: Any) -> Iterator[None]:
    """A worker that is told to end takes no new connection, closes those it has with their next answer, then ends."""
    from waitress.channel import HTTPChannel
    from waitress.task import WSGITask

    draining = threading.Event()

    class Task(WSGITask):
        def build_response_header(self) -> bytes:
            if draining.is_set():
                self.request.headers["CONNECTION"] = "close"
            return super().build_response_header()

    class Channel(HTTPChannel):
        task_class = Task

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def drain(number: int, frame: object) -> None:
        draining.set()
        server.accepting = False
        signal.setitimer(signal.ITIMER_REAL, DRAIN)

    server.channel_class = Channel
    signal.signal(signal.SIGALRM, interrupt)
    signal.signal(signal.SIGTERM, drain)
    yield


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, as service managers send it, ends the service the way Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may take signals
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    # Keys and parts are read anew by themselves: there is nothing to do on SIGHUP, which would end the process.
    handlers: dict[int, Any] = {signal.SIGTERM: interrupt} | (
        {signal.SIGHUP: signal.SIG_IGN} if hasattr(signal, "SIGHUP") else {}
    )
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)
    except OSError:
        made.close()
        raise
    return made


def _refused(host: str, port: int, exc: OSError) -> Unavailable:
    if exc.errno == errno.EADDRINUSE:
        return Unavailable(f"port {port} of {host} is in use by another program: choose another with --port")
    return Unavailable(f"cannot listen on {host}:{port}: {exc.strerror or exc}")
