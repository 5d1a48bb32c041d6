"""featurestore: a feature dictionary database and search service for sparse autoencoders.

store = featurestore.connect("features/")            # or featurestore.connect("http://host:8000")
store.search("exception handling")
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.conventions import HISTOGRAM_BINS, HISTOGRAM_EDGES, held_out
from featurestore.errors import (
    BadRequest,
    BadStore,
    Conflict,
    FeatureStoreError,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedVersion,
)
from featurestore.interface import FeatureStore
from featurestore.progress import Progress
from featurestore.query import Query
from featurestore.values.comparisons import (
    ComparedExample,
    ComparedFeature,
    ComparedPair,
    DictionaryComparison,
    FeatureComparison,
    MatchCount,
    MatchedFeature,
)
from featurestore.values.dictionary import Coverage, Dictionaries, Dictionary, StoreInfo
from featurestore.values.examples import Example, Examples, FeatureExample
from featurestore.values.feature import (
    Coactive,
    Feature,
    FeatureId,
    Features,
    GivenLabel,
    Label,
    LabelChange,
    LabelledNeighbour,
    LogitEffect,
    Score,
    Scores,
)
from featurestore.values.graphs import Graph, GraphAdded, GraphLink, GraphNode, Graphs, GraphSummary
from featurestore.values.hits import (
    Activating,
    ActiveFeature,
    Contrast,
    ContrastFeature,
    Duplicate,
    Duplicates,
    Edge,
    Hit,
    Hits,
    Neighbourhood,
    Reason,
)
from featurestore.values.jobs import Job, JobError, Jobs
from featurestore.values.lists import FeatureList, FeatureLists, ListedFeature, ListSummary
from featurestore.weights import Weights, is_location, read_location

if TYPE_CHECKING:
    from featurestore.store import Store
    from featurestore.tables.writer import Writer

__version__ = "0.1.0"

__all__ = [
    "HISTOGRAM_BINS",
    "HISTOGRAM_EDGES",
    "Activating",
    "ActiveFeature",
    "BadRequest",
    "BadStore",
    "Coactive",
    "ComparedExample",
    "ComparedFeature",
    "ComparedPair",
    "Conflict",
    "Contrast",
    "ContrastFeature",
    "Coverage",
    "Dictionaries",
    "Dictionary",
    "DictionaryComparison",
    "Duplicate",
    "Duplicates",
    "Edge",
    "Example",
    "Examples",
    "Feature",
    "FeatureComparison",
    "FeatureExample",
    "FeatureId",
    "FeatureList",
    "FeatureLists",
    "FeatureStore",
    "FeatureStoreError",
    "Features",
    "Forbidden",
    "GivenLabel",
    "Graph",
    "GraphAdded",
    "GraphLink",
    "GraphNode",
    "GraphSummary",
    "Graphs",
    "Hit",
    "Hits",
    "Job",
    "JobError",
    "Jobs",
    "Label",
    "LabelChange",
    "LabelledNeighbour",
    "ListSummary",
    "ListedFeature",
    "LogitEffect",
    "MatchCount",
    "MatchedFeature",
    "Neighbourhood",
    "NotFound",
    "Progress",
    "Query",
    "Reason",
    "Score",
    "Scores",
    "Store",
    "StoreInfo",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnsupportedVersion",
    "Weights",
    "Writer",
    "connect",
    "create",
    "held_out",
    "sae",
]


def __dir__() -> list[str]:
    """Return the public names alone, for completion."""
    return [*__all__, "__version__"]


# A remote client needs no DuckDB, and a local store no HTTP client, so both are imported only when they are used.
def __getattr__(name: str) -> Any:
    if name == "Store":
        from featurestore.store import Store

        return Store
    if name == "Writer":
        from featurestore.tables.writer import Writer

        return Writer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def connect(location: str | Path, embedder: str | None = None, *, allow_store_locations: bool = False) -> FeatureStore:
    """Return the store in a directory, at an s3:// prefix, or behind a service's URL.

    `embedder` is one to use where a store was indexed with another than the default: what a store itself names is not
    used. `allow_store_locations` lets `activating` and `contrast` open models and weights wherever the store says that
    they are; without it, where this user has harvested from, and in folders of data files on this machine. Raises
    NotFound, UnsupportedVersion, BadStore or Unavailable, and BadRequest for an embedder of a service.
    """
    _check_location(location)
    if allow_store_locations and str(location).startswith(("http://", "https://")):
        raise BadRequest(f"{location} is a service: what its store names is opened, or not, where the service runs")
    if embedder is not None and str(location).startswith(("http://", "https://")):
        raise BadRequest(f"{location} is a service, which has its own embedder: name it where the service runs")
    if str(location).startswith(("http://", "https://")):
        from featurestore.client import Client

        return Client(str(location))
    from featurestore.store import Store

    return Store(location, embedder, allow_store_locations)


def _check_location(location: object) -> None:
    if not isinstance(location, str | os.PathLike) or not str(location):
        raise BadRequest(
            f"location: {location!r:.100} is no place of a store; name a directory, s3://..., or http://..."
        )


def sae(id: str, store: FeatureStore | str | Path | None = None, weights: str | Path | None = None) -> Weights:
    """Return trained weights as torch tensors; `to_sae_lens()` gives the same as an SAE of the package sae_lens.

    `id` is a dictionary of `store` (a store or where one is; else $FEATURESTORE, or the directory `features`), or a
    place of weights: a directory, a file or hf://.... `weights` is another place of the dictionary's. Raises NotFound
    for what is not there, Unavailable where the weights or torch are missing.
    """
    if store is None and is_location(id):
        return read_location(id)
    if isinstance(store, FeatureStore):
        return store.sae(id, weights)
    with connect(store or os.environ.get("FEATURESTORE") or "features") as opened:
        return opened.sae(id, weights)


def create(path: str | Path) -> Store:
    """Create an empty store in a directory or at an s3:// prefix. Raises Conflict when something exists there
    already."""
    _check_location(path)
    from featurestore.storage.directory import Directory
    from featurestore.store import Store

    Directory.create(path)
    return Store(path)
