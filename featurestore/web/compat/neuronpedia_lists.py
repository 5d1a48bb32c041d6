"""Neuronpedia's lists, of the lists of a store: read, begun, and added to.

The id of a list is its name here, which has letters, digits, '_', '-' and '.'; a name of theirs may be any text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from flask import request

from featurestore.errors import BadRequest, NotFound
from featurestore.interface import FeatureStore
from featurestore.values.feature import FeatureId
from featurestore.values.lists import FeatureList, ListedFeature, ListSummary, check_name
from featurestore.web.api.labels import name_writer
from featurestore.web.compat.foreign import NotOffered, convert
from featurestore.web.compat.neuronpedia_features import MOST_FEATURES, TOGETHER, Index
from featurestore.web.compat.neuronpedia_values import Object, describe_feature

LONGEST_NAME = 90  # characters of a name here, so that a number still fits behind it


class NamedList(msgspec.Struct, rename="camel"):
    """Which list."""

    list_id: str


class AddedFeature(msgspec.Struct, rename="camel"):
    """A feature, and what is noted about it."""

    model_id: str
    layer: str
    index: Index
    description: str | None = None


Added = Annotated[list[AddedFeature], msgspec.Meta(max_length=MOST_FEATURES)]


class NewList(msgspec.Struct, rename="camel"):
    """A list to begin."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    description: str | None = None
    features: Added = []


class Addition(msgspec.Struct, rename="camel"):
    """Features for a list."""

    list_id: str
    features_to_add: Added


def list_lists(store: FeatureStore, body: Any) -> list[Object]:
    """Return every list, without its features."""
    return [_describe(entry) for entry in store.lists()]


def get_list(store: FeatureStore, body: Any) -> Object:
    """Return a list with its features. Raises NotFound, and NotOffered for one of more than an answer takes."""
    entry = _read(store, convert(body, NamedList).list_id)
    if len(entry) > MOST_FEATURES:
        raise NotOffered(
            f"{entry.list} has {len(entry):,} features, more than the {MOST_FEATURES:,} of one answer here: "
            f"GET /v1/lists/{entry.list} gives all"
        )
    return _describe(entry) | {"neurons": _describe_features(store, entry), "activations": []}


def begin_list(store: FeatureStore, body: Any) -> Object:
    """Begin a list, also with features; one of the same name gets a number. Returns it with the address of its page."""
    wanted = convert(body, NewList)
    name = _choose_name(wanted.name, {entry.list for entry in store.lists()})
    entry = store.save_list(name, _name_features(wanted.features), wanted.description or None, tool=name_writer(store))
    return _describe(entry) | {"url": f"{request.host_url}lists/{entry.list}"}


def add_features(store: FeatureStore, body: Any) -> list[Object]:
    """Add features to a list; a feature that it has keeps its place. Returns those that were given, as list rows."""
    wanted = convert(body, Addition)
    name = _read(store, wanted.list_id).list
    features = _name_features(wanted.features_to_add)
    entry = store.change_list(name, features, tool=name_writer(store))
    given = {feature.id for feature in features}
    return [_describe_row(entry, feature) for feature in entry.features if feature.id in given]


def _read(store: FeatureStore, id: str) -> FeatureList:
    """Return a list. Raises NotFound, also for an id that no list can have."""
    try:
        check_name(id)
    except BadRequest as exc:
        raise NotFound(str(exc)) from None
    return store.feature_list(id)


def _choose_name(text: str, taken: set[str]) -> str:
    """Return a name for a list that nobody has. Raises BadRequest for a text without a letter or digit of ours."""
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.")[:LONGEST_NAME]
    if not plain:
        raise BadRequest(f"name: {text!r:.80} has none of the letters a to z, digits and '_', of which names are made")
    numbered = (f"{plain}-{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain([plain], numbered) if name not in taken)


def _name_features(given: Sequence[AddedFeature]) -> list[ListedFeature]:
    return [
        ListedFeature(id=f"{each.model_id}/{each.layer}/{each.index}", note=each.description or None) for each in given
    ]


def _describe(entry: FeatureList | ListSummary) -> Object:
    return {
        "id": entry.list,
        "name": entry.list,
        "description": entry.note or "",
        "defaultTestText": None,
        "userId": entry.tool,
        "createdAt": entry.created_at,
        "updatedAt": entry.changed_at,
    }


def _describe_row(entry: FeatureList, feature: ListedFeature) -> Object:
    """Return a feature's place in a list."""
    id = FeatureId.parse(feature.id)
    model, _, source = id.dictionary.partition("/")
    return {
        "modelId": model,
        "layer": source,
        "index": str(id.feature),
        "listId": entry.list,
        "description": feature.note or "",
        "addedAt": entry.changed_at,
    }


def _describe_features(store: FeatureStore, entry: FeatureList) -> list[Object]:
    """Return the features of a list in its order; the page of one that the store has not is null."""
    dictionaries = {dictionary.dictionary: dictionary for dictionary in store.dictionaries()}
    ids = [feature.id for feature in entry.features if feature.in_store]
    pages = {}
    for first in range(0, len(ids), TOGETHER):
        for page in store.features(ids[first : first + TOGETHER], examples=0):
            pages[page.id] = describe_feature(page, dictionaries[page.dictionary])
    return [_describe_row(entry, feature) | {"neuron": pages.get(feature.id)} for feature in entry.features]
