"""Which interfaces of other services there are, by the name that `serve --compat` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from flask import Blueprint

from featurestore.errors import BadRequest
from featurestore.interface import FeatureStore
from featurestore.web.compat import goodfire, graph_files, neuronpedia

COMPAT: dict[str, Callable[[FeatureStore], Blueprint]] = {
    "goodfire": goodfire.create_routes,
    "graphs": graph_files.create_routes,
    "neuronpedia": neuronpedia.create_routes,
}


def create_compat(store: FeatureStore, names: Iterable[str]) -> Iterator[Blueprint]:
    """Yield the routes of the named interfaces. Raises BadRequest for a name that is none."""
    for name in sorted(set(names)):
        if name not in COMPAT:
            raise BadRequest(f"compat: '{name}' is not one of {', '.join(sorted(COMPAT))}")
        yield COMPAT[name](store)
