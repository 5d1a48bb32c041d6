"""The harvest: one pass of a model over a corpus gives every statistic and example of all asked dictionaries."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

import featurestore
from featurestore import BadRequest, Conflict
from featurestore.extension.progress import Progress, Stage, no_progress
from ingest.corpus import corpus as corpora
from ingest.corpus.corpus import Corpus
from ingest.corpus.readers import Chat, Tokens
from ingest.harvest import forward_pass, resources, store_rows, write_dictionary
from ingest.harvest.checkpoint import Checkpoint
from ingest.harvest.executor import Alone, Crew, Span
from ingest.harvest.forward_pass import Cache, Counted, Pass
from ingest.harvest.malloc import give_back_large_arrays
from ingest.harvest.resources import Plan
from ingest.model.model import HookPoint, Model
from ingest.model.vocabulary import special_ids, token_bytes
from ingest.sae import Sae


@dataclasses.dataclass(frozen=True)
class Report:
    """What a harvest did. `excluded` names tokens the model saw that are not counted, by cause; padding is no token."""

    dictionaries: tuple[str, ...]
    corpus: str
    documents: int
    empty_documents: int  # left out, since no token came of them
    duplicate_documents: int  # with the tokens of an earlier one
    held_out_documents: int
    contexts: int
    tokens: int
    padding: int
    counted: dict[str, int]
    excluded: dict[str, dict[str, int]]
    dead: dict[str, int]
    l0: dict[str, float]  # mean features active on a counted token
    resumed: float  # share of the work that was done before, and found
    seconds: float


def harvest(
    store: Any,
    model: Model,
    dictionaries: Mapping[str, Sae],
    documents: Iterable[tuple[str, str | Chat | Tokens]] | Corpus | Callable[[Any], Corpus],
    *,
    model_id: str,
    context_size: int | None = None,
    max_tokens: int | None = None,
    seed: int = 0,
    max_norm: float = forward_pass.MAX_NORM,
    exclude_special: bool = False,
    replace: bool = False,
    memory: int = resources.MEMORY,
    checkpoint: Path | None = None,
    every: float = 120.0,
    ray: str | None = None,
    workers: int | None = None,
    progress: Progress = no_progress,
    tell: Callable[[Plan], None] = lambda plan: None,
) -> Report:
    """Harvest `dictionaries` (source -> Sae) over `documents` into `store`, in one commit.

    `documents` are (name, content) pairs as corpus.tokenise takes them, a corpus, or what makes one of the tokenizer.
    Contexts are BOS (unless the dictionaries were trained without) and up to context_size - 1 tokens of one document.
    Not counted are BOS, tokens whose input is over `max_norm` times as long as the median of their context (0: all are
    counted) and, if asked, the tokenizer's special ones.

    `memory` bytes are for what is counted; dictionaries that need more are counted in rounds over what the model gave in
    the first. With a folder `checkpoint`, what is counted is kept there every `every` seconds, and a harvest that was
    interrupted goes on where it stopped; tables are the same to the last byte, but for the time in `created_at`. With
    `ray`, the address of a cluster or "local", `workers` of it count and write.

    Everything is checked before the model runs, and `tell` is told what the harvest takes. Raises BadRequest when widths,
    hooks or vocabulary do not fit, Conflict when the store has such a dictionary and not `replace`, Unavailable when no
    cluster answers, or a disk has no room for the store or for what is kept meanwhile; the store is then as it was.
    """
    give_back_large_arrays()
    began = time.monotonic()
    points = _checked(store, model, dictionaries, model_id, replace)
    size = _context_size(model, dictionaries, context_size)
    bos = _bos(model, dictionaries)
    with contextlib.ExitStack() as stack:
        link = None
        if ray:
            from ingest.harvest.ray_executor import Cluster, connected

            link = stack.enter_context(connected(ray, workers))
        turns = resources.rounds({source: sae.d_sae for source, sae in dictionaries.items()}, memory)
        in_rounds = len(turns) > 1
        if checkpoint is None and in_rounds:
            checkpoint = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="featurestore-harvest-")))
        takes = functools.partial(
            resources.plan, dictionaries, turns=turns, kept=checkpoint is not None, cached=in_rounds and not ray
        )
        _check_room(store, takes(tokens=0), checkpoint)  # before hours of making tokens
        corpus = _corpus(model, documents, max_tokens)
        plan = takes(tokens=corpus.size)
        _check_room(store, plan, checkpoint)
        tell(plan)
        the_pass = Pass(
            model,
            {source: sae.to(model.device) for source, sae in dictionaries.items()},
            points,
            corpus,
            corpus.contexts(size - len(bos)),
            bos,
            seed,
            max_norm,
            tuple(special_ids(model.tokenizer).tolist()) if exclude_special else (),
            forward_pass.UNIT_TOKENS,
        )
        settings = {"seed": seed, "context_size": size, "bos": bos, "max_norm": max_norm, "special": exclude_special}
        what = settings | {
            "model": model.hash,
            "corpus": corpus.id,
            "dictionaries": {source: sae.hash for source, sae in dictionaries.items()},
            "memory": memory,
            "version": featurestore.__version__,
        }
        kept = Checkpoint(checkpoint, what, seed) if checkpoint else None
        resumed = (
            sum(len(kept.units(n)) for n in range(len(turns))) / (len(turns) * len(the_pass.units)) if kept else 0.0
        )
        if link:
            crew: Crew = Cluster(link, the_pass, dictionaries)
        else:
            crew = Alone(the_pass, Cache(kept.folder / "inputs", model.device) if kept and in_rounds else None)
        for number, spans in enumerate(turns):
            doing = "harvesting tokens" + (f", round {number + 1} of {len(turns)}" if in_rounds else "")
            _round(the_pass, crew, number, spans, kept, every, progress(doing, corpus.size))
            if kept and (in_rounds or time.monotonic() - began > every):
                kept.write(number, set(range(len(the_pass.units))), _counted(crew))

        def shards_of(source: str) -> Iterator[Any]:
            if kept and in_rounds:
                of_rounds = [number for number, spans in enumerate(turns) if source in spans]
                return (crew.hold(one) for number in of_rounds for _, one in kept.read(number, source))
            return (handle for name, handle in crew.shards() if name == source)

        said = _write(store, crew, the_pass, dictionaries, model_id, replace, shards_of, settings)
        if kept:
            kept.remove()
    padding = sum(
        int(the_pass.contexts.length[unit].max()) * (unit.stop - unit.start) - int(the_pass.contexts.length[unit].sum())
        for unit in the_pass.units
    )
    return Report(
        dictionaries=tuple(f"{model_id}/{source}" for source in dictionaries),
        documents=len(corpus.names),
        corpus=corpus.id,
        empty_documents=corpus.empty,
        duplicate_documents=corpus.duplicates,
        held_out_documents=int(corpus.held_out.sum()),
        contexts=len(the_pass.contexts),
        tokens=corpus.size,
        padding=padding,
        resumed=resumed,
        seconds=time.monotonic() - began,
        **{what: {name: one[what] for name, one in said.items()} for what in ("counted", "excluded", "dead", "l0")},
    )


def _corpus(model: Model, documents: Any, max_tokens: int | None) -> Corpus:
    """What is harvested over, in tokens that the model has."""
    if callable(documents):
        corpus: Corpus = documents(model.tokenizer)
    elif isinstance(documents, Corpus):
        corpus = documents
    else:
        corpus = corpora.tokenise(model.tokenizer, documents, max_tokens)
    if (largest := int(corpus.data.max())) >= model.vocabulary:
        raise BadRequest(
            f"the tokenizer gives token {largest}, but the model has {model.vocabulary}: they do not belong together"
        )
    return corpus


def _round(
    the_pass: Pass,
    crew: Crew,
    number: int,
    spans: Mapping[str, Span],
    kept: Checkpoint | None,
    every: float,
    advance: Stage,
) -> None:
    """Count one round, from where the checkpoint has it."""
    cut = the_pass.units
    done = kept.units(number) if kept else set()
    crew.begin(spans, kept.read(number) if kept and done else ())
    tokens = [int(the_pass.contexts.length[unit].sum()) for unit in cut]
    advance(sum(tokens[unit] for unit in done))
    at = time.monotonic()
    for units in crew.count([unit for unit in range(len(cut)) if unit not in done]):
        done.update(units)
        advance(sum(tokens[unit] for unit in units))
        if kept and time.monotonic() - at >= every:
            kept.write(number, done, _counted(crew))
            at = time.monotonic()


def _counted(crew: Crew) -> Iterator[tuple[str, Counted]]:
    """What is counted, one shard after another."""
    return ((source, crew.value(handle)) for source, handle in crew.shards())


def _write(
    store: Any,
    crew: Crew,
    the_pass: Pass,
    dictionaries: Mapping[str, Sae],
    model_id: str,
    replace: bool,
    shards: Callable[[str], Iterator[Any]],
    settings: dict[str, Any],
) -> dict[str, dict[str, Any]]:
    """Put everything into the store, in one commit; what the report says of each dictionary."""
    corpus, model = the_pass.corpus, the_pass.model
    unembedding = crew.hold(store_rows.Unembedding.of(model, corpus.bytes))
    said: dict[str, dict[str, Any]] = {}
    with store.writer(f"featurestore {featurestore.__version__} harvest") as writer:
        if replace:
            for source in dictionaries:
                writer.remove_dictionary(f"{model_id}/{source}")
        write_dictionary.write_corpus(writer, corpus)
        for source, sae in dictionaries.items():
            said[f"{model_id}/{source}"] = write_dictionary.write_counted(
                writer,
                crew,
                model_id,
                source,
                sae,
                model,
                corpus,
                functools.partial(shards, source),
                settings,
                len(the_pass.contexts) * len(the_pass.bos),
                unembedding if writes_to_stream(model, sae) else None,
            )
    return said


def writes_to_stream(model: Model, sae: Sae) -> bool:
    """Whether what a dictionary writes adds to the residual stream, so that it has effects on logits."""
    return store_rows.in_stream(model.hook_point(sae.hook_point_out or sae.hook_point))


def harvest_weights(
    store: Any,
    dictionaries: Mapping[str, Sae],
    *,
    model_id: str,
    model: Model | None = None,
    replace: bool = False,
    progress: Progress = no_progress,
) -> None:
    """Put `dictionaries` (source -> Sae) into `store` with what their weights alone say, in one commit.

    With the model there are effects on logits too, and vectors can be compared across its dictionaries. Raises as
    `harvest` does.
    """
    if model:
        _checked(store, model, dictionaries, model_id, replace)
    else:
        _check_names(store, dictionaries, model_id, replace)
    resources.check(_in_store(store, resources.stored(dictionaries, resources.WEIGHTS_PER_FEATURE)))
    unembedding = store_rows.Unembedding.of(model, token_bytes(model.tokenizer)) if model else None
    stage = progress("reading weights", len(dictionaries))
    with store.writer(f"featurestore {featurestore.__version__} harvest") as writer:
        for source, sae in dictionaries.items():
            if replace:
                writer.remove_dictionary(f"{model_id}/{source}")
            effects = unembedding if model and writes_to_stream(model, sae) else None
            write_dictionary.write_weights(writer, model_id, source, sae, model, effects)
            stage(1)


def _checked(
    store: Any, model: Model, dictionaries: Mapping[str, Sae], model_id: str, replace: bool
) -> dict[str, HookPoint]:
    """Where each dictionary reads. Raises before anything was done."""
    _check_names(store, dictionaries, model_id, replace)
    points = {}
    for source, sae in dictionaries.items():
        name = f"{model_id}/{source}"
        reads = model.hook_point(*sae.reads)
        writes = model.hook_point(sae.hook_point_out) if sae.hook_point_out else None
        probe = torch.tensor([[model.bos or 0, 0]])
        found = model.read(probe, [point for point in (reads, writes) if point])
        for point, width, what in ((reads, sae.d_in, "reads"), (writes, sae.d_out, "writes")):
            if point and (actual := found[point.name].shape[-1]) != width:
                raise BadRequest(
                    f"{name} {what} vectors of {width} numbers, but {point.name} of {model.location} has {actual}: "
                    "the weights are of another model"
                )
        points[source] = reads
    return points


def _check_names(store: Any, dictionaries: Mapping[str, Sae], model_id: str, replace: bool) -> None:
    if not dictionaries:
        raise BadRequest("no dictionary to harvest: name the weights of one at least")
    there = {dictionary.dictionary for dictionary in store.dictionaries()}
    for source in dictionaries:
        name = f"{model_id}/{source}"
        if name.count("/") != 1 or any(c.isspace() for c in name) or {model_id, source} & {"", ".", ".."}:
            raise BadRequest(f"'{name}' is no id for a dictionary: model and source are words without / and spaces")
        if name in there and not replace:
            raise Conflict(f"the store has {name} already; replace it with --replace, or give it another name")


def _check_room(store: Any, plan: Plan, checkpoint: Path | None) -> None:
    """Raises Unavailable when there is no room for what is not there yet."""
    beside = {checkpoint: plan.beside - resources.lying(checkpoint)} if checkpoint else {}
    resources.check(beside | _in_store(store, plan.stored))


def _in_store(store: Any, size: int) -> dict[Path, int]:
    """So many bytes for the store's directory; an object store has none, and no end."""
    place = Path(store.location)
    return {place: size} if place.exists() else {}


def _context_size(model: Model, dictionaries: Mapping[str, Sae], asked: int | None) -> int:
    trained = [sae.context_size for sae in dictionaries.values() if sae.context_size]
    size = asked or min([*trained, model.max_context])
    if not 2 <= size <= model.max_context:
        raise BadRequest(f"context size {size}: the model sees 2 to {model.max_context} tokens")
    return size


def _bos(model: Model, dictionaries: Mapping[str, Sae]) -> list[int]:
    asked = {tuple(model.begin(sae.prepend_bos)) for sae in dictionaries.values()}
    if len(asked) > 1:
        raise BadRequest("some of the dictionaries were trained with BOS and some without: harvest them apart")
    return list(asked.pop())
