"""Activations of stored dictionaries on a new text, with the model and weights of the harvest."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy

from featurestore import BadRequest, Dictionary, FeatureStoreError, Unavailable
from featurestore.extension.text import join_pieces
from ingest import dictionary_weights

if TYPE_CHECKING:
    from ingest.model.model import Model
    from ingest.sae import Sae

MAX_TOKENS = 2000
# By dictionary: feature (int32), token (int32) and activation (float32) of each non-zero activation, (n,) each.
Activations = dict[str, tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]

_lock = threading.Lock()  # one text at a time: threads cannot share the hooks of a model


class Tokenised(list[str]):
    """The texts of tokens, a character of several tokens on the first of them; `ids` are their ids."""

    def __init__(self, texts: Sequence[str], ids: Sequence[int]):
        super().__init__(texts)
        self.ids = tuple(ids)


def activations(dictionaries: Sequence[Dictionary], text: str) -> tuple[Tokenised, Activations]:
    """Return the tokens of a text, and the non-zero activations of each dictionary by its id.

    `dictionaries` are of one model. The text is cut into contexts as a harvest cuts documents. Raises Unavailable when
    torch, the model or the weights are missing or have changed, BadRequest when the text is empty or too long.
    """
    try:
        from ingest.model.vocabulary import token_bytes
        from ingest.statistics import encode  # noqa: F401 - needs torch
    except ImportError as exc:
        raise Unavailable(f"running a model needs {exc.name}: pip install 'featurestore[harvest]'") from None
    model = _find_model(dictionaries[0])
    with _lock:
        ids = model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) > MAX_TOKENS:
            raise BadRequest(f"text: it has {len(ids):,} tokens; {MAX_TOKENS:,} at most are run at once")
        if not ids:
            raise BadRequest("text: the tokenizer makes no token of it")
        saes = {dictionary.dictionary: dictionary_weights.read(None, dictionary) for dictionary in dictionaries}
        # Dictionaries harvested in contexts of one kind share the runs of the model.
        kinds: dict[tuple[int, tuple[int, ...]], list[str]] = {}
        for dictionary in dictionaries:
            bos = tuple(model.begin(saes[dictionary.dictionary].prepend_bos))
            kinds.setdefault((dictionary.context_size or min(1024, model.max_context), bos), []).append(
                dictionary.dictionary
            )
        activations: Activations = {}
        for (size, bos), names in kinds.items():
            activations |= _run_contexts(model, {name: saes[name] for name in names}, ids, bos, size)
        pieces = token_bytes(model.tokenizer)
    return Tokenised(join_pieces([pieces[id] for id in ids]), ids), activations


def _run_contexts(
    model: Model, saes: Mapping[str, Sae], ids: list[int], bos: tuple[int, ...], size: int
) -> Activations:
    """Run the model over `ids` in contexts of `size` tokens, BOS included; return activations by dictionary."""
    import torch

    from ingest.statistics.encode import encode_active

    points = {name: model.hook_point(*sae.reads) for name, sae in saes.items()}
    unique = list({point.name: point for point in points.values()}.values())
    parts: dict[str, list[tuple[numpy.ndarray, ...]]] = {name: [] for name in saes}
    for start in range(0, len(ids), size - len(bos)):
        run = ids[start : start + size - len(bos)]
        values = model.read(torch.tensor([[*bos, *run]]), unique)
        for name, sae in saes.items():
            inputs = values[points[name].name][0, len(bos) :]
            feature, position, value = encode_active(sae, inputs, 0, sae.d_sae)
            parts[name].append((feature.numpy(), position.numpy() + start, value.numpy()))
    activations: Activations = {}
    for name, columns in parts.items():
        features, places, values_of_text = map(numpy.concatenate, zip(*columns, strict=True))
        activations[name] = (features.astype(numpy.int32), places.astype(numpy.int32), values_of_text)
    return activations


def _find_model(dictionary: Dictionary) -> Model:
    """Return the model of a dictionary. Raises Unavailable when it is missing or has changed."""
    if dictionary.model_location is None:
        raise Unavailable(f"the store does not say where the model of {dictionary.dictionary} is")
    try:
        model = _load_model(dictionary.model_location, dictionary.settings or "{}")
    except FeatureStoreError as exc:
        raise Unavailable(f"the model of {dictionary.dictionary} is not at hand: {exc}") from None
    if dictionary.model_hash not in (None, model.hash):
        raise Unavailable(
            f"{dictionary.dictionary} was harvested from another version of {dictionary.model_location} "
            f"({dictionary.model_hash}, now {model.hash}): harvest it again"
        )
    return model


def _load_model(location: str, settings: str) -> Model:
    """Return the model as the harvest loaded it. Raises BadRequest for settings that no harvest writes."""
    try:
        values = json.loads(settings)
    except (ValueError, RecursionError):
        raise BadRequest("the settings of the harvest are no JSON") from None
    if not isinstance(values, dict):
        raise BadRequest("the settings of the harvest are no object of JSON")
    unusual = {name: values[name] for name in ("dtype", "architecture_map") if name in values}
    return _load_once(location, json.dumps(unusual, sort_keys=True))


@functools.lru_cache(maxsize=2)
def _load_once(location: str, unusual: str) -> Model:
    from ingest.model.model import load_as

    return load_as(location, json.loads(unusual))
