"""A store behind a URL, with the methods of a local one. Knows HTTP; knows nothing of DuckDB, FAISS, torch or Parquet."""

from featurestore.client.client import Client

__all__ = ["Client"]
