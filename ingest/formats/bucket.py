"""A public bucket of an object store, over plain HTTP: lists all that is below a prefix, and brings files here."""

from __future__ import annotations

import functools
import hashlib
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from xml.etree import ElementTree

from featurestore import BadRequest, NotFound, Unavailable

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
MOST_PAGES = 100_000
TRIES, WAIT, TIMEOUT = 5, 0.5, 60.0
CHUNK = 1 << 20
T = TypeVar("T")


class Entry(NamedTuple):
    """A file of a bucket, as the listing promises it."""

    key: str
    size: int
    etag: str


def list_entries(address: str, prefix: str) -> list[Entry]:
    """Return every file below a prefix, over as many pages as it takes.

    Raises Unavailable when the bucket does not answer, or its listing ends before it says that it does.
    """
    entries: list[Entry] = []
    token = ""
    for _ in range(MOST_PAGES):
        query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
        url = f"{address}/?{urllib.parse.urlencode(query)}"
        page = _parse_page(address, _retry(functools.partial(_get, url)))
        entries += [Entry(*entry) for entry in _entries(page)]
        if _text(page, "IsTruncated") != "true":
            return entries
        following = _text(page, "NextContinuationToken")
        if not following or following == token:
            raise Unavailable(f"the listing of {address} ends early, after {len(entries):,} files: try again later")
        token = following
    raise Unavailable(f"the listing of {address} has more than {MOST_PAGES:,} pages: is it the bucket's address?")


def fetch(address: str, entry: Entry, target: Path) -> Path:
    """Bring a file here, unless it is here already as the listing promises it; returns its path.

    Raises Unavailable when it does not arrive whole.
    """
    if target.is_file() and target.stat().st_size == entry.size and _digest_fits(target, entry):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")

    def bring() -> Path:
        url = f"{address}/{urllib.parse.quote(entry.key)}"
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, open(part, "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
        if part.stat().st_size != entry.size or not _digest_fits(part, entry):
            raise ConnectionError(f"{entry.key} has {part.stat().st_size:,} bytes, the listing promised {entry.size:,}")
        return part.rename(target)

    return _retry(bring)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        content: bytes = answer.read()
        return content


def _retry(work: Callable[[], T]) -> T:
    """Return what `work` returns, trying again when the network or the server fails."""
    for attempt in range(TRIES):
        try:
            return work()
        except urllib.error.HTTPError as exc:
            if exc.code in (403, 404):
                raise NotFound(
                    f"{exc.url}: the bucket answers {exc.code} {exc.reason}; is its address right?"
                ) from None
            problem: Any = exc
        except (OSError, urllib.error.URLError) as exc:
            problem = exc
        except ValueError as exc:
            raise BadRequest(f"the bucket's address cannot be asked: {exc}") from None
        if attempt + 1 < TRIES:
            time.sleep(WAIT * 2**attempt)
    raise Unavailable(f"the bucket does not answer as it should: {problem}; run the command again to go on")


def _parse_page(address: str, content: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as exc:
        raise Unavailable(f"the listing of {address} is cut short or no listing: {exc}") from None


def _entries(page: ElementTree.Element) -> list[tuple[str, int, str]]:
    found = []
    for item in (*page.iter(f"{NAMESPACE}Contents"), *page.iter("Contents")):
        key, size, etag = (_text(item, name) for name in ("Key", "Size", "ETag"))
        if not key or not size.isdigit() or ".." in key.split("/") or key.startswith("/"):
            raise Unavailable(f"the listing has an entry that is no file: {key!r:.80}")
        found.append((key, int(size), etag.strip('"')))
    return found


def _text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(f"{NAMESPACE}{name}") or element.findtext(name) or ""


def _digest_fits(path: Path, entry: Entry) -> bool:
    """Return whether a file has the hash that its entity tag states; true where that is no MD5."""
    if len(entry.etag) != 32 or not all(letter in "0123456789abcdef" for letter in entry.etag):
        return True
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == entry.etag
