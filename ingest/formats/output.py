"""Files and directories that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from featurestore import Conflict, Unavailable


@contextlib.contextmanager
def new_directory(target: str | Path) -> Iterator[Path]:
    """Give an empty directory, which takes the target's name at the end. Raises Conflict when the target exists,
    Unavailable when it cannot be written."""
    with _beside(target) as place:
        place.mkdir()
        yield place


@contextlib.contextmanager
def new_file(target: str | Path) -> Iterator[Path]:
    """Give the path of a file to write, which takes the target's name at the end. Raises as `new_directory` does."""
    with _beside(target) as place:
        yield place


@contextlib.contextmanager
def _beside(target: str | Path) -> Iterator[Path]:
    final = Path(target)
    if final.exists():
        raise Conflict(f"{target} exists already: choose another name, or delete it")
    try:
        final.absolute().parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=final.absolute().parent, prefix=".featurestore-"))
    except OSError as exc:
        raise Unavailable(f"cannot write {target}: {exc.strerror or exc}") from None
    try:
        yield folder / final.name
        os.rename(folder / final.name, final)
    except OSError as exc:
        raise Unavailable(f"cannot write {target}: {exc.strerror or exc}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
