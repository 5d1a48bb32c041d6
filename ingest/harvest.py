"""The harvest: one pass of a model over a corpus gives every statistic and example of all asked dictionaries."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy
import torch

import featurestore
from featurestore import BadRequest, Conflict
from ingest import corpus as corpora
from ingest import tables
from ingest.model import HookPoint, Model
from ingest.sae import Sae
from ingest.statistics import Accumulator, Tile

BATCH_TOKENS = 8192  # tokens the model sees in one forward
TILE_ELEMENTS = 32_000_000  # tokens x features held dense at once: 128 MB


@dataclasses.dataclass(frozen=True)
class Report:
    """What a harvest did."""

    dictionaries: tuple[str, ...]
    documents: int
    contexts: int
    tokens_counted: int
    tokens_excluded: int  # BOS tokens; padding is never counted at all
    dead: dict[str, int]
    l0: dict[str, float]  # mean features active on a counted token
    seconds: float


class _Silent:
    def advance(self, n: int) -> None:
        pass


def _silent(description: str, total: int) -> AbstractContextManager[Any]:
    return nullcontext(_Silent())


def harvest(
    store: Any,
    model: Model,
    dictionaries: Mapping[str, Sae],
    documents: Iterable[tuple[str, str]],
    *,
    model_id: str,
    context_size: int | None = None,
    max_tokens: int | None = None,
    seed: int = 0,
    replace: bool = False,
    progress: Callable[[str, int], AbstractContextManager[Any]] = _silent,
) -> Report:
    """Harvest `dictionaries` (source -> Sae) over `documents` ((name, text) pairs) into `store`, in one commit.

    Contexts are BOS (unless the dictionaries were trained without) and up to context_size - 1 tokens of one document;
    BOS is not counted. Everything is checked before the model runs. Raises BadRequest when widths, hooks or vocabulary
    do not fit, Conflict when the store has such a dictionary and not `replace`; the store is then as it was.
    """
    began = time.monotonic()
    points = _checked(store, model, dictionaries, model_id, replace)
    saes = {source: sae.to(model.device) for source, sae in dictionaries.items()}
    size = _context_size(model, dictionaries, context_size)
    bos = _bos(model, dictionaries)
    corpus = corpora.tokenise(model.tokenizer, documents, max_tokens)
    largest = max(int(ids.max()) for ids in corpus.tokens)
    if largest >= model.vocabulary:
        raise BadRequest(
            f"the tokenizer gives token {largest}, but the model has {model.vocabulary}: they do not belong together"
        )
    contexts = corpus.contexts(size - len(bos))
    accumulators = {source: Accumulator(sae.d_sae, seed) for source, sae in saes.items()}
    with progress("harvesting tokens", corpus.size) as bar:
        for batch in _batches(contexts):
            _pass(model, saes, points, corpus, batch, bos, accumulators)
            bar.advance(sum(context.length for context in batch))
    excluded = len(contexts) * len(bos)
    settings = {"seed": seed, "context_size": size, "bos": bos, "excluded": {"bos": excluded}}
    counts = tables.Counts(corpus.size, excluded, size, json.dumps(settings))
    with store.writer(f"featurestore {featurestore.__version__} harvest") as writer:
        if replace:
            for source in saes:
                writer.remove_dictionary(f"{model_id}/{source}")
        if not writer.has("tokenizers", corpus.tokenizer_id):
            writer.add("tokenizers", corpus.tokenizer_table(), key=corpus.tokenizer_id)
        if not writer.has("documents", corpus.id):
            writer.add_corpus(corpus.id, corpus.document_table(), numpy.concatenate(corpus.tokens))
        for source, sae in saes.items():
            point = points[source][0]
            tables.write(writer, model, model_id, source, sae, point, corpus, counts, accumulators[source])
    fired = {source: accumulator.active_tokens for source, accumulator in accumulators.items()}
    return Report(
        dictionaries=tuple(f"{model_id}/{source}" for source in saes),
        documents=len(corpus.tokens),
        contexts=len(contexts),
        tokens_counted=corpus.size,
        tokens_excluded=excluded,
        dead={f"{model_id}/{source}": int((active == 0).sum()) for source, active in fired.items()},
        l0={f"{model_id}/{source}": float(active.sum() / corpus.size) for source, active in fired.items()},
        seconds=time.monotonic() - began,
    )


def _checked(
    store: Any, model: Model, dictionaries: Mapping[str, Sae], model_id: str, replace: bool
) -> dict[str, tuple[HookPoint, HookPoint | None]]:
    """Where each dictionary reads and, for a transcoder, writes. Raises before anything was done."""
    if not dictionaries:
        raise BadRequest("no dictionary to harvest: name the weights of one at least")
    there = {dictionary.dictionary for dictionary in store.dictionaries()}
    points = {}
    for source, sae in dictionaries.items():
        name = f"{model_id}/{source}"
        if name.count("/") != 1 or any(c.isspace() for c in name) or {model_id, source} & {"", ".", ".."}:
            raise BadRequest(f"'{name}' is no id for a dictionary: model and source are words without / and spaces")
        if name in there and not replace:
            raise Conflict(f"the store has {name} already; replace it with --replace, or give it another name")
        reads = model.hook_point(sae.hook_point)
        writes = model.hook_point(sae.hook_point_out) if sae.hook_point_out else None
        probe = torch.tensor([[model.bos or 0, 0]])
        found = model.read(probe, [point for point in (reads, writes) if point])
        for point, width, what in ((reads, sae.d_in, "reads"), (writes, sae.d_out, "writes")):
            if point and (actual := found[point.name].shape[-1]) != width:
                raise BadRequest(
                    f"{name} {what} vectors of {width} numbers, but {point.name} of {model.location} has {actual}: "
                    "the weights are of another model"
                )
        points[source] = (reads, writes)
    return points


def _context_size(model: Model, dictionaries: Mapping[str, Sae], asked: int | None) -> int:
    trained = [sae.context_size for sae in dictionaries.values() if sae.context_size]
    size = asked or min([*trained, model.max_context])
    if not 2 <= size <= model.max_context:
        raise BadRequest(f"context size {size}: the model sees 2 to {model.max_context} tokens")
    return size


def _bos(model: Model, dictionaries: Mapping[str, Sae]) -> list[int]:
    asked = {sae.prepend_bos for sae in dictionaries.values()}
    if len(asked) > 1:
        raise BadRequest("some of the dictionaries were trained with BOS and some without: harvest them apart")
    return [model.bos] if asked == {True} and model.bos is not None else []


def _batches(contexts: list[corpora.Context]) -> Iterable[list[corpora.Context]]:
    at = 0
    while at < len(contexts):
        # Contexts come longest first, so the first one's length is the batch's.
        rows = max(1, BATCH_TOKENS // contexts[at].length)
        yield contexts[at : at + rows]
        at += rows


def _pass(
    model: Model,
    saes: Mapping[str, Sae],
    points: Mapping[str, tuple[HookPoint, HookPoint | None]],
    corpus: corpora.Corpus,
    batch: list[corpora.Context],
    bos: list[int],
    accumulators: Mapping[str, Accumulator],
) -> None:
    lengths = numpy.array([context.length for context in batch])
    ids = numpy.zeros((len(batch), len(bos) + int(lengths.max())), dtype=numpy.int64)
    ids[:, : len(bos)] = bos
    for row, context in enumerate(batch):
        run = corpus.tokens[context.document][context.start : context.start + context.length]
        ids[row, len(bos) : len(bos) + context.length] = run
    unique = {point.name: point for point, _ in points.values()}
    read = model.read(torch.from_numpy(ids), list(unique.values()))
    document = numpy.array([context.document for context in batch])
    start = numpy.array([context.start for context in batch])
    for source, sae in saes.items():
        inputs = read[points[source][0].name][:, len(bos) :]
        if not torch.isfinite(inputs.sum()):  # NaN and infinity survive any sum
            row = int((~torch.isfinite(inputs)).flatten(1).any(1).nonzero()[0])
            name = corpus.names[batch[row].document]
            raise BadRequest(f"the model gives NaN or infinity at {points[source][0].name} in document '{name}'")
        rows_at_once = max(1, TILE_ELEMENTS // (sae.d_sae * inputs.shape[1]))
        for first in range(0, len(batch), rows_at_once):
            some = slice(first, first + rows_at_once)
            found = sparse(sae, inputs[some], lengths[some])
            if not numpy.isfinite(found[3]).all():
                raise BadRequest(f"{source} gives NaN or infinity on what the model has at {points[source][0].name}")
            accumulators[source].add(Tile(*found, document[some], start[some], lengths[some]))


def sparse(
    sae: Sae, inputs: torch.Tensor, lengths: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Feature, context, position and activation of every non-zero activation on inputs (contexts, tokens, d_in), of which
    context i has lengths[i] tokens; ordered by context and position."""
    tokens, width = inputs.shape[1:]
    with torch.inference_mode():
        dense = sae.encode(inputs.reshape(-1, width))
        keep = torch.arange(tokens)[None] < torch.from_numpy(lengths)[:, None]
        if not keep.all():
            dense *= keep.reshape(-1, 1).to(dense.device)
        if dense.device.type == "cpu":
            flat = dense.numpy().reshape(-1)
            at = numpy.flatnonzero(flat)
            values = flat[at]
        else:
            on_device = dense.reshape(-1).nonzero().squeeze(1)
            values = dense.reshape(-1)[on_device].cpu().numpy()
            at = on_device.cpu().numpy()
    token, feature = numpy.divmod(at, sae.d_sae)
    context, position = numpy.divmod(token, tokens)
    return feature, context, position, values
