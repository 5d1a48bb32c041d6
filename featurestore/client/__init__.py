"""A store behind a URL, with the methods of a local one.

Knows HTTP and the questions of `featurestore.wire`; knows nothing of DuckDB, FAISS, torch or Parquet.
"""

from featurestore.client.client import Client

__all__ = ["Client"]
