"""Several worker processes behind one port: started, watched, replaced on SIGHUP, ended on SIGTERM and Ctrl-C.

The parent binds the port and forks before anything is opened. Each worker opens the store for itself and accepts
connections from the shared socket, so that while one worker ends, others take the new connections.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable

import click
from prometheus_client.multiprocess import mark_process_dead

from featurestore.web.serving.sockets import address_of, listen_at

ENDING = 30.0  # seconds that workers get to end
STARTING = 1.0  # seconds; a worker that ends sooner is not replaced before they are over
log = logging.getLogger("featurestore.web")


def serve_workers(run: Callable[[socket.socket], None], host: str, port: int, workers: int, location: str) -> None:
    """Serve with `workers` processes, each of which calls `run` with the listening socket, until interrupted.

    Raises Unavailable when the port is taken.
    """
    listening = listen_at(host, port)
    try:
        pool = _WorkerPool(run, listening, workers)
        click.echo(f"serving {location} at {address_of(listening)} with {workers} processes (Ctrl-C stops)")
        sys.stdout.flush()
        pool.watch()
    finally:
        listening.close()
        click.echo("stopped")


class _WorkerPool:
    """The worker processes, and the loop of their parent."""

    def __init__(self, run: Callable[[socket.socket], None], listening: socket.socket, workers: int):
        self._run = run
        self._listening = listening
        self._workers = workers
        self._alive: dict[int, float] = {}  # by process, when it was started
        self._ending: set[int] = set()
        self._stop = self._reload = False

    def watch(self) -> None:
        """Replace workers that end, until SIGTERM or Ctrl-C; then end all."""
        before = {
            number: signal.signal(number, self._handle_signal)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        }
        try:
            self._start(self._workers)
            while not self._stop:
                # A signal between the check and the wait is seen half a second later.
                time.sleep(0.5)
                self._collect_ended()
                if self._reload:
                    self._reload = False
                    self._replace()
                self._start(self._workers - len(self._alive.keys() - self._ending))
        finally:
            self._end(set(self._alive))
            deadline = time.monotonic() + ENDING
            while self._alive and time.monotonic() < deadline:
                time.sleep(0.05)
                self._collect_ended()
            for process in self._alive:
                os.kill(process, signal.SIGKILL)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle_signal(self, number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        elif number != signal.SIGCHLD:
            self._stop = True

    def _replace(self) -> None:
        """Start new workers, then end the old ones, so that requests never wait."""
        old = self._alive.keys() - self._ending
        self._start(self._workers)
        time.sleep(STARTING)
        self._end(old)

    def _start(self, number: int) -> None:
        for _ in range(number):
            process = os.fork()
            if process == 0:
                self._work()
            self._alive[process] = time.monotonic()

    def _work(self) -> None:
        """Serve, in the child process; ends the process, so that it never returns into the parent's code."""
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            # Ctrl-C reaches the whole group; the parent says when to end.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self._run(self._listening)
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _collect_ended(self) -> None:
        """Forget the workers that ended."""
        for process in list(self._alive):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                continue
            lived = time.monotonic() - self._alive.pop(process)
            mark_process_dead(process)  # type: ignore[no-untyped-call]
            if process not in self._ending and not self._stop:
                log.error("worker %d ended with status %d; another takes its place", process, status)
                time.sleep(max(0.0, STARTING - lived))
            self._ending.discard(process)

    def _end(self, processes: set[int]) -> None:
        """Ask workers to end."""
        for process in processes & self._alive.keys():
            self._ending.add(process)
            os.kill(process, signal.SIGTERM)
