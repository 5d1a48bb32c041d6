"""/v1/info, /v1/dictionaries and /v1/vectors/...: values whose JSON is not what the store returns."""

from __future__ import annotations

import re

import msgspec

from featurestore.display.float32 import round_floats32
from featurestore.ids import id_text
from featurestore.interface import FeatureStore
from featurestore.storage.locations import without_paths
from featurestore.values.dictionary import Dictionary, StoreInfo
from featurestore.web.api.routes import answers
from featurestore.wire import questions
from featurestore.wire.answers import DictionariesAnswer, VectorAnswer
from featurestore.wire.requests import Nothing, VectorRequest


@answers(questions.INFO)
def info(store: FeatureStore, request: Nothing) -> StoreInfo:
    """Returns what the store holds; of its location only the last name, which tells nothing of the server's disk."""
    held = store.info()
    name = re.split(r"[/\\]", held.location.rstrip("/\\"))[-1] or "store"
    return msgspec.structs.replace(held, location=name)


@answers(questions.DICTIONARIES)
def dictionaries(store: FeatureStore, request: Nothing) -> DictionariesAnswer:
    """Returns every dictionary, without the paths of this machine."""
    dictionaries = [without_paths(dictionary) for dictionary in store.dictionaries()]
    return DictionariesAnswer(dictionaries, total=len(dictionaries))


@answers(questions.DICTIONARY)
def dictionary(store: FeatureStore, request: Nothing, id: str) -> Dictionary:
    """Returns one dictionary, without the paths of this machine."""
    return without_paths(store.dictionary(id))


@answers(questions.VECTOR)
def vector(store: FeatureStore, request: VectorRequest, id: str) -> VectorAnswer:
    """Returns a feature's decoder vector as a list of numbers."""
    return VectorAnswer(id_text(id), round_floats32(store.vector(id, request.target)))
