"""The socket that takes connections: how many, how many of one address, and which one goes when there are too many."""

from __future__ import annotations

import errno
import logging
import resource
import socket
import time
from collections.abc import Iterable
from typing import Any

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from featurestore.web.serving.channel import HELD_BYTES, Channel, find_network

MOST_CONNECTIONS = 1000
MOST_OF_ADDRESS = 200  # connections of one address; of IPv6, of one /64 network
ACCEPTED_AT_ONCE = 64
CHECK_SECONDS = 1.0  # between looks for slow clients
PAUSE_SECONDS = 0.5  # without taking connections, where the process may open no more files
NO_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
log = logging.getLogger("featurestore.web")


class Listener(TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    """Takes connections. Where there are too many, the one that has waited longest without a request makes room."""

    channel_class = Channel
    next_channel_cleanup: float = 0.0

    def __init__(self, application: Any, listening: socket.socket, dispatcher: Any, **adjustments: Any):
        self._paused_until = 0.0
        self._warned = -float("inf")
        self._doomed: list[Channel] = []
        self.most_connections = _count_connections()
        self.most_of_address = min(MOST_OF_ADDRESS, self.most_connections)
        super().__init__(
            application,
            _sock=listening,
            dispatcher=dispatcher,
            adj=Adjustments(
                sockets=[listening],
                # select() knows no file numbers beyond 1023.
                asyncore_use_poll=True,
                cleanup_interval=CHECK_SECONDS,
                outbuf_high_watermark=HELD_BYTES,
                **adjustments,
            ),
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            bind_socket=False,
        )

    def maintenance(self, now: float) -> None:
        """Close the connections of slow clients; called every CHECK_SECONDS."""
        for channel in list(self.active_channels.values()):
            channel.check(time.monotonic())

    def readable(self) -> bool:
        """Return whether the socket takes connections now. Called before each wait for events."""
        # Closed between events: a new connection could get the number of an old one, and events that are the old one's.
        for channel in self._doomed:
            channel.handle_close()
        self._doomed.clear()
        now = time.time()
        if now >= self.next_channel_cleanup:
            self.next_channel_cleanup = now + CHECK_SECONDS
            self.maintenance(now)
        return bool(self.accepting) and time.monotonic() >= self._paused_until

    def handle_accept(self) -> None:
        """Take the connections that wait."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted = self.accept()
                if accepted is None:
                    return
                connection, address = accepted
                self.set_socket_options(connection)
            except OSError as exc:
                if exc.errno in NO_FILES:
                    self._pause(exc)
                    return
                continue  # the client has gone already
            if self._make_room(find_network(address[0])):
                self.channel_class(self, connection, address, self.adj, map=self._map)
            else:
                connection.close()

    def _make_room(self, network: str) -> bool:
        """Close connections until one more fits. Returns False where none can be closed: all are being answered."""
        channels = [channel for channel in self.active_channels.values() if not channel.doomed]
        of_network = [channel for channel in channels if channel.network == network]
        if len(of_network) >= self.most_of_address:
            return self._doom_oldest(of_network)
        return len(channels) < self.most_connections or self._doom_oldest(channels)

    def _pause(self, exc: OSError) -> None:
        """Take no connections for a moment: the next try would fail at once, again and again."""
        self._paused_until = time.monotonic() + PAUSE_SECONDS
        freed = self._doom_oldest(self.active_channels.values())
        if time.monotonic() - self._warned > 60:
            self._warned = time.monotonic()
            log.warning("no connection can be taken: %s%s", exc.strerror, "; the oldest is closed" if freed else "")

    def _doom_oldest(self, channels: Iterable[Channel]) -> bool:
        """Close the connection that has waited longest and is not being answered. Returns whether there was one."""
        resting = [channel for channel in channels if not (channel.requests or channel.doomed)]
        if not resting:
            return False
        oldest = min(resting, key=lambda channel: channel.rested)
        oldest.doomed = True
        self._doomed.append(oldest)
        return True


def _count_connections() -> int:
    """Return how many connections the process takes: half of the files that it may open are for the store."""
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS if most_files == resource.RLIM_INFINITY else max(16, min(MOST_CONNECTIONS, most_files // 2))
