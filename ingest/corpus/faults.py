"""What happens to documents that cannot be read: stop, leave them out, or replace what is broken in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from featurestore import BadRequest

POLICIES = ("stop", "skip", "replace")
SURROGATES = range(0xD800, 0xE000)


class Faults:
    """Counts documents that are left out or mended, and writes those left out to a file of JSON lines.

    `policy` is stop (the first one is an error), skip, or replace: broken characters become U+FFFD, and what cannot be
    mended is left out.
    """

    def __init__(self, policy: str = "stop", rejects: Path | None = None):
        if policy not in POLICIES:
            raise BadRequest(f"on_error: '{policy}' is not one of {', '.join(POLICIES)}")
        self.policy, self.rejects = policy, rejects
        self.rejected = 0  # documents left out
        self.mended = 0  # documents with characters that were replaced
        self.other_files: list[str] = []  # files of directories that are no text: pictures, archives
        if rejects is not None:
            rejects.unlink(missing_ok=True)

    @property
    def replaces(self) -> bool:
        """Whether broken characters are replaced."""
        return self.policy == "replace"

    def reject(self, where: str, error: BadRequest) -> None:
        """Leave out one document. Raises the error itself where the policy is to stop."""
        if self.policy == "stop":
            raise BadRequest(f"{error}; --on-error skip leaves such documents out, replace mends characters") from None
        self.rejected += 1
        if self.rejects is not None:
            with self.rejects.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"where": where, "error": str(error)}) + "\n")

    def decode(self, raw: bytes, where: str) -> str:
        """Return the text of bytes with or without a byte order mark. Raises BadRequest, naming the first bad byte."""
        encoding = find_encoding(raw)
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError as exc:
            if not self.replaces:
                what = "UTF-8" if encoding == "utf-8-sig" else encoding.upper()
                raise BadRequest(f"{where} is not {what} text: byte {exc.start} is 0x{raw[exc.start]:02x}") from None
        self.mended += 1
        return raw.decode(encoding, errors="replace")

    def mend(self, text: str, where: str) -> str:
        """Return a text without lone surrogates, which no tokenizer takes. Raises BadRequest unless it may replace."""
        if text.isascii() or not any(ord(character) in SURROGATES for character in text):
            return text
        if not self.replaces:
            at = next(n for n, character in enumerate(text) if ord(character) in SURROGATES)
            raise BadRequest(f"{where}: character {at} is half of a pair (U+{ord(text[at]):04X}), which is no text")
        self.mended += 1
        return "".join("\ufffd" if ord(character) in SURROGATES else character for character in text)

    def sentences(self) -> list[str]:
        """Return what happened, in sentences; empty if nothing did."""
        said = []
        if self.rejected:
            where = f", listed in {self.rejects}" if self.rejects else ""
            said.append(f"left out {_count(self.rejected, 'document')} that cannot be read{where}")
        if self.mended:
            said.append(f"replaced broken characters by U+FFFD in {_count(self.mended, 'document')}")
        if self.other_files:
            more = ", ..." if len(self.other_files) > 3 else ""
            names = ", ".join(self.other_files[:3])
            said.append(f"left out {_count(len(self.other_files), 'file')} that hold no text: {names}{more}")
        return said


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def find_encoding(raw: bytes) -> str:
    """Return the encoding that a byte order mark says; UTF-8 without one."""
    if raw.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-32"
    return "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"


def is_binary(raw: bytes) -> bool:
    """Tell whether the beginning of a file is of a picture, an archive or another file that is no text."""
    if find_encoding(raw) != "utf-8-sig":
        return False
    return b"\0" in raw or raw.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"%PDF-", b"PK\x03\x04", b"RIFF"))


def describe(value: Any) -> str:
    """Return a value in one short line, for an error."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
