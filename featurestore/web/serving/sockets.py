"""The socket that a service listens on, bound before anything is opened so that a busy port is reported at once."""

from __future__ import annotations

import errno
import socket

from featurestore.errors import Unavailable


def check_port(host: str, port: int) -> None:
    """Raises Unavailable, naming the remedy, when nothing can listen there."""
    listen_at(host, port).close()


def listen_at(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the address; port 0 takes a free port. Raises Unavailable, naming the remedy."""
    try:
        return _listen(host, port)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            message = f"port {port} of {host} is in use by another program: choose another with --port"
        else:
            message = f"cannot listen on {host}:{port}: {exc.strerror or exc}"
        raise Unavailable(message) from None


def address_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening
