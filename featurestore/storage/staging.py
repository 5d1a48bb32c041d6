"""The files of a writer before they are committed, and what their names and contents say."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from featurestore.errors import BadRequest
from featurestore.storage.base import Storage
from featurestore.storage.border import find_key_problem
from featurestore.storage.lease import Lease
from featurestore.storage.log_files import Part


class Staging:
    """The files of one writer, until they are committed."""

    def __init__(self, storage: Storage, helped: str = ""):
        """Begin writing; `helped` is the writer for which these files are made elsewhere.

        It holds the lease then, and the files carry its name.
        """
        self.writer = helped or uuid.uuid4().hex[:12]
        self._storage = storage
        self._lease: Lease | None = None if helped else storage.lease(self.writer)
        self._mark = f"{uuid.uuid4().hex[:8]}-" if helped else ""
        self._count = 0
        self._names: list[str] = []
        self._kept: set[str] = set()
        self._is_helped = False

    def new_file(self, table: str, key: str, shard: int, suffix: str) -> tuple[str, Path]:
        """Return the name and place of a new part. Raises BadRequest for a key that is none."""
        if problem := find_key_problem(table, key):
            raise BadRequest(problem)
        self._count += 1
        name = f"{table}/{key}/{shard:05d}-{self.writer}-{self._mark}{self._count}{suffix}"
        self._names.append(name)
        return name, self._storage.stage(name)

    def part(self, name: str, staged: Path, **fields: Any) -> Part:
        """Return the Part of what was built at `staged`, made durable; `fields` are those the file does not give."""
        digest, files, size = fingerprint(staged)
        self._storage.publish(staged, name)
        self._touch()
        return Part(file=name, bytes=size, sha256=digest, files=files, **fields)

    def expect_help(self) -> None:
        """Expect that files of this writer are made elsewhere, and that some are never reported, after a kill."""
        self._is_helped = True

    def adopt(self, part: Part, content: Mapping[str, bytes] | None) -> None:
        """Add a part that was made elsewhere; `content` is as `read_content` gives it, None if the part is here."""
        self._names.append(part.file)
        if content is not None:
            staged = self._storage.stage(part.file)
            for name, raw in content.items():
                file = staged / name if name else staged
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(raw)
            self._storage.publish(staged, part.file)
        self._touch()

    def keep(self, names: Iterable[str]) -> None:
        """Leave these files in place when this writer closes."""
        self._kept.update(names)
        self._names = [name for name in self._names if name not in self._kept]

    def close(self) -> None:
        """Delete the files that were not kept, and release the lease."""
        if self._is_helped:
            names = [entry.name for entry in self._storage.entries()]
            self._names = [name for name in names if writer_of(name) == self.writer and not is_of(name, self._kept)]
        for name in self._names:
            self._storage.delete(name)
        self._names = []
        if self._lease:
            self._lease.release()

    def _touch(self) -> None:
        if self._lease:
            self._lease.touch()


def fingerprint(path: Path) -> tuple[str, dict[str, str], int]:
    """Return sha256, hashes by file name (of a directory) and size; a directory's sha256 is that of these hashes."""
    if not path.is_dir():
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest(), {}, path.stat().st_size
    files, size = {}, 0
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest, _, bytes_ = fingerprint(file)
        files[file.relative_to(path).as_posix()] = digest
        size += bytes_
    return hashlib.sha256(msgspec.json.encode(files)).hexdigest(), files, size


def read_content(path: Path) -> dict[str, bytes]:
    """Return the bytes of a file, under an empty name; of a directory, those of each file in it, by its name there."""
    if not path.is_dir():
        return {"": path.read_bytes()}
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def is_of(name: str, parts: Container[str]) -> bool:
    """Return whether a file is one of these parts or is in one: a part can be a directory."""
    words = name.split("/")
    return any("/".join(words[:n]) in parts for n in range(2, len(words) + 1))


def writer_of(name: str) -> str:
    """Return the writer of a part or of a file in it, by its name; empty for a name without a writer."""
    for word in name.split("/"):
        match = re.match(r"\d{5}-([0-9a-f]{12})(?:-[0-9a-f]{8})?(?:-\d+)?(?:\.|$)", word)
        if match:
            return match[1]
    return ""
