"""Nearest vectors by cosine. Knows numbers and row positions; knows nothing about dictionaries or features.

rows.py      vectors as they lie on disk: exact cosines to rows of memory-mapped parts
clusters.py  spherical k-means in two levels
codes.py     rows as codes of one bit a dimension in inverted lists; scanning them
plan.py      which lists to probe and candidates to compare, tuned against exact search
kinds.py     what people ask of an index, and the recall of each kind
building.py  build: what is written, resumed and taken over from an older index
description.py  index.json
index.py     VectorIndex: which of these a query needs
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurestore.search.vectors.building import RECALL, build
    from featurestore.search.vectors.description import FORMAT
    from featurestore.search.vectors.index import Filter, VectorIndex
    from featurestore.search.vectors.kinds import describe_quality
    from featurestore.search.vectors.rows import unit

__all__ = ["FORMAT", "RECALL", "Filter", "VectorIndex", "build", "describe_quality", "unit"]


# faiss is imported when vectors are first used: a command that asks for a feature or for SQL does without.
def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from featurestore.search.vectors import building, description, index, kinds, rows

    places = {"RECALL": building, "build": building, "FORMAT": description, "describe_quality": kinds, "unit": rows}
    return getattr(places.get(name, index), name)
