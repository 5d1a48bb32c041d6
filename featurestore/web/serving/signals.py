"""How a serving process ends on signals: at once like Ctrl-C, or, for one of several workers, after a short drain."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from featurestore.web.serving.channel import Channel, Task

DRAIN = 1.0  # seconds in which a worker's clients may connect to other workers


@contextmanager
def drain_on_terminate(server: Any) -> Iterator[None]:
    """On SIGTERM take no new connection, close each one after its next answer, and end after DRAIN seconds."""
    draining = threading.Event()

    class DrainingTask(Task):
        """An answer that closes its connection while the worker drains."""

        def build_response_header(self) -> bytes:
            """Return the head of the answer."""
            if draining.is_set():
                self.request.headers["CONNECTION"] = "close"
            header: bytes = super().build_response_header()
            return header

    class DrainingChannel(Channel):
        """A connection with such answers."""

        task_class = DrainingTask

    def drain(number: int, frame: object) -> None:
        """Begin to drain; a signal handler."""
        draining.set()
        server.accepting = False
        signal.setitimer(signal.ITIMER_REAL, DRAIN)

    server.channel_class = DrainingChannel
    signal.signal(signal.SIGALRM, _interrupt)
    signal.signal(signal.SIGTERM, drain)
    yield


@contextmanager
def interrupt_on_terminate() -> Iterator[None]:
    """End on SIGTERM, which service managers send, as on Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    # Keys and files of the store are read again when they change: SIGHUP has nothing to do, and must not end us.
    handlers: dict[int, Any] = {signal.SIGTERM: _interrupt} | (
        {signal.SIGHUP: signal.SIG_IGN} if hasattr(signal, "SIGHUP") else {}
    )
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
