"""The pass on a Ray cluster: workers count units of the corpus, and what they counted is merged.

A unit counts once it is merged. Until then it is its worker's, and when that dies it goes back to those that are to be
done, so the result is that of one worker, whoever died and however often.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import numpy
import torch

from featurestore import BadRequest, FeatureStoreError, Unavailable
from ingest.corpus import Corpus
from ingest.model import Model
from ingest.onepass import Counted, Pass
from ingest.sae import Sae

TOGETHER = 2  # units a worker is given at once: it never waits, and stops soon when asked to
COLLECTED = 64  # units after which a worker gives up what it counted: what its death may cost
DEATHS = 3  # of workers, for each of them, before it is no accident

State = dict[str, dict[str, numpy.ndarray]]


@dataclasses.dataclass(frozen=True)
class Task:
    """What a worker needs to build the pass where it is."""

    model_location: str
    model_hash: str
    hooks: Mapping[str, tuple[str, bool]]  # each dictionary's hook, and whether its stream is centred
    context_size: int
    bos: list[int]
    seed: int
    max_norm: float
    special: tuple[int, ...]
    unit_tokens: int

    def build(self, saes: Mapping[str, Sae], corpus: Corpus, device: str) -> Pass:
        """The pass, with a model loaded here. Raises BadRequest when it is not the driver's."""
        model = Model(self.model_location, device)
        if model.hash != self.model_hash:
            raise BadRequest(
                f"the model at {self.model_location} is another one on a worker ({model.hash}, not {self.model_hash}): "
                "put the same files on all machines"
            )
        return Pass(
            model,
            {source: sae.to(device) for source, sae in saes.items()},
            {source: model.hook_point(name, centred) for source, (name, centred) in self.hooks.items()},
            corpus,
            corpus.contexts(self.context_size),
            self.bos,
            self.seed,
            self.max_norm,
            self.special,
            self.unit_tokens,
        )


class Worker:
    """Counts units where Ray put it, on a GPU if it was given one."""

    def __init__(self, task: Task, saes: Mapping[str, Sae], corpus: Corpus, device: str, threads: int):
        torch.set_num_threads(threads)
        # Built with the first units: what fails then is told as what fails later is.
        self._build = functools.cache(lambda: task.build(saes, corpus, device))
        self._counted: dict[str, Counted] = {}

    def count(self, units: list[int], spans: Mapping[str, tuple[int, int]]) -> list[int]:
        """Count units; their numbers."""
        the_pass = self._build()
        if not self._counted:
            self._counted = the_pass.nothing(spans)
        for number in units:
            the_pass.count(the_pass.units[number], self._counted)
        return units

    def collect(self) -> State:
        """What was counted since it was last asked."""
        counted, self._counted = self._counted, {}
        return {source: one.state() for source, one in counted.items()}


@dataclasses.dataclass(eq=False)
class _Hand:
    """A worker as the driver sees it."""

    actor: Any
    counted: list[int] = dataclasses.field(default_factory=list)  # not collected yet
    doing: list[int] = dataclasses.field(default_factory=list)


class Cluster:
    """Workers on a Ray cluster. A context manager; one that was started here ends with it."""

    def __init__(self, address: str, the_pass: Pass, saes: Mapping[str, Sae], workers: int | None):
        """`address` is a cluster's, "auto" for the one of this machine, or "local" to start one.

        There are as many workers as asked, or one for each GPU, or for each processor where there is none. Raises
        Unavailable when Ray is not installed or does not answer.
        """
        try:
            import ray
        except ImportError:
            raise Unavailable("a cluster needs ray: pip install 'featurestore[ray]'") from None
        self._ray = ray
        self._pass = the_pass
        self._started = not ray.is_initialized()
        if self._started:
            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
            try:
                if address == "local":
                    ray.init(num_cpus=workers, include_dashboard=False, **quiet)
                else:
                    _check_answers(address)
                    ray.init(address=address, **quiet)
            except (OSError, ValueError, RuntimeError) as exc:
                raise Unavailable(f"no Ray cluster answers at {address}: {str(exc).splitlines()[0][:200]}") from None
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0))
        self._count = workers or gpus or max(1, int(there.get("CPU", 1)))
        share = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        device = "cuda" if gpus else "cpu"
        points = the_pass.points
        task = Task(
            the_pass.model.location,
            the_pass.model.hash,
            {source: (sae.hook_point, points[source].centred) for source, sae in saes.items()},
            int(the_pass.contexts.length.max()),
            the_pass.bos,
            the_pass.seed,
            the_pass.max_norm,
            the_pass.special,
            the_pass.unit_tokens,
        )
        # Once into the cluster's memory, which the workers of a machine share.
        given = (task, ray.put(dict(saes)), ray.put(the_pass.corpus), device, 1)
        remote: Any = ray.remote(**share)  # type: ignore[call-overload]
        self._hire = lambda: _Hand(remote(Worker).remote(*given))
        self._deaths = 0

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._started:
            self._ray.shutdown()

    def count(self, todo: list[int], counted: Mapping[str, Counted]) -> Iterator[list[int]]:
        """Count units into what is counted; their numbers as they are merged. Raises what a worker raised, or Unavailable
        when workers die again and again."""
        spans = {source: (one.first, one.last) for source, one in counted.items()}
        left = collections.deque(todo)
        hands = [self._hire() for _ in range(min(self._count, len(todo)))]
        running: dict[Any, _Hand] = {}
        collecting: set[Any] = set()

        def go_on(hand: _Hand) -> None:
            if left and len(hand.counted) < COLLECTED:
                hand.doing = [left.popleft() for _ in range(min(TOGETHER, len(left)))]
                running[hand.actor.count.remote(hand.doing, spans)] = hand
            elif hand.counted:
                ticket = hand.actor.collect.remote()
                collecting.add(ticket)
                running[ticket] = hand

        for hand in hands:
            go_on(hand)
        while running:
            (ticket,), _ = self._ray.wait(list(running), num_returns=1)
            hand = running.pop(ticket)
            try:
                found = self._ray.get(ticket)
            except self._ray.exceptions.RayActorError as exc:
                left.extendleft([*hand.counted, *hand.doing])
                hands.remove(hand)
                hand = self._replace(exc)
                hands.append(hand)
            except self._ray.exceptions.RayTaskError as exc:
                raise exc.cause if isinstance(exc.cause, FeatureStoreError) else exc from None
            else:
                if ticket in collecting:
                    self._merge(found, counted)
                    done, hand.counted = hand.counted, []
                    yield done
                else:
                    hand.counted += hand.doing
                    hand.doing = []
            collecting.discard(ticket)
            go_on(hand)
            if left:  # of a worker that died, while the others were waiting for nothing
                for idle in [one for one in hands if one not in running.values()]:
                    go_on(idle)
        for hand in hands:
            self._ray.kill(hand.actor)

    def _replace(self, exc: Exception) -> _Hand:
        self._deaths += 1
        if self._deaths > DEATHS * self._count:
            raise Unavailable(f"the cluster's workers die again and again: {str(exc).splitlines()[0][:300]}") from None
        return self._hire()

    def _merge(self, found: State, counted: Mapping[str, Counted]) -> None:
        for source, state in found.items():
            counted[source].merge(Counted.of_state(state, self._pass.seed, self._pass.model.device))


def _check_answers(address: str) -> None:
    """Raises OSError when nobody listens at host:port: Ray itself would ask for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
