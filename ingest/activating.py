"""Which features of harvested dictionaries fire on a new text: the model and weights are found where they were."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from featurestore import BadRequest, Dictionary, FeatureStoreError, Unavailable

if TYPE_CHECKING:
    from ingest.model.model import Model
    from ingest.sae import Sae

MAX_TOKENS = 2000
Found = dict[str, tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]

_lock = threading.Lock()  # one text at a time: the model's hooks are not to be shared


def activations(dictionaries: Sequence[Dictionary], text: str) -> tuple[list[str], Found]:
    """The text's tokens, and for each dictionary the (feature, token, activation) of every non-zero activation: three
    arrays, int32, int32 and float32.

    `dictionaries` are of one model. The text is cut into contexts as a harvest cuts documents. Raises Unavailable when
    torch, the model or the weights are not at hand or have changed, BadRequest when the text is too long.
    """
    try:
        import torch

        from ingest.model.vocabulary import token_bytes
        from ingest.statistics.encode import encode_active
    except ImportError as exc:
        raise Unavailable(f"running a model needs {exc.name}: pip install 'featurestore[harvest]'") from None
    model = _model(dictionaries[0])
    with _lock:
        ids = model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) > MAX_TOKENS:
            raise BadRequest(f"text: it has {len(ids):,} tokens; {MAX_TOKENS:,} at most are run at once")
        if not ids:
            raise BadRequest("text: the tokenizer makes no token of it")
        saes = {dictionary.dictionary: _sae(dictionary) for dictionary in dictionaries}
        points = {name: model.hook_point(*sae.reads) for name, sae in saes.items()}
        found: dict[str, list[tuple[Any, Any, Any]]] = {name: [] for name in saes}
        # Dictionaries harvested in contexts of one kind share the model's runs.
        kinds: dict[tuple[int, tuple[int, ...]], list[str]] = {}
        for dictionary in dictionaries:
            bos = tuple(model.begin(saes[dictionary.dictionary].prepend_bos))
            kinds.setdefault((dictionary.context_size or model.max_context, bos), []).append(dictionary.dictionary)
        for (size, bos), names in kinds.items():
            unique = list({points[name].name: points[name] for name in names}.values())
            for start in range(0, len(ids), size - len(bos)):
                run = ids[start : start + size - len(bos)]
                read = model.read(torch.tensor([[*bos, *run]]), unique)
                for name in names:
                    inputs = read[points[name].name][0, len(bos) :]
                    feature, position, value = encode_active(saes[name], inputs, 0, saes[name].d_sae)
                    found[name].append((feature.numpy(), position.numpy() + start, value.numpy()))
        pieces = token_bytes(model.tokenizer)
    tokens = [pieces[id].decode("utf-8", errors="replace") for id in ids]
    joined: Found = {}
    for name, parts in found.items():
        features, places, values = map(numpy.concatenate, zip(*parts, strict=True))
        joined[name] = (features.astype(numpy.int32), places.astype(numpy.int32), values)
    return tokens, joined


def _model(dictionary: Dictionary) -> Model:
    if dictionary.model_location is None:
        raise Unavailable(f"the store does not say where the model of {dictionary.dictionary} is")
    try:
        model = _load_model(dictionary.model_location)
    except FeatureStoreError as exc:
        raise Unavailable(f"the model of {dictionary.dictionary} is not at hand: {exc}") from None
    if dictionary.model_hash not in (None, model.hash):
        raise Unavailable(
            f"{dictionary.dictionary} was harvested from another version of {dictionary.model_location} "
            f"({dictionary.model_hash}, now {model.hash}): harvest it again"
        )
    return model


def _sae(dictionary: Dictionary) -> Sae:
    if dictionary.weights_location is None:
        raise Unavailable(f"the store does not say where the weights of {dictionary.dictionary} are")
    try:
        sae = _load_sae(dictionary.weights_location)
    except FeatureStoreError as exc:
        raise Unavailable(f"the weights of {dictionary.dictionary} are not at hand: {exc}") from None
    if dictionary.weights_hash not in (None, sae.hash):
        raise Unavailable(
            f"{dictionary.dictionary} was harvested with other weights than are at {dictionary.weights_location} "
            f"({dictionary.weights_hash}, now {sae.hash}): harvest it again"
        )
    return sae


@functools.lru_cache(maxsize=2)
def _load_model(location: str) -> Model:
    from ingest.model.model import Model

    return Model(location)


@functools.lru_cache(maxsize=32)
def _load_sae(location: str) -> Sae:
    from ingest import weights

    return weights.read(location)
