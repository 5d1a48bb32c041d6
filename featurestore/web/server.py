"""Serving for real: waitress, one process of several threads."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from featurestore.errors import Unavailable
from featurestore.interface import FeatureStore


def check_port(host: str, port: int) -> None:
    """Raises Unavailable, naming the remedy, when nothing can listen there."""
    try:
        _listening(host, port).close()
    except OSError as exc:
        raise _refused(host, port, exc) from None


def serve(store: FeatureStore, host: str = "127.0.0.1", port: int = 8000, threads: int = 8) -> None:
    """Serve `store` until interrupted (Ctrl-C) or terminated; requests under way get some seconds to end.

    Raises Unavailable when the port is taken.
    """
    from waitress.server import create_server

    from featurestore.web import MAX_BODY, create_app

    # Bound here, so that a busy port is told before anything starts; port 0 takes a free one.
    try:
        listening = _listening(host, port)
    except OSError as exc:
        raise _refused(host, port, exc) from None
    logging.getLogger("waitress").setLevel(logging.ERROR)
    # Flask refuses a body over MAX_BODY with a problem document; what is far larger is not even received.
    server = create_server(
        create_app(store),
        sockets=[listening],
        threads=threads,
        ident="featurestore",
        max_request_body_size=2 * MAX_BODY,
    )
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"serving {store.location} at http://{shown}:{listening.getsockname()[1]} (Ctrl-C stops)")
    try:
        with _terminated_as_interrupted():
            server.run()
    finally:
        server.close()
        click.echo("stopped")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, as service managers send it, ends the service the way Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may take signals
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
