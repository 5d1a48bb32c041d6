"""Neuronpedia's catalogue: models, releases, source sets and sources, of the dictionaries of a store."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from featurestore.errors import NotFound
from featurestore.interface import FeatureStore
from featurestore.values.dictionary import Dictionary, pick_dictionary
from featurestore.web.compat.foreign import convert
from featurestore.web.compat.neuronpedia_values import Object, describe_model, describe_set, name_set

MISSING = (
    "The model, source, or feature you specified is not available. Check the names against POST /api/global or "
    "`featurestore dictionaries`"
)


class NamedModel(msgspec.Struct):
    """Which model."""

    id: str


def list_sets(dictionaries: Sequence[Dictionary]) -> Iterator[tuple[str, str, list[Dictionary]]]:
    """Yield model, name and dictionaries of each source set, ordered by layer."""

    def _key(dictionary: Dictionary) -> tuple[str, str]:
        return dictionary.model, name_set(dictionary.source)

    for (model, name), group in itertools.groupby(sorted(dictionaries, key=_key), _key):
        yield model, name, sorted(group, key=lambda each: (each.layer or 0, each.source))


def find_source(store: FeatureStore, model: str, source: str) -> Dictionary:
    """Return the dictionary of a source, by its name here or else by its name there.

    Raises NotFound in Neuronpedia's words.
    """
    try:
        return pick_dictionary(store.dictionaries(), f"{model}/{source}")
    except NotFound:
        raise NotFound(f"{MISSING}: there is no {model}/{source}"[:400]) from None


def find_set(store: FeatureStore, model: str, name: str) -> list[Dictionary]:
    """Return the dictionaries of a source set. Raises NotFound."""
    for owner, other, dictionaries in list_sets(store.dictionaries()):
        if (owner, other) == (model, name):
            return dictionaries
    raise NotFound(f"{MISSING}: {model} has no source set {name}"[:400])


def list_models(store: FeatureStore, body: Any) -> list[Object]:
    """Return every model."""
    return [describe_model(model, group) for model, group in _models(store.dictionaries())]


def get_model(store: FeatureStore, body: Any) -> Object:
    """Return one model with its source sets. Raises NotFound."""
    wanted = convert(body, NamedModel).id
    for model, group in _models(store.dictionaries()):
        if model == wanted:
            return describe_model(model, group) | {"sourceSets": _describe_sets(group)}
    raise NotFound(f"{MISSING}: there is no model {wanted}"[:400])


def get_set(store: FeatureStore, body: Any, model: str, name: str) -> Object:
    """Return a source set with its sources, its release and its model. Raises NotFound."""
    dictionaries = find_set(store, model, name)
    of_model = [dictionary for dictionary in store.dictionaries() if dictionary.model == model]
    whole = describe_set(model, name, dictionaries)
    return whole | {"releases": _describe_release(name, []), "model": describe_model(model, of_model)}


def list_all(store: FeatureStore, body: Any) -> Object:
    """Return the whole catalogue."""
    dictionaries = store.dictionaries()
    models = [
        describe_model(model, group) | {"sourceSets": _describe_sets(group)} for model, group in _models(dictionaries)
    ]
    sets = [describe_set(model, name, group) for model, name, group in list_sets(dictionaries)]
    names = sorted({each["name"] for each in sets})
    return {
        "models": models,
        "explanationTypes": [],
        "explanationModels": [],
        "releases": [_describe_release(name, [each for each in sets if each["name"] == name]) for name in names],
        "explanationScoreTypes": [],
        "explanationScoreModelTypes": [],
    }


def _models(dictionaries: Sequence[Dictionary]) -> Iterator[tuple[str, list[Dictionary]]]:
    ordered = sorted(dictionaries, key=lambda each: (each.model, each.layer or 0, each.source))
    for model, group in itertools.groupby(ordered, lambda each: each.model):
        yield model, list(group)


def _describe_sets(dictionaries: Sequence[Dictionary]) -> list[Object]:
    return [describe_set(model, name, group) for model, name, group in list_sets(dictionaries)]


def _describe_release(name: str, sets: list[Object]) -> Object:
    """Return a release. A store has none, so each name of a source set is one."""
    return {
        "name": name,
        "visibility": "PUBLIC",
        "isNewUi": False,
        "featured": False,
        "description": name,
        "descriptionShort": name,
        "urls": [],
        "creatorName": "",
        "creatorNameShort": None,
        "creatorId": "",
        "creatorEmail": None,
        "defaultSourceSetName": name,
        "defaultSourceId": None,
        "defaultUmapSourceIds": [],
        "sourceSets": sets,
    }
