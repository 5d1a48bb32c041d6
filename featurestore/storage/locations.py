"""The storage of a location, as people write it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from featurestore.errors import NotFound
from featurestore.storage.base import Storage
from featurestore.storage.local import LocalStorage
from featurestore.values.dictionary import Dictionary


def storage_at(location: str | Path) -> Storage:
    """Return the storage of a directory's path or an s3:// URL. Nothing is read yet."""
    text = str(location)
    if text.startswith("s3://"):
        from featurestore.storage.object_store import ObjectStorage

        return ObjectStorage(text)
    if "://" in text:
        raise NotFound(f"'{text}': a store is a directory, an s3:// prefix, or the http:// address of a service")
    return LocalStorage(Path(location))


# A path of one machine: from its root, from a home directory, of Windows, or as a file's address.
_PATH = re.compile(r"(file://|/|~|\\|[A-Za-z]:[/\\])")
# What a dictionary says of where it comes from, which may be such a path.
PLACES = ("import_location", "model_location", "weights_location")


def hide_path(location: str | None) -> str | None:
    """Return the last name of a path of this machine; names of the hub, addresses and relative paths as they are.

    A service answers with it: where its files lie is nobody's business, and of no use elsewhere.
    """
    if location is None or not _PATH.match(location):
        return location
    return re.split(r"[/\\]", location.rstrip("/\\"))[-1] or "files"


def without_paths(dictionary: Dictionary) -> Dictionary:
    """Return a dictionary that names files of this machine by their last names."""
    return msgspec.structs.replace(dictionary, **{name: hide_path(getattr(dictionary, name)) for name in PLACES})
