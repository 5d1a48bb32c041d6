"""/v1, questions about several features or texts: rerank, contrast, neighbourhood, duplicates."""

from __future__ import annotations

from featurestore.errors import BadRequest
from featurestore.interface import FeatureStore
from featurestore.values.hits import Contrast, Duplicates, Neighbourhood
from featurestore.web.api.models import (
    ContrastAsked,
    DuplicatesAsked,
    Found,
    NeighbourhoodAsked,
    RerankAsked,
)
from featurestore.web.api.routes import Routes

# Comparing a dictionary's features takes a millisecond each, and keeps a thread of the service for it.
MOST_COMPARED = 65_536


def routes(store: FeatureStore) -> Routes:
    """The routes over `store`."""
    api = Routes("questions")

    @api.add("/rerank", gives=Found, takes=RerankAsked, methods=("POST",), lane="search")
    def rerank(asked: RerankAsked) -> Found:
        """Given features, by how well their labels match a text."""
        hits = store.rerank(asked.text, asked.features, mode=asked.mode)
        return Found(hits.query, hits.hits, hits.notes)

    @api.add("/contrast", gives=Contrast, takes=ContrastAsked, methods=("POST",), lane="activating")
    def contrast(asked: ContrastAsked) -> Contrast:
        """The features that fire more on some texts than on others."""
        return store.contrast(asked.texts, asked.against, asked.dictionary, asked.k)

    @api.add("/neighbourhood/<model>/<source>/<index>", gives=Neighbourhood, takes=NeighbourhoodAsked, lane="search")
    def neighbourhood(asked: NeighbourhoodAsked, model: str, source: str, index: str) -> Neighbourhood:
        """A feature, its nearest and theirs, as a graph."""
        return store.neighbourhood(f"{model}/{source}/{index}", asked.k, asked.within)

    @api.add("/duplicates", gives=Duplicates, takes=DuplicatesAsked, methods=("POST",), lane="activating")
    def duplicates(asked: DuplicatesAsked) -> Duplicates:
        """The features of a dictionary that others of its space have too."""
        d_sae = store.dictionary(asked.dictionary).d_sae
        if d_sae > MOST_COMPARED:
            raise BadRequest(
                f"dictionary: {asked.dictionary} has {d_sae:,} features; a service compares {MOST_COMPARED:,} at most. "
                "Run `featurestore duplicates` beside the store"
            )
        return store.duplicates(asked.dictionary, asked.against, asked.cosine, asked.k)

    return api
