"""Nearest vectors by cosine. Knows numbers and row positions; knows nothing about dictionaries or features.

rows.py      vectors as they lie on disk: exact cosines to rows of memory-mapped parts
clusters.py  spherical k-means in two levels
codes.py     rows as codes of one bit a dimension in inverted lists; scanning them
plan.py      which lists to probe and candidates to compare, tuned against exact search
building.py  build: what is written, resumed and taken over from an older index
index.py     VectorIndex: which of these a query needs
"""

from featurestore.search.vectors.building import FORMAT, RECALL, build
from featurestore.search.vectors.index import Filter, VectorIndex
from featurestore.search.vectors.rows import unit

__all__ = ["FORMAT", "RECALL", "Filter", "VectorIndex", "build", "unit"]
