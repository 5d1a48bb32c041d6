"""Opens the store that a command writes to, or makes it; and names what commands keep beside it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from featurestore import NotFound, create
from featurestore.extension.commands import connect_local

if TYPE_CHECKING:
    from featurestore import Store


@contextlib.contextmanager
def open_store(store: str) -> Iterator[Store]:
    """Open the store, or create it if there is none; removes a new directory when nothing was written to it."""
    if "://" not in store and not Path(store).exists():
        new_store = create(store)
        try:
            yield new_store
        except BaseException:
            if new_store.info().commit == 0:
                shutil.rmtree(store)
            raise
        return
    try:
        opened = connect_local(store)
    except NotFound:
        if not store.startswith("s3://"):
            raise
        opened = create(store)
    yield opened


def find_beside(store: str, suffix: str) -> Path:
    """Return the path of what a command keeps beside a directory; for an object store it is in the working
    directory."""
    _, separator, place = store.rpartition("://")
    return Path((place.strip("/").replace("/", "-") if separator else store.rstrip("/")) + suffix)
