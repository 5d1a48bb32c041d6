"""The harvest on a Ray cluster: workers count units of the corpus, and tasks merge and write shards of features.

A unit counts once its worker gave up what it counted. Until then it is that worker's, and when that dies it goes back to
those that are to be done, so the result is that of one worker, whoever died and however often. What was given up lies in the
cluster's memory, or on its disks, in shards of features; this process only has handles of it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from featurestore import BadRequest, FeatureStoreError, Unavailable
from featurestore.extension.ray_cluster import connect_cluster
from ingest.corpus.corpus import Corpus
from ingest.harvest import shards
from ingest.harvest.executor import Span
from ingest.harvest.forward_pass import Counted, Pass
from ingest.harvest.malloc import give_back_large_arrays
from ingest.model.model import Model
from ingest.sae import Sae

TOGETHER = 2  # units a worker is given at once: it never waits, and stops soon when asked to
COLLECTED = 64  # units after which a worker gives up what it counted: what its death may cost
THREADS = 1  # of a worker
PIECES = 4  # of one shard that are merged at once: they lie in one machine's memory
DEATHS = 3  # of workers, for each of them, or of those who do a task, before it is no accident


@dataclasses.dataclass(frozen=True)
class Task:
    """What a worker needs to build the pass where it is."""

    model_location: str
    model_hash: str
    reads: Mapping[str, tuple[str, bool, bool]]  # each dictionary's, see Sae.reads
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
            {source: model.hook_point(*reads) for source, reads in self.reads.items()},
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
        give_back_large_arrays()
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

    def collect(self) -> list[Counted | None]:
        """What was counted since it was last asked, in shards; before them None, so that who waits need not take any."""
        counted, self._counted = self._counted, {}
        return [None, *(part for one in counted.values() for part in shards.cut(one))]


def merged(*parts: Counted) -> Counted:
    """What several workers counted of one shard."""
    whole = parts[0]
    for part in parts[1:]:
        whole.merge(part)
    return whole


def made(threads: int, helper: Any, function: Callable[..., None], *call: Any) -> list[Any]:
    """The parts that a function adds to a writer, made where Ray put this."""
    torch.set_num_threads(threads)
    return helper.make(lambda writer: function(writer, *call))


def called(threads: int, function: Callable[..., Any], *call: Any) -> Any:
    """What a function gives where Ray put this."""
    torch.set_num_threads(threads)
    return function(*call)


@dataclasses.dataclass(eq=False)
class _Hand:
    """A worker as the driver sees it."""

    actor: Any
    counted: list[int] = dataclasses.field(default_factory=list)  # not collected yet
    doing: list[int] = dataclasses.field(default_factory=list)


class Link(NamedTuple):
    """A cluster that answers."""

    ray: Any
    gpus: int
    workers: int


@contextlib.contextmanager
def connected(address: str, workers: int | None) -> Iterator[Link]:
    """The cluster at an address, "auto" for the one of this machine, or "local" for one that is started here, and ended.

    There are as many workers as asked, or one for each GPU, or for each processor where there is none. Raises
    Unavailable when Ray is not installed or does not answer.
    """
    with connect_cluster(address, workers) as ray:
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0))
        yield Link(ray, gpus, workers or gpus or max(1, int(there.get("CPU", 1))))


class Cluster:
    """A cluster's workers as a crew."""

    def __init__(self, link: Link, the_pass: Pass, saes: Mapping[str, Sae]):
        self._ray = ray = link.ray
        self._pass = the_pass
        self._count = link.workers
        self._share: dict[str, Any] = {"num_gpus": 1} if link.gpus else {"num_cpus": 1}
        self.device = "cuda" if link.gpus else "cpu"
        task = Task(
            the_pass.model.location,
            the_pass.model.hash,
            {source: sae.reads for source, sae in saes.items()},
            int(the_pass.contexts.length.max()),
            the_pass.bos,
            the_pass.seed,
            the_pass.max_norm,
            the_pass.special,
            the_pass.unit_tokens,
        )
        # Once into the cluster's memory, which the workers of a machine share.
        given = (task, ray.put(dict(saes)), ray.put(the_pass.corpus), self.device, THREADS)
        remote: Any = ray.remote(**self._share)  # type: ignore[call-overload]
        self._hire = lambda: _Hand(remote(Worker).remote(*given))
        self._deaths = 0
        self._spans: Mapping[str, Span] = {}
        self._pieces: dict[tuple[str, int], list[Any]] = {}  # of each shard (source, first feature), in order
        # Workers hold the processors meanwhile: a task that asked for one would wait for their end.
        self._merged = self._task(merged, num_cpus=0, scheduling_strategy="SPREAD")
        self._merging: list[Any] = []

    def begin(self, spans: Mapping[str, Span], found: Iterable[tuple[str, Counted]]) -> None:
        self._spans = spans
        self._pieces = {
            (source, at): [] for source, (first, last) in spans.items() for at in range(first, last, shards.SHARD)
        }
        for source, part in found:
            self._pieces[source, part.first].append(self.hold(part))

    def count(self, todo: list[int]) -> Iterator[list[int]]:
        """Count units; their numbers as they are given up. Raises what a worker raised, or Unavailable when workers die
        again and again."""
        left = collections.deque(todo)
        hands = [self._hire() for _ in range(min(self._count, len(todo)))]
        running: dict[Any, _Hand] = {}
        collecting: dict[Any, list[Any]] = {}

        def go_on(hand: _Hand) -> None:
            if left and len(hand.counted) < COLLECTED:
                hand.doing = [left.popleft() for _ in range(min(TOGETHER, len(left)))]
                running[hand.actor.count.remote(hand.doing, self._spans)] = hand
            elif hand.counted:
                ticket, *parts = hand.actor.collect.options(num_returns=1 + len(self._pieces)).remote()
                collecting[ticket] = parts
                running[ticket] = hand

        try:
            for hand in hands:
                go_on(hand)
            while running:
                (ticket,), _ = self._ray.wait(list(running), num_returns=1)
                hand = running.pop(ticket)
                try:
                    self._ray.get(ticket)
                except self._ray.exceptions.RayActorError as exc:
                    left.extendleft([*hand.counted, *hand.doing])
                    hands.remove(hand)
                    hand = self._replace(exc)
                    hands.append(hand)
                except self._ray.exceptions.RayTaskError as exc:
                    raise _cause(exc) from None
                else:
                    if ticket in collecting:
                        for pieces, part in zip(self._pieces.values(), collecting[ticket], strict=True):
                            pieces.append(part)
                        self._merge(PIECES)
                        done, hand.counted = hand.counted, []
                        yield done
                    else:
                        hand.counted += hand.doing
                        hand.doing = []
                collecting.pop(ticket, None)
                go_on(hand)
                if left:  # of a worker that died, while the others were waiting for nothing
                    for idle in [one for one in hands if one not in running.values()]:
                        go_on(idle)
        finally:
            for hand in hands:
                self._ray.kill(hand.actor)

    def _replace(self, exc: Exception) -> _Hand:
        self._deaths += 1
        if self._deaths > DEATHS * self._count:
            raise _dying(exc) from None
        return self._hire()

    def _merge(self, least: int) -> None:
        """Have shards of so many pieces merged, as many at once as there are workers."""
        for pieces in self._pieces.values():
            if len(pieces) < least:
                continue
            if self._merging:
                under_way, full = len(self._merging), len(self._merging) >= self._count
                done, self._merging = self._ray.wait(self._merging, num_returns=under_way, timeout=0, fetch_local=False)
                if full and not done:
                    _, self._merging = self._ray.wait(self._merging, num_returns=1, fetch_local=False)
            pieces[:] = [self._merged.remote(*pieces)]
            self._merging += pieces

    def shards(self) -> Iterator[tuple[str, Any]]:
        self._merge(2)
        for (source, _), (piece,) in self._pieces.items():
            yield source, piece

    def hold(self, value: Any) -> Any:
        return self._ray.put(value)

    def value(self, handle: Any) -> Any:
        """What a handle is for. Raises what a task raised, or Unavailable when it came to nothing."""
        try:
            return self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as exc:
            raise _cause(exc) from None
        except self._ray.exceptions.WorkerCrashedError as exc:
            raise _dying(exc) from None
        except self._ray.exceptions.ObjectLostError as exc:
            raise Unavailable(
                "a machine of the cluster was lost with what had been counted there; run the same command again: "
                f"it goes on from what is kept ({_first_line(exc)})"
            ) from None

    def run(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        return self._results(called, ((function, *call) for call in calls))

    def write(self, writer: Any, function: Callable[..., None], calls: Iterable[tuple[Any, ...]]) -> None:
        helper = writer.helper()
        for parts in self._results(made, ((helper, function, *call) for call in calls)):
            writer.adopt(parts)

    def _results(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """What tasks give, in order; there are as many under way as workers, so that their arguments find room."""
        task = self._task(function, **self._share)
        waiting: collections.deque[Any] = collections.deque()
        try:
            for call in calls:
                if len(waiting) == self._count:
                    yield self.value(waiting.popleft())
                waiting.append(task.remote(THREADS, *call))
            while waiting:
                yield self.value(waiting.popleft())
        finally:
            for one in waiting:
                self._ray.cancel(one, force=True)

    def _task(self, function: Callable[..., Any], **options: Any) -> Any:
        """A function as a task that is done again when who does it dies."""
        return self._ray.remote(max_retries=DEATHS, **options)(function)


def _cause(exc: Any) -> Exception:
    return exc.cause if isinstance(exc.cause, FeatureStoreError) else exc


def _dying(exc: Exception) -> Unavailable:
    return Unavailable(f"the cluster's workers die again and again: {_first_line(exc)}")


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0][:300]
