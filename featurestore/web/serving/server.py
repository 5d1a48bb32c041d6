"""One process that serves an application with waitress and several threads."""

from __future__ import annotations

import logging
import socket
import sys

import click

from featurestore.interface import FeatureStore
from featurestore.web.app import MAX_BODY, create_app
from featurestore.web.serving.dispatch import Dispatcher
from featurestore.web.serving.listener import Listener
from featurestore.web.serving.signals import drain_on_terminate, interrupt_on_terminate
from featurestore.web.serving.sockets import address_of, listen_at
from featurestore.web.settings import Settings, trusted_hosts
from featurestore.wire.limits import MOST_GRAPH

# A thread that was away from the interpreter, to read or to compute, gets it back after so long at most. The page of a
# feature is away some 30 times; Python's own 5 ms would add up where other requests keep the interpreter busy.
SWITCH_SECONDS = 0.0005


def serve(
    store: FeatureStore,
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int = 8,
    settings: Settings | None = None,
    listening: socket.socket | None = None,
) -> None:
    """Serve `store` until interrupted (Ctrl-C) or terminated; requests under way get some seconds to end.

    With `listening`, a socket that other processes listen on too, this is one of several workers: it prints nothing,
    and before it ends its clients get time to connect to the others. Raises Unavailable when the port is taken.
    """
    is_worker = listening is not None
    sys.setswitchinterval(SWITCH_SECONDS)
    # Bound first, so that a busy port is reported before anything starts.
    listening = listening or listen_at(host, port)
    settings = settings or Settings(hosts=trusted_hosts(host), threads=threads)
    logging.getLogger("waitress").setLevel(logging.ERROR)
    server = Listener(
        create_app(store, settings),
        listening,
        Dispatcher(threads),
        ident="featurestore",
        # Flask refuses a body over its limit with a problem document; waitress does not even receive much larger ones.
        max_request_body_size=MOST_GRAPH + MAX_BODY if settings.writes else 2 * MAX_BODY,
    )
    if not is_worker:
        click.echo(f"serving {store.location} at {address_of(listening)} (Ctrl-C stops)")
    try:
        with drain_on_terminate(server) if is_worker else interrupt_on_terminate():
            server.run()
    finally:
        server.close()
        if not is_worker:
            click.echo("stopped")
