"""The plan of a harvest: options, the checks, and what follows from them. Made before the model runs over any text."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import featurestore
from featurestore import BadRequest, Conflict
from ingest.corpus import corpus as corpora
from ingest.corpus.cells import Chat, Tokens
from ingest.corpus.corpus import Corpus
from ingest.harvest import forward_pass, resources
from ingest.harvest.checkpoint import Checkpoint
from ingest.harvest.executor import Span
from ingest.harvest.forward_pass import ForwardPass
from ingest.harvest.resources import Resources
from ingest.model.model import HookPoint, Model
from ingest.model.vocabulary import special_ids
from ingest.sae import Sae

if TYPE_CHECKING:
    from featurestore import Store

ASSUMED_CONTEXT = 1024  # tokens, where nobody knows those of training; the largest of a model may be 131,072
# (name, content) pairs, a corpus, or a function that makes one with the model's tokenizer.
Documents = Iterable[tuple[str, str | Chat | Tokens]] | Corpus | Callable[[Any], Corpus]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HarvestOptions:
    """How to harvest. Sizes of contexts are in tokens, BOS included."""

    context_size: int | None = None  # None: the shortest that a dictionary was trained with
    max_tokens: int | None = None  # of documents given as texts
    seed: int = 0  # decides which examples are sampled
    max_norm: float = forward_pass.MAX_NORM  # see ForwardPass; 0 counts attention sinks as well
    exclude_special: bool = False  # do not count the tokenizer's special tokens
    replace: bool = False  # replace dictionaries that the store has already
    memory: int = resources.MEMORY  # bytes for statistics; more features than fit are counted in rounds
    checkpoint: Path | None = None  # folder for statistics so far, from which an interrupted harvest goes on
    every: float = 120.0  # seconds between two checkpoints
    ray: str | None = None  # address of a Ray cluster, "auto" or "local"; None: this process counts
    workers: int | None = None  # of the cluster; None: one per GPU, or per processor


@dataclasses.dataclass(frozen=True, eq=False)
class HarvestPlan:
    """A harvest whose parts fit together. `make_plan` makes it, `harvest.run` carries it out."""

    model_id: str
    dictionaries: Mapping[str, Sae]  # by source, on the device where they were read
    options: HarvestOptions
    context_size: int  # tokens, BOS included
    forward_pass: ForwardPass
    rounds: Sequence[Mapping[str, Span]]
    resources: Resources
    notes: tuple[str, ...] = ()  # what was assumed or noticed, in sentences
    assumed_context: bool = False  # nobody said the size of contexts

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the store records with each dictionary, JSON-ready."""
        return {
            "seed": self.options.seed,
            "context_size": self.context_size,
            "bos": self.forward_pass.bos,
            "max_norm": self.options.max_norm,
            "special": self.options.exclude_special,
        } | self._unusual

    @property
    def _unusual(self) -> dict[str, Any]:
        assumed = {"context_size_assumed": True} if self.assumed_context else {}
        return assumed | self.forward_pass.model.unusual

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the statistics, JSON-ready."""
        return self.settings | {
            "model": self.forward_pass.model.hash,
            "corpus": self.forward_pass.corpus.id,
            "dictionaries": {source: sae.hash for source, sae in self.dictionaries.items()},
            "memory": self.options.memory,
            "scales": dict(self.forward_pass.scales),
            "version": featurestore.__version__,
        }

    @functools.cached_property
    def checkpoint(self) -> Checkpoint | None:
        """The statistics so far, if they are kept. Raises BadStore when they cannot be read."""
        folder = self.options.checkpoint
        return Checkpoint(folder, self.fingerprint, self.options.seed) if folder else None


def make_plan(
    store: Store,
    model: Model,
    dictionaries: Mapping[str, Sae],
    documents: Documents,
    *,
    model_id: str,
    options: HarvestOptions,
) -> HarvestPlan:
    """Return a checked plan. Tokenises the documents; the model runs on two tokens only.

    Raises BadRequest when widths, hooks, contexts or vocabulary do not fit, Conflict when the store has a dictionary
    already and options.replace is not set, and Unavailable when a disk has too little space.
    """
    points = check_hooks(store, model, dictionaries, model_id, options.replace)
    size, context_notes = _choose_context_size(model, dictionaries, options.context_size)
    options, special_notes = _choose_special(dictionaries, options)
    bos = _choose_bos(model, dictionaries)
    rounds = split_dictionaries(dictionaries, options.memory)
    estimate = functools.partial(
        resources.estimate_resources,
        dictionaries,
        rounds=rounds,
        has_checkpoint=options.checkpoint is not None,
        caches_inputs=len(rounds) > 1 and not options.ray,
    )
    _check_disks(store, estimate(tokens=0), options.checkpoint)  # tokenising may take hours
    corpus = _load_corpus(model, documents, options.max_tokens)
    needed = estimate(tokens=corpus.size)
    _check_disks(store, needed, options.checkpoint)
    whole_pass = ForwardPass(
        model,
        {source: sae.to(model.device) for source, sae in dictionaries.items()},
        points,
        corpus,
        corpus.contexts(size - len(bos), model.bos),
        bos,
        options.seed,
        options.max_norm,
        tuple(special_ids(model.tokenizer).tolist()) if options.exclude_special else (),
        forward_pass.UNIT_TOKENS,
    )
    notes = (*context_notes, *special_notes, *corpus.notes)
    assumed = options.context_size is None and not any(sae.context_size for sae in dictionaries.values())
    return HarvestPlan(model_id, dictionaries, options, size, whole_pass, rounds, needed, notes, assumed)


def split_dictionaries(dictionaries: Mapping[str, Sae], memory: int) -> list[dict[str, Span]]:
    """Return the rounds of a harvest: which features of each dictionary are counted together in `memory` bytes."""
    return resources.split_into_rounds({source: sae.d_sae for source, sae in dictionaries.items()}, memory)


def check_hooks(
    store: Store, model: Model, dictionaries: Mapping[str, Sae], model_id: str, replace: bool
) -> dict[str, HookPoint]:
    """Return where each dictionary reads, by source.

    Raises BadRequest when a hook or a width is not the model's, and what `check_names` raises.
    """
    check_names(store, dictionaries, model_id, replace)
    points = {}
    for source, sae in dictionaries.items():
        reads = model.hook_point(*sae.reads)
        writes = model.hook_point(sae.hook_point_out) if sae.hook_point_out else None
        probe = torch.tensor([[model.bos or 0, 0]])
        values = model.read(probe, [point for point in (reads, writes) if point])
        for point, width, verb in ((reads, sae.d_in, "reads"), (writes, sae.d_out, "writes")):
            if point and (actual := values[point.name].shape[-1]) != width:
                raise BadRequest(
                    f"{model_id}/{source} {verb} vectors of {width} numbers, but {point.name} of {model.location} has "
                    f"{actual}: the weights are of another model"
                )
        points[source] = reads
    return points


def check_names(store: Store, dictionaries: Mapping[str, Sae], model_id: str, replace: bool) -> None:
    """Raise BadRequest for dictionaries without a usable id, Conflict for ids that the store has, unless `replace`."""
    if not dictionaries:
        raise BadRequest("no dictionary to harvest: name the weights of one at least")
    existing = {dictionary.dictionary for dictionary in store.dictionaries()}
    for source in dictionaries:
        name = f"{model_id}/{source}"
        if name.count("/") != 1 or any(c.isspace() for c in name) or {model_id, source} & {"", ".", ".."}:
            raise BadRequest(f"'{name}' is no id for a dictionary: model and source are words without / and spaces")
        if name in existing and not replace:
            raise Conflict(f"the store has {name} already; replace it with --replace, or give it another name")


def _check_disks(store: Store, needed: Resources, checkpoint: Path | None) -> None:
    """Raise Unavailable when a disk has too little space for what is not written yet."""
    beside = {checkpoint: needed.beside - resources.measure_folder(checkpoint)} if checkpoint else {}
    resources.check_space(beside | size_in_store(store, needed.stored))


def size_in_store(store: Store, size: int) -> dict[Path, int]:
    """Return {directory of the store: size}; nothing for a store on an object store, which has no limit."""
    place = Path(store.location)
    return {place: size} if place.exists() else {}


def _load_corpus(model: Model, documents: Documents, max_tokens: int | None) -> Corpus:
    """Return the corpus. Raises BadRequest when it has tokens that the model does not know."""
    if callable(documents):
        corpus = documents(model.tokenizer)
    elif isinstance(documents, Corpus):
        corpus = documents
    else:
        corpus = corpora.tokenise(model.tokenizer, documents, max_tokens)
    if (largest := int(corpus.data.max())) >= model.vocabulary:
        raise BadRequest(
            f"the tokenizer gives token {largest}, but the model has {model.vocabulary}: they do not belong together"
        )
    return corpus


def _choose_context_size(
    model: Model, dictionaries: Mapping[str, Sae], wanted: int | None
) -> tuple[int, tuple[str, ...]]:
    """Return the number of tokens of a context, and what is worth saying about it. Raises BadRequest if it cannot be.

    Without a wanted size it is the smallest of training. Where nobody knows that, ASSUMED_CONTEXT or less.
    """
    trained = {source: sae.context_size for source, sae in dictionaries.items() if sae.context_size}
    size = wanted or min([*trained.values()] or [min(ASSUMED_CONTEXT, model.max_context)])
    size = size if wanted else min(size, model.max_context)
    if not 2 <= size <= model.max_context:
        raise BadRequest(f"context size {size}: the model sees 2 to {model.max_context} tokens")
    notes = [
        f"{source} was trained in contexts of {of_training:,} tokens and is harvested in contexts of {size:,}"
        for source, of_training in trained.items()
        if of_training != size
    ]
    unknown = [source for source in dictionaries if source not in trained]
    if unknown and not wanted:
        notes.append(
            f"the context size of training is not known of {', '.join(unknown)}: {size:,} tokens are assumed; "
            "--context says another"
        )
    return size, tuple(notes)


def _choose_special(dictionaries: Mapping[str, Sae], options: HarvestOptions) -> tuple[HarvestOptions, tuple[str, ...]]:
    """Return options that leave out special tokens if training did, and what to say.

    Raises BadRequest if it did for some of the dictionaries alone.
    """
    trained = {sae.exclude_special for sae in dictionaries.values()}
    if options.exclude_special or True not in trained:
        return options, ()
    if len(trained) > 1:
        raise BadRequest(
            "some of the dictionaries were trained without special tokens and some with: harvest them apart, or leave "
            "these tokens out of all with --exclude-special"
        )
    notes = ("special tokens are not counted, since the dictionaries were trained without them",)
    return dataclasses.replace(options, exclude_special=True), notes


def _choose_bos(model: Model, dictionaries: Mapping[str, Sae]) -> list[int]:
    beginnings = {tuple(model.begin(sae.prepend_bos)) for sae in dictionaries.values()}
    if len(beginnings) > 1:
        raise BadRequest("some of the dictionaries were trained with BOS and some without: harvest them apart")
    return list(beginnings.pop())
