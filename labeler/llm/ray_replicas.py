"""A model served on a Ray cluster for the time of a run: one server for each replica, where Ray has free processors.

A server is a process beside an actor that watches it. Requests go over HTTP as to any endpoint, so they are retried,
counted and kept in the journal in the same way. A server that dies is restarted, on another machine if its own is gone;
meanwhile the other replicas get its requests.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from featurestore import BadRequest, Unavailable
from featurestore.extension.ray_cluster import connect_cluster
from featurestore.extension.text import first_line
from labeler.llm import supervise
from labeler.llm.completions import Answer, Messages
from labeler.llm.endpoint import CONCURRENCY, Endpoint

STARTING = 1800.0  # seconds until a server answers: it may have to read weights, or to download them
LOOK = 0.2  # seconds between two checks whether it answers
DEATHS, LONG = 3, 3600.0  # a server that ends so often, each time within so many seconds, is given up
NOWHERE = "http://127.0.0.1:0/v1"  # before its server is started
NOTICED = 15.0  # seconds within which the death of a server that does not answer is known
RETRIES = 2  # at one server: another may answer, or the same after a restart
LAST_OUTPUT = 2000  # bytes of a server's output of which the last line is reported


class Server:
    """A Ray actor with one server on its machine. The server ends with the actor, however that ends."""

    def __init__(self, command: Sequence[str], key: str):
        """`command` is a list of words in which {host} and {port} stand for this machine's."""
        self._command, self._key = command, key

    def start(self) -> str:
        """Start the server; returns its URL when it answers. Raises Unavailable when it ends instead."""
        import ray

        host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        self._words = [word.replace("{host}", host).replace("{port}", str(port)) for word in self._command]
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the actor
        self._process = subprocess.Popen(
            # By its path, so that no code of the current directory is run; what it starts may be of another Python.
            [sys.executable, "-P", supervise.__file__, *self._words],
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
                    f"'{shlex.join(self._words)}' did not answer in {STARTING:.0f} s: {self._last_line()}"
                )
            time.sleep(LOOK)
        return url

    def end(self) -> str:
        """Wait for the server's end; returns a sentence about how it ended."""
        code = self._process.wait()
        return f"'{shlex.join(self._words)}' ended with {code}: {self._last_line()}"

    def _last_line(self) -> str:
        output = self._output.fileno()  # the server appends at the same position, so we never seek in it
        raw = os.pread(output, LAST_OUTPUT, max(0, os.fstat(output).st_size - LAST_OUTPUT))
        lines = [line.strip() for line in raw.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"


def _answers(url: str, key: str) -> bool:
    """Whether a server is ready there. Most say so under /health: 503, or nothing, while they read weights."""
    health = _status(url.removesuffix("/v1") + "/health", key)
    if health != 404:
        return health is not None and health < 400
    models = _status(f"{url}/models", key)
    return models is not None and models < 500


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
    """An endpoint whose server may die and be restarted at another address. Replicas of one fleet share `news`."""

    def __init__(self, model: str, key: str, concurrency: int, fleet: list[Replica], news: threading.Condition):
        super().__init__(model, NOWHERE, retries=RETRIES, concurrency=concurrency, key=key)
        self.renewed = math.inf  # when its server was last started; inf while it has none
        self.lost: str | None = None  # why it will have no server again
        self._fleet, self._news = fleet, news
        self._stopped = False
        fleet.append(self)

    def ask(self, messages: Messages, **settings: Any) -> Answer:
        """The answer, as of any endpoint. Raises Unavailable while it has no server."""
        if self.renewed == math.inf:
            raise Unavailable(f"no server of {self.model} answers: {self.lost or 'it is being started'}")
        return super().ask(messages, **settings)

    def comes_back(self, since: float) -> bool:
        """Whether a server of the fleet has been started since that time; waits for one that is being started."""

        def is_renewed() -> bool:
            """Whether a server has been started since, or the run was stopped."""
            return self._stopped or any(since < replica.renewed < math.inf for replica in self._fleet)

        def is_starting() -> bool:
            """Whether a server is being started."""
            return any(replica.renewed == math.inf and not replica.lost for replica in self._fleet)

        with self._news:
            self._news.wait_for(lambda: is_renewed() or is_starting(), NOTICED)
            self._news.wait_for(lambda: is_renewed() or not is_starting())
            return is_renewed()

    def stop(self) -> None:
        """Begin no further request, and wait for no server."""
        super().stop()
        with self._news:
            self._stopped = True
            self._news.notify_all()

    def set_address(self, url: str | None, lost: str | None = None) -> None:
        """Note that its server answers at `url`; or, with None, that it has none, and why it is `lost` for good."""
        with self._news:
            if url is not None:
                self.move(url)
            self.renewed, self.lost = math.inf if url is None else time.monotonic(), lost
            self._news.notify_all()


@contextlib.contextmanager
def serve_on_ray(
    address: str,
    command: str,
    model: str,
    count: int | None = None,
    gpus: float | None = None,
    concurrency: int = CONCURRENCY,
) -> Iterator[list[Replica]]:
    """Serve a model on the Ray cluster at an address; yields its replicas when the first one answers.

    `count` replicas (default: as many as the cluster's GPUs allow, or one), each with `gpus`. `command` starts a
    server; in it {model}, {host}, {port} and {key} are filled in. Raises Unavailable when there is no cluster, too few
    free processors, or the command ends; BadRequest when it is no command.
    """
    key = secrets.token_hex(16)  # letters and digits: an argument that begins with "-" would be read as another option
    words = _split_command(command, model, key)
    with connect_cluster(address) as ray:
        gpus = (1.0 if ray.cluster_resources().get("GPU") else 0.0) if gpus is None else gpus
        count = _count_replicas(ray.cluster_resources(), count, gpus)
        start_actor = ray.remote(num_gpus=gpus, num_cpus=0 if gpus else 1)(Server)
        fleet: list[Replica] = []
        news = threading.Condition()
        for _ in range(count):
            Replica(model, key, concurrency, fleet, news)
        keepers = [_Keeper(ray, lambda: start_actor.remote(words, key), replica) for replica in fleet]
        try:
            with news:
                news.wait_for(
                    lambda: (
                        any(replica.renewed < math.inf for replica in fleet) or all(replica.lost for replica in fleet)
                    )
                )
            if all(replica.lost for replica in fleet):
                raise Unavailable(f"no server of {model} answers: {fleet[0].lost}")
            yield fleet
        finally:
            for keeper in keepers:
                keeper.end()


def _count_replicas(resources: Mapping[str, float], count: int | None, gpus: float) -> int:
    """The number of replicas to start. Raises Unavailable when the cluster has too few processors for them."""
    resource, each = ("GPU", gpus) if gpus else ("CPU", 1.0)
    available = resources.get(resource, 0)
    most = int(available // each)
    count = count or (most if gpus else 1)
    if not 0 < count <= most:
        raise Unavailable(f"a server needs {each:g} {resource}, and the cluster has {available:g}: room for {most}")
    return count


def _split_command(command: str, model: str, key: str) -> list[str]:
    """The command's words with model and key filled in. Raises BadRequest."""
    try:
        words = shlex.split(command)
    except ValueError as exc:
        raise BadRequest(f"--serve: '{command}' is no command: {exc}") from None
    if not any("{port}" in word for word in words):
        raise BadRequest(f"--serve: '{command}' does not say where {{port}} goes: each server gets one of its own")
    return [word.replace("{model}", model).replace("{key}", key) for word in words]


class _Keeper:
    """A thread that restarts the server of one replica whenever it dies."""

    def __init__(self, ray: Any, start_actor: Callable[[], Any], replica: Replica):
        self._ray, self._start_actor, self._replica = ray, start_actor, replica
        self._ending = False
        self._lock = threading.Lock()
        self._actor: Any = None
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the server and the thread."""
        with self._lock:
            self._ending = True
            if self._actor is not None:
                self._ray.kill(self._actor)
        self._thread.join()

    def _keep(self) -> None:
        deaths, reason = 0, ""
        while deaths < DEATHS:
            with self._lock:
                if self._ending:
                    return
                self._actor = self._start_actor()
            began = time.monotonic()
            try:
                self._replica.set_address(self._ray.get(self._actor.start.remote()))
                reason = self._ray.get(self._actor.end.remote())
            except self._ray.exceptions.RayTaskError as exc:
                reason = str(exc.cause)
            except self._ray.exceptions.RayError as exc:
                reason = first_line(exc, 300)
            self._replica.set_address(None)
            deaths = 1 if time.monotonic() - began > LONG else deaths + 1
        self._replica.set_address(None, reason)
