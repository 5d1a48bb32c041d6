"""A model served on a Ray cluster for the time of a run: a server for each replica, started where Ray has room for it.

A server is a process beside an actor that watches it. It is asked over HTTP like any endpoint, so what is journalled,
retried and counted is the same. One that dies is started anew, elsewhere if its machine is gone; meanwhile the others
are asked what it was asked.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import os
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from featurestore import BadRequest, Unavailable
from featurestore.extension.ray_cluster import joined
from labeler.llm.endpoint import CONCURRENCY, Answer, Endpoint, Messages

STARTING = 1800.0  # seconds that a server may take until it answers: weights may have to be read, or fetched
LOOK = 0.2  # seconds between two tries whether it answers
DEATHS, LONG = 3, 3600.0  # of one server, each within so many seconds of its start, before it is no accident
NOWHERE = "http://127.0.0.1:0/v1"  # before it is served
NOTICED = 15.0  # seconds within which the death of a server that does not answer is known
RETRIES = 2  # at one server: another may answer, or the same when it has been started anew
LAST_WORDS = 2000  # bytes of a server's output that are looked at


class Server:
    """An actor: one server, started where Ray put this. It ends with the actor, however that ends."""

    def __init__(self, command: Sequence[str], key: str):
        """`command` with places for {host} and {port}, which are this machine's."""
        self._command, self._key = command, key

    def start(self) -> str:
        """The URL of the server, once it answers. Raises Unavailable when it ends instead."""
        import ray

        host = ray.util.get_node_ip_address()
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        self._words = [word.replace("{host}", host).replace("{port}", str(port)) for word in self._command]
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the actor
        self._process = subprocess.Popen(
            [sys.executable, "-m", "labeler.llm.supervise", *self._words],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        url, until = f"http://{host}:{port}/v1", time.monotonic() + STARTING
        while not _answers(url, self._key):
            if self._process.poll() is not None:
                raise Unavailable(self.end())
            if time.monotonic() > until:
                raise Unavailable(
                    f"'{shlex.join(self._words)}' did not answer in {STARTING:.0f} s: {self._last_words()}"
                )
            time.sleep(LOOK)
        return url

    def end(self) -> str:
        """Waits for the server's end; what is to be said of it."""
        code = self._process.wait()
        return f"'{shlex.join(self._words)}' ended with {code}: {self._last_words()}"

    def _last_words(self) -> str:
        output = self._output.fileno()  # which the server writes on at the same place, so nobody seeks in it
        raw = os.pread(output, LAST_WORDS, max(0, os.fstat(output).st_size - LAST_WORDS))
        lines = [line.strip() for line in raw.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"


def _answers(url: str, key: str) -> bool:
    """Whether a server is ready there. Most tell under /health: 503, or nothing, while they read weights."""
    health = _status(url.removesuffix("/v1") + "/health", key)
    if health != 404:
        return health is not None and health < 400
    listed = _status(f"{url}/models", key)
    return listed is not None and listed < 500


def _status(url: str, key: str) -> int | None:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        exc.close()
        return exc.code
    except (OSError, http.client.HTTPException):
        return None


class Replica(Endpoint):
    """An endpoint whose server may die and be started anew, at another address. Those of one fleet share `news`."""

    def __init__(self, model: str, key: str, concurrency: int, fleet: list[Replica], news: threading.Condition):
        super().__init__(model, NOWHERE, retries=RETRIES, concurrency=concurrency, key=key)
        self.renewed = math.inf  # when its server last came to answer; inf while it has none
        self.lost: str | None = None  # why it will have none again
        self._fleet, self._news = fleet, news
        self._stopped = False
        fleet.append(self)

    def ask(self, messages: Messages, **settings: Any) -> Answer:
        if self.renewed == math.inf:
            raise Unavailable(f"no server of {self.model} answers: {self.lost or 'it is being started'}")
        return super().ask(messages, **settings)

    def comes_back(self, since: float) -> bool:
        """Whether a server of the fleet has been started anew since a time, or is being started: waits for that."""

        def anew() -> bool:
            return self._stopped or any(since < one.renewed < math.inf for one in self._fleet)

        def starting() -> bool:
            return any(one.renewed == math.inf and not one.lost for one in self._fleet)

        with self._news:
            self._news.wait_for(lambda: anew() or starting(), NOTICED)
            self._news.wait_for(lambda: anew() or not starting())
            return anew()

    def stop(self) -> None:
        super().stop()
        with self._news:
            self._stopped = True
            self._news.notify_all()

    def served_at(self, url: str | None, lost: str | None = None) -> None:
        """Its server answers there; or it has none, or is lost for a reason."""
        with self._news:
            if url is not None:
                self.move(url)
            self.renewed, self.lost = math.inf if url is None else time.monotonic(), lost
            self._news.notify_all()


@contextlib.contextmanager
def served(
    address: str,
    command: str,
    model: str,
    count: int | None = None,
    gpus: float | None = None,
    concurrency: int = CONCURRENCY,
) -> Iterator[list[Replica]]:
    """Replicas of a model, `count` (default: one for each `gpus`, or one), on the Ray cluster at an address.

    `command` starts a server; in it {model}, {host}, {port} and {key} stand for what it is to serve and how. Begins when the first
    replica answers. Raises Unavailable when there is no cluster, no room, or the command ends; BadRequest when it cannot be one.
    """
    key = secrets.token_hex(16)  # letters and digits: an argument that begins with "-" would be read as another option
    words = _words(command, model, key)
    with joined(address) as ray:
        there = ray.cluster_resources()
        gpus = (1.0 if there.get("GPU") else 0.0) if gpus is None else gpus
        what, each = ("GPU", gpus) if gpus else ("CPU", 1.0)
        room = int(there.get(what, 0) // each)
        count = count or (room if gpus else 1)
        if not 0 < count <= room:
            raise Unavailable(
                f"a server needs {each:g} {what}, and the cluster has {there.get(what, 0):g}: room for {room}"
            )
        hire = ray.remote(num_gpus=gpus, num_cpus=0 if gpus else 1)(Server)
        fleet: list[Replica] = []
        news = threading.Condition()
        for _ in range(count):
            Replica(model, key, concurrency, fleet, news)
        keepers = [_Keeper(ray, lambda: hire.remote(words, key), one) for one in fleet]
        try:
            with news:
                news.wait_for(lambda: any(one.renewed < math.inf for one in fleet) or all(one.lost for one in fleet))
            if all(one.lost for one in fleet):
                raise Unavailable(f"no server of {model} answers: {fleet[0].lost}")
            yield fleet
        finally:
            for one in keepers:
                one.end()


def _words(command: str, model: str, key: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as exc:
        raise BadRequest(f"--serve: '{command}' is no command: {exc}") from None
    if not any("{port}" in word for word in words):
        raise BadRequest(f"--serve: '{command}' does not say where {{port}} goes: each server gets one of its own")
    return [word.replace("{model}", model).replace("{key}", key) for word in words]


class _Keeper:
    """A thread that keeps one replica served."""

    def __init__(self, ray: Any, hire: Callable[[], Any], replica: Replica):
        self._ray, self._hire, self._replica = ray, hire, replica
        self._ending = False
        self._lock = threading.Lock()
        self._actor: Any = None
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the server."""
        with self._lock:
            self._ending = True
            if self._actor is not None:
                self._ray.kill(self._actor)
        self._thread.join()

    def _keep(self) -> None:
        deaths, said = 0, ""
        while deaths < DEATHS:
            with self._lock:
                if self._ending:
                    return
                self._actor = self._hire()
            began = time.monotonic()
            try:
                self._replica.served_at(self._ray.get(self._actor.start.remote()))
                said = self._ray.get(self._actor.end.remote())
            except self._ray.exceptions.RayTaskError as exc:
                said = str(exc.cause)
            except self._ray.exceptions.RayError as exc:
                said = str(exc).splitlines()[0][:300]
            self._replica.served_at(None)
            deaths = 1 if time.monotonic() - began > LONG else deaths + 1
        self._replica.served_at(None, said)
