"""The demo's text: source and documentation of the Python standard library, read from the Python installation.

None of it is copied into the project. Every CPython has it, so the demo needs no download.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Tests and bundled programs are left out: not every distribution ships them. Character tables are no prose and no code.
SKIPPED_DIRECTORIES = frozenset(
    [
        "__pycache__",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "lib-dynload",
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "turtledemo",
    ]
)
CHARACTER_TABLES = "encodings"
HELD_OUT_PERCENT = 4


class Document(NamedTuple):
    """One file of the library (`asyncio/base_events.py`) or one topic of its manual (`topic:with`)."""

    name: str
    text: str


def documents() -> Iterator[Document]:
    """Yields every document, ordered by name: first the files, then the topics."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(_find_files(root), key=lambda path: path.relative_to(root).as_posix()):
        relative = path.relative_to(root)
        if relative.as_posix() == "pydoc_data/topics.py":
            continue
        if relative.parts[0] == CHARACTER_TABLES and relative.name != "__init__.py":
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a file in another encoding: the library has a few, made to test the parser
        if text.strip():
            yield Document(relative.as_posix(), text)
    yield from topics()


def _find_files(root: Path) -> Iterator[Path]:
    """Yields the library's Python files. Skipped directories are not entered: all installed packages are in one."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED_DIRECTORIES]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))


def topics() -> Iterator[Document]:
    """Yields the topics of the language's manual that `help()` shows; none if a distribution leaves them out."""
    try:
        from pydoc_data.topics import topics as texts
    except ImportError:
        return
    for name in sorted(texts):
        yield Document(f"topic:{name}", texts[name])


def is_held_out(name: str) -> bool:
    """Whether a document is kept from training: a hash of its name decides, the same on every machine."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 100 < HELD_OUT_PERCENT
