"""Data of a site as script files: blocks of gzip, in base 64, in one text that calls the page back.

A page on a web host asks for the bytes of one block. A page that was opened from a folder may not, and loads the file
as a script. So one copy of the data serves both.
"""

from __future__ import annotations

import base64
import gzip
from pathlib import Path
from typing import Any

import msgspec

HEAD, TAIL = 'receive("{name}",`', "`)\n"
BLOCK_BYTES = 96_000  # of JSON in a block: what one page costs to unpack
BLOCK_FEATURES = 64
FILE_BYTES = 4 << 20  # of a file, which a host without range requests sends whole


def pack(content: bytes) -> str:
    """Return one block."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def write_block(folder: Path, name: str, content: bytes) -> None:
    """Write a file of one block, which is always loaded whole."""
    (folder / f"{name}.js").write_text(HEAD.format(name=name) + pack(content) + TAIL, "ascii")


class Blocks:
    """Writes records of one dictionary, in order, into files of blocks."""

    def __init__(self, folder: Path, name: str):
        self._folder, self._name = folder, name
        self.files: list[dict[str, Any]] = []  # of each file its name, where its blocks begin, and their first features
        self._records: list[bytes] = []
        self._first = 0
        self._text: list[str] = []
        self._place = 0

    def add(self, feature: int, record: dict[str, Any]) -> None:
        """Add the record of a feature that comes after those before."""
        if not self._records:
            self._first = feature
        self._records.append(msgspec.json.encode(record))
        if len(self._records) >= BLOCK_FEATURES or sum(map(len, self._records)) >= BLOCK_BYTES:
            self._end_block()

    def close(self) -> None:
        """Write what is left."""
        self._end_block()
        self._end_file()

    def _end_block(self) -> None:
        if not self._records:
            return
        if not self._text:
            name = f"{self._name}-{len(self.files)}"
            self._text = [HEAD.format(name=name)]
            self._place = len(self._text[0])
            self.files.append({"name": name, "places": [self._place], "first": []})
        block = pack(b"[" + b",".join(self._records) + b"]")
        self._records = []
        self._text.append(block)
        self._place += len(block)
        self.files[-1]["places"].append(self._place)
        self.files[-1]["first"].append(self._first)
        if self._place >= FILE_BYTES:
            self._end_file()

    def _end_file(self) -> None:
        if self._text:
            (self._folder / f"{self.files[-1]['name']}.js").write_text("".join(self._text) + TAIL, "ascii")
            self._text = []
