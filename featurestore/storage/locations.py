"""The storage of a location, as people write it."""

from __future__ import annotations

from pathlib import Path

from featurestore.errors import NotFound
from featurestore.storage.base import Storage
from featurestore.storage.local import LocalStorage


def storage_at(location: str | Path) -> Storage:
    """Return the storage of a directory's path or an s3:// URL. Nothing is read yet."""
    text = str(location)
    if text.startswith("s3://"):
        from featurestore.storage.object_store import ObjectStorage

        return ObjectStorage(text)
    if "://" in text:
        raise NotFound(f"'{text}': a store is a directory, an s3:// prefix, or the http:// address of a service")
    return LocalStorage(Path(location))
