"""Pages of an answer: one order of all hits for pages of any size, and cursors that say where the next page begins."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from featurestore.errors import BadRequest
from featurestore.notes import Notes
from featurestore.query import Query

# Pages end after this many hits. For more there is SQL: `FROM semantic('...', k := 10000)`, or all of `features`.
DEEPEST = 100_000
GROWTH = 4


class Match(NamedTuple):
    """A feature in a ranking: its catalog number, and the score it is ordered by."""

    number: int
    score: float


# ranking(n) returns the n best, best first: fewer only where there are no more.
Ranking = Callable[[int], list[Match]]


def in_order(ranking: Ranking, first: int) -> Iterator[Match]:
    """Yield every match once: the best `first`, then what ever deeper rankings add to them.

    A deeper ranking may put a match before those that were yielded already (fused and approximate ones do). It is
    yielded next then, so that no page lacks or repeats it.
    """
    shown: set[int] = set()
    depth = first
    while True:
        matches = ranking(depth)
        for match in matches:
            if match.number not in shown:
                shown.add(match.number)
                yield match
        if len(matches) < depth:
            return
        depth *= GROWTH


class _Cursor(msgspec.Struct, array_like=True):
    of: str
    commit: int
    start: int


def start_of(query: Query, commit: int, notes: Notes) -> int:
    """The number of hits before the page that a query asks for.

    Raises BadRequest when its cursor belongs to another query. A cursor of an older commit is taken, with a note added
    to `notes`.
    """
    if query.cursor is None:
        return 0
    try:
        cursor = msgspec.msgpack.decode(base64.urlsafe_b64decode(query.cursor), type=_Cursor)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise BadRequest(f"cursor: '{query.cursor[:60]}' is no cursor; take the `next` of the page before") from None
    if cursor.of != _fingerprint(query):
        raise BadRequest("cursor: it belongs to another query; all fields must be as they were on the page before")
    if not 0 <= cursor.start < DEEPEST:
        raise BadRequest(f"cursor: pages end after {DEEPEST:,} hits; narrow the query, or ask by SQL")
    if cursor.commit != commit:
        sentence = "the store has changed since the page before, so hits may be missing here or come twice"
        notes.add("store_changed", sentence)
    return cursor.start


def cursor_at(query: Query, commit: int, start: int) -> str | None:
    """The cursor of the page that begins after `start` hits; None after the last page."""
    if start >= DEEPEST:
        return None
    packed = msgspec.msgpack.encode(_Cursor(_fingerprint(query), commit, start))
    return base64.urlsafe_b64encode(packed).decode()


def _fingerprint(query: Query) -> str:
    fields = msgspec.structs.replace(query, cursor=None)
    return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()[:8]
