"""The harvest: carries out a plan with an executor, and writes the results into a store in one commit."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import featurestore
from featurestore.extension.progress import Progress, Stage, no_progress
from ingest.harvest import write_dictionary
from ingest.harvest.executor import Executor, Handle, LocalExecutor
from ingest.harvest.forward_pass import FeatureStatistics, InputCache
from ingest.harvest.malloc import return_large_arrays
from ingest.harvest.plan import Documents, HarvestOptions, HarvestPlan, make_plan, split_dictionaries
from ingest.harvest.resources import Resources
from ingest.harvest.store_rows import Unembedding, writes_to_stream
from ingest.harvest.write_dictionary import DictionaryReport
from ingest.model.model import Model
from ingest.sae import Sae

if TYPE_CHECKING:
    from featurestore import Store


@dataclasses.dataclass(frozen=True)
class HarvestReport:
    """What a harvest counted. Maps have the ids of dictionaries as keys."""

    dictionaries: tuple[str, ...]
    corpus: str
    documents: int
    empty_documents: int  # left out, since they have no tokens
    duplicate_documents: int  # with the tokens of an earlier one
    held_out_documents: int
    contexts: int
    tokens: int
    padding: int  # not among the tokens
    counted: dict[str, int]
    excluded: dict[str, dict[str, int]]  # tokens the model saw that are not counted, by cause
    dead: dict[str, int]
    l0: dict[str, float]  # mean number of features active on a counted token
    notes: tuple[str, ...]  # what else is worth knowing, in sentences
    resumed: float  # share of the work that the checkpoint had already
    seconds: float
    stages: dict[str, float]  # seconds of reading (and tokenising and checking), counting and writing
    moved: int = 0  # bytes that passed between the processes of a cluster


def harvest(
    store: Store,
    model: Model,
    dictionaries: Mapping[str, Sae],
    documents: Documents,
    *,
    model_id: str,
    options: HarvestOptions | None = None,
    progress: Progress = no_progress,
    announce: Callable[[Resources], None] = lambda needed: None,
) -> HarvestReport:
    """Harvest `dictionaries` (by source) over `documents` into `store`, in one commit; return what was counted.

    Contexts are BOS (unless the dictionaries were trained without) and up to context_size - 1 tokens of one document.
    BOS, attention sinks and, if wanted, special tokens are not counted. With options.checkpoint an interrupted harvest
    goes on where it stopped, and writes the same tables to the last byte, but for the time in `created_at`.

    Everything is checked before the model runs, then `announce` is called with the memory and disk that it takes.
    Raises what `make_plan` raises, and Unavailable when no cluster answers or a disk fills up; the store is then
    unchanged.
    """
    options = options or HarvestOptions()
    return_large_arrays()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        make_executor = stack.enter_context(_connect_executor(options))
        if options.checkpoint is None and len(split_dictionaries(dictionaries, options.memory)) > 1:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="featurestore-harvest-"))
            options = dataclasses.replace(options, checkpoint=Path(folder))
        plan = make_plan(store, model, dictionaries, documents, model_id=model_id, options=options)
        reading = time.monotonic() - began
        announce(plan.resources)
        report = run(plan, make_executor(plan), store, progress)
    seconds = time.monotonic() - began
    return dataclasses.replace(report, seconds=seconds, stages={"reading": reading} | report.stages)


@contextlib.contextmanager
def _connect_executor(options: HarvestOptions) -> Iterator[Callable[[HarvestPlan], Executor]]:
    """Connect to the cluster, if one is wanted, and yield a function that makes the executor of a plan."""
    if not options.ray:
        yield _make_local_executor
        return
    from ingest.harvest.ray_executor import RayExecutor, connect_cluster

    with connect_cluster(options.ray, options.workers) as cluster:
        yield lambda plan: RayExecutor(cluster, plan.forward_pass, plan.dictionaries)


def _make_local_executor(plan: HarvestPlan) -> LocalExecutor:
    cache = None
    if plan.checkpoint and len(plan.rounds) > 1:
        cache = InputCache(plan.checkpoint.folder / "inputs", plan.forward_pass.model.device)
    return LocalExecutor(plan.forward_pass, cache)


def run(plan: HarvestPlan, executor: Executor, store: Store, progress: Progress = no_progress) -> HarvestReport:
    """Carry out a plan: count its rounds, write its dictionaries in one commit, and return what was counted.

    Raises Unavailable when a disk fills up, or workers of a cluster die again and again; the store is then unchanged.
    """
    began = time.monotonic()
    checkpoint, units = plan.checkpoint, range(len(plan.forward_pass.units))
    counted_before = sum(len(checkpoint.units(number)) for number in range(len(plan.rounds))) if checkpoint else 0
    for number in range(len(plan.rounds)):
        description = "harvesting tokens"
        if len(plan.rounds) > 1:
            description += f", round {number + 1} of {len(plan.rounds)}"
        _count_round(plan, executor, number, progress(description, plan.forward_pass.corpus.size))
        if checkpoint and (len(plan.rounds) > 1 or time.monotonic() - began > plan.options.every):
            checkpoint.write(number, set(units), _fetch_shards(executor))
    counting = time.monotonic() - began
    reports = _write_store(plan, executor, store)
    if checkpoint:
        checkpoint.remove()
    stages = {"counting": counting, "writing": time.monotonic() - began - counting}
    report = _make_report(plan, reports, counted_before / (len(plan.rounds) * len(units)), stages)
    return dataclasses.replace(report, moved=executor.moved)


def _count_round(plan: HarvestPlan, executor: Executor, number: int, stage: Stage) -> None:
    """Count one round, going on from the checkpoint."""
    checkpoint, contexts = plan.checkpoint, plan.forward_pass.contexts
    tokens = [int(contexts.length[unit].sum()) for unit in plan.forward_pass.units]
    done = checkpoint.units(number) if checkpoint else set()
    executor.begin(plan.rounds[number], checkpoint.read(number) if checkpoint and done else ())
    stage(sum(tokens[unit] for unit in done))
    written_at = time.monotonic()
    for units in executor.count([unit for unit in range(len(tokens)) if unit not in done]):
        done.update(units)
        stage(sum(tokens[unit] for unit in units))
        if checkpoint and time.monotonic() - written_at >= plan.options.every:
            checkpoint.write(number, done, _fetch_shards(executor))
            written_at = time.monotonic()


def _fetch_shards(executor: Executor) -> Iterator[tuple[str, FeatureStatistics]]:
    """Yield (source, shard) of the round, one at a time."""
    return ((source, executor.get(handle)) for source, handle in executor.shards())


def _find_shards(plan: HarvestPlan, executor: Executor, source: str) -> Iterator[Handle]:
    """Yield handles of all shards of a dictionary, in order: those of earlier rounds are in the checkpoint."""
    if len(plan.rounds) == 1:
        return (handle for name, handle in executor.shards() if name == source)
    assert plan.checkpoint is not None, "rounds need a checkpoint"
    numbers = [number for number, spans in enumerate(plan.rounds) if source in spans]
    return (executor.put(shard) for number in numbers for _, shard in plan.checkpoint.read(number, source))


def _write_store(plan: HarvestPlan, executor: Executor, store: Store) -> dict[str, DictionaryReport]:
    """Write everything in one commit; return a report of each dictionary, by id."""
    corpus, model = plan.forward_pass.corpus, plan.forward_pass.model
    unembedding = executor.put(Unembedding.of(model, corpus.bytes)) if model.has_logits else None
    reports: dict[str, DictionaryReport] = {}
    with store.writer(f"featurestore {featurestore.__version__} harvest") as writer:
        if plan.options.replace:
            for source in plan.dictionaries:
                writer.remove_dictionary(f"{plan.model_id}/{source}")
        write_dictionary.write_corpus(writer, corpus)
        for source, sae in plan.dictionaries.items():
            reports[f"{plan.model_id}/{source}"] = write_dictionary.write_statistics(
                writer,
                executor,
                plan,
                source,
                functools.partial(_find_shards, plan, executor, source),
                unembedding if writes_to_stream(model, sae) else None,
            )
    return reports


def _make_report(
    plan: HarvestPlan, reports: Mapping[str, DictionaryReport], resumed: float, stages: dict[str, float]
) -> HarvestReport:
    corpus, contexts, units = plan.forward_pass.corpus, plan.forward_pass.contexts, plan.forward_pass.units
    places = sum(int(contexts.length[unit].max()) * (unit.stop - unit.start) for unit in units)
    return HarvestReport(
        dictionaries=tuple(reports),
        corpus=corpus.id,
        documents=len(corpus.names),
        empty_documents=corpus.empty,
        duplicate_documents=corpus.duplicates,
        held_out_documents=int(corpus.held_out.sum()),
        contexts=len(contexts),
        tokens=corpus.size,
        padding=places - int(contexts.length.sum()),
        counted={name: report.counted for name, report in reports.items()},
        excluded={name: report.excluded for name, report in reports.items()},
        dead={name: report.dead for name, report in reports.items()},
        l0={name: report.l0 for name, report in reports.items()},
        notes=plan.notes,
        resumed=resumed,
        seconds=sum(stages.values()),
        stages=stages,
    )
