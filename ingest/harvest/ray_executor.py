"""The executor on a Ray cluster: workers count units of the corpus, and tasks merge and write shards of features.

A unit is done once the worker's statistics are collected. If a worker dies before, its units are counted again by
others, so the result is that of one worker, however many die. Collected shards stay in the cluster's memory or on its
disks; this process only has references to them.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from featurestore import FeatureStoreError, Unavailable
from featurestore.extension import ray_cluster
from featurestore.extension.text import first_line
from ingest.harvest import shards
from ingest.harvest.executor import Call, Handle, Span
from ingest.harvest.forward_pass import FeatureStatistics, ForwardPass
from ingest.harvest.ray_worker import THREADS, PassRecipe, Worker, call_function, make_parts, merge_shards
from ingest.sae import Sae

if TYPE_CHECKING:
    from featurestore import Writer

TOGETHER = 2  # units of one call of a worker: it never waits, and stops soon when asked to
COLLECTED = 64  # units after which a worker's statistics are collected: its death costs at most these
PIECES = 4  # of one shard that are merged at once: they are in the memory of one machine
LOCATIONS_MS = 10_000  # to find out how large values are
DEATHS = 3  # of workers, for each of them, or of the processes of one task, before an error is raised


class Cluster(NamedTuple):
    """A cluster that answers."""

    ray: Any  # the module, connected
    gpus: int
    workers: int


@contextlib.contextmanager
def connect_cluster(address: str, workers: int | None) -> Iterator[Cluster]:
    """Connect to the cluster at an address, to that of this machine ("auto"), or start one for the time ("local").

    There are `workers` workers, or one per GPU, or one per processor if there are no GPUs. Raises Unavailable when Ray
    is not installed or does not answer.
    """
    with ray_cluster.connect_cluster(address, workers) as ray:
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        yield Cluster(ray, gpus, workers or gpus or max(1, int(resources.get("CPU", 1))))


@dataclasses.dataclass(eq=False)
class _WorkerState:
    """A worker as this process sees it. Its units are numbers."""

    actor: Any
    counted: list[int] = dataclasses.field(default_factory=list)  # not collected yet
    running: list[int] = dataclasses.field(default_factory=list)


class RayExecutor:
    """The workers of a cluster as an executor."""

    def __init__(self, cluster: Cluster, forward_pass: ForwardPass, saes: Mapping[str, Sae]):
        self._ray = ray = cluster.ray
        self._workers = cluster.workers
        self._share: dict[str, Any] = {"num_gpus": 1} if cluster.gpus else {"num_cpus": 1}
        self.device = "cuda" if cluster.gpus else "cpu"
        recipe = PassRecipe.of(forward_pass, saes)
        # Put into the cluster's memory once: the workers of a machine share it.
        self.moved = 0
        arguments = (recipe, self.put(dict(saes)), self.put(forward_pass.corpus), self.device, THREADS)
        actor: Any = ray.remote(**self._share)(Worker)
        self._start_worker: Callable[[], _WorkerState] = lambda: _WorkerState(actor.remote(*arguments))
        self._deaths = 0
        self._spans: Mapping[str, Span] = {}
        self._pieces: dict[tuple[str, int], list[Any]] = {}  # of each shard (source, first feature), in order
        # Workers occupy the processors meanwhile: a task that needed one would wait until they end.
        self._merge_task = self._make_task(merge_shards, num_cpus=0, scheduling_strategy="SPREAD")
        self._merging: list[Any] = []

    def begin(self, spans: Mapping[str, Span], statistics: Iterable[tuple[str, FeatureStatistics]]) -> None:
        """Begin to count these spans of features, going on from `statistics`: (source, shard)."""
        self._spans = spans
        self._pieces = {
            (source, start): [] for source, (first, last) in spans.items() for start in range(first, last, shards.SHARD)
        }
        for source, shard in statistics:
            self._pieces[source, shard.first].append(self.put(shard))

    def count(self, units: list[int]) -> Iterator[list[int]]:
        """Count units, and yield their numbers as they are collected.

        Raises what a worker raised, or Unavailable when workers die again and again.
        """
        queue = collections.deque(units)
        workers = [self._start_worker() for _ in range(min(self._workers, len(units)))]
        running: dict[Any, _WorkerState] = {}  # by the reference of its call
        collecting: dict[Any, list[Any]] = {}  # references of shards, by that of the call
        try:
            self._give_work(workers, queue, running, collecting)
            while running:
                (call,), _ = self._ray.wait(list(running), num_returns=1)
                worker, collected = running.pop(call), collecting.pop(call, None)
                try:
                    self._ray.get(call)
                except self._ray.exceptions.RayActorError as exc:
                    queue.extendleft([*worker.counted, *worker.running])
                    workers[workers.index(worker)] = self._replace_worker(exc)
                except self._ray.exceptions.RayTaskError as exc:
                    raise _find_cause(exc) from None
                else:
                    if collected is None:
                        worker.counted += worker.running
                        worker.running = []
                    else:
                        self._add_pieces(collected)
                        done, worker.counted = worker.counted, []
                        yield done
                self._give_work(workers, queue, running, collecting)
        finally:
            for worker in workers:
                self._ray.kill(worker.actor)

    def _give_work(
        self,
        workers: list[_WorkerState],
        queue: collections.deque[int],
        running: dict[Any, _WorkerState],
        collecting: dict[Any, list[Any]],
    ) -> None:
        """Have each idle worker count the next units, or collect its statistics if there are none or it has many."""
        for worker in workers:
            if worker in running.values():
                continue
            if queue and len(worker.counted) < COLLECTED:
                worker.running = [queue.popleft() for _ in range(min(TOGETHER, len(queue)))]
                running[worker.actor.count.remote(worker.running, self._spans)] = worker
            elif worker.counted:
                call, *collected = worker.actor.collect.options(num_returns=1 + len(self._pieces)).remote()
                running[call], collecting[call] = worker, collected

    def _add_pieces(self, collected: list[Any]) -> None:
        self._count_moved(collected)
        for pieces, piece in zip(self._pieces.values(), collected, strict=True):
            pieces.append(piece)
        self._merge(PIECES)

    def _count_moved(self, references: list[Any]) -> None:
        """Count the bytes of values that exist, each as if it were moved once."""
        try:
            places = self._ray.experimental.get_object_locations(references, timeout_ms=LOCATIONS_MS)
        except (AttributeError, self._ray.exceptions.RayError):  # a connection by ray:// cannot ask this
            return
        self.moved += sum(int(place.get("object_size") or 0) for place in places.values())

    def _replace_worker(self, exc: Exception) -> _WorkerState:
        self._deaths += 1
        if self._deaths > DEATHS * self._workers:
            raise _explain_deaths(exc) from None
        return self._start_worker()

    def _merge(self, least: int) -> None:
        """Merge shards of at least `least` pieces, as many at once as there are workers."""
        for pieces in self._pieces.values():
            if len(pieces) < least:
                continue
            if self._merging:
                count, full = len(self._merging), len(self._merging) >= self._workers
                done, self._merging = self._ray.wait(self._merging, num_returns=count, timeout=0, fetch_local=False)
                if full and not done:
                    _, self._merging = self._ray.wait(self._merging, num_returns=1, fetch_local=False)
            pieces[:] = [self._merge_task.remote(*pieces)]
            self._merging += pieces

    def shards(self) -> Iterator[tuple[str, Handle]]:
        """Yield (source, handle of a shard) of the statistics so far."""
        self._merge(2)
        for (source, _), (piece,) in self._pieces.items():
            yield source, piece

    def put(self, value: Any) -> Handle:
        """Put a value into the cluster's memory and return its reference."""
        reference = self._ray.put(value)
        self._count_moved([reference])
        return reference

    def get(self, handle: Handle) -> Any:
        """Return the value of a reference. Raises what its task raised, or Unavailable when the value was lost."""
        try:
            return self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as exc:
            raise _find_cause(exc) from None
        except self._ray.exceptions.WorkerCrashedError as exc:
            raise _explain_deaths(exc) from None
        except self._ray.exceptions.ObjectLostError as exc:
            raise Unavailable(
                "a machine of the cluster was lost with what had been counted there; run the same command again: "
                f"it goes on from what is kept ({first_line(exc, 300)})"
            ) from None

    def map(self, function: Callable[..., Any], calls: Iterable[Call]) -> Iterator[Any]:
        """Yield what a function returns for the arguments of each call, in order."""
        return self._run_tasks(call_function, ((function, *call) for call in calls))

    def write(self, writer: Writer, function: Callable[..., None], calls: Iterable[Call]) -> None:
        """Call `function(writer, *call)` on the cluster for each call, and adopt the parts that it writes."""
        helper = writer.helper()
        for parts in self._run_tasks(make_parts, ((helper, function, *call) for call in calls)):
            writer.adopt(parts)

    def _run_tasks(self, function: Callable[..., Any], calls: Iterable[Call]) -> Iterator[Any]:
        """Yield results of tasks in order. As many run at once as there are workers, so that arguments find memory."""
        task = self._make_task(function, **self._share)
        running: collections.deque[Any] = collections.deque()
        try:
            for call in calls:
                if len(running) == self._workers:
                    yield self._take(running.popleft())
                running.append(task.remote(THREADS, *call))
            while running:
                yield self._take(running.popleft())
        finally:
            for reference in running:
                self._ray.cancel(reference, force=True)

    def _take(self, reference: Any) -> Any:
        value = self.get(reference)
        self._count_moved([reference])
        return value

    def _make_task(self, function: Callable[..., Any], **options: Any) -> Any:
        """Return a function as a task that is run again when its process dies."""
        return self._ray.remote(max_retries=DEATHS, **options)(function)


def _find_cause(exc: Any) -> Exception:
    """Return our error that a task raised, or Ray's own if it is no error of ours."""
    cause: Exception = exc.cause if isinstance(exc.cause, FeatureStoreError) else exc
    return cause


def _explain_deaths(exc: Exception) -> Unavailable:
    return Unavailable(f"the cluster's workers die again and again: {first_line(exc, 300)}")
