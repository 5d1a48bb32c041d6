"""/v1/lists: keeping, changing and removing lists of features, where the service takes writes."""

from __future__ import annotations

from featurestore.interface import FeatureStore
from featurestore.values.lists import FeatureList, ListedFeature
from featurestore.web.api.labels import name_writer
from featurestore.web.api.routes import answers
from featurestore.wire import questions
from featurestore.wire.answers import Removed
from featurestore.wire.requests import ListChangeRequest, ListedRequest, ListRequest, Nothing


@answers(questions.SAVE_LIST)
def save_list(store: FeatureStore, request: ListRequest, name: str) -> FeatureList:
    """Keep a list under `name`; returns it."""
    features = _convert(request.features)
    return store.save_list(name, features, request.note, request.replace, request.keep_missing, name_writer(store))


@answers(questions.CHANGE_LIST)
def change_list(store: FeatureStore, request: ListChangeRequest, name: str) -> FeatureList:
    """Change the list named `name`; returns it as it is then."""
    return store.change_list(name, _convert(request.add), request.remove, request.note, name_writer(store))


@answers(questions.REMOVE_LIST)
def remove_list(store: FeatureStore, request: Nothing, name: str) -> Removed:
    """Remove the list named `name`."""
    store.remove_list(name, name_writer(store))
    return Removed(name)


def _convert(given: tuple[str | ListedRequest, ...]) -> list[ListedFeature]:
    return [
        ListedFeature(id=item) if isinstance(item, str) else ListedFeature(id=item.id, note=item.note) for item in given
    ]
