"""Answers of tools as short JSON: as many rows as a budget of tokens takes, and a cursor for the rest.

Knows JSON and numbers; knows no store.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from featurestore.errors import BadRequest

BUDGET = 2000  # tokens of an answer, unless the call or the server names another number
LEAST, MOST = 200, 50_000
# A token of JSON with names and numbers has some three bytes in the vocabularies of common models.
BYTES_A_TOKEN = 3
DIGITS = 4  # significant digits of numbers
SHORT = 40  # characters that are left of a text that is cut to fit


class Place(NamedTuple):
    """Where an answer begins: at row `start` of what the store's own cursor `inner` gives."""

    start: int = 0
    inner: str | None = None


def count_tokens(text: str) -> int:
    """Return about how many tokens a text has, rather too many than too few."""
    return -(-len(text.encode()) // BYTES_A_TOKEN)


def encode(value: Any) -> str:
    """Return a value as JSON in one line; numbers with four significant digits, without fields that are empty."""
    return msgspec.json.encode(simplify(msgspec.to_builtins(value))).decode()


def simplify(value: Any) -> Any:
    """Return JSON with numbers rounded, and without the fields of objects that are null, "" or an empty list."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if value == value else None
    if isinstance(value, Mapping):
        return {name: simplify(item) for name, item in value.items() if item not in (None, "", (), [])}
    if isinstance(value, list | tuple):
        return [simplify(item) for item in value]
    return value


def check_budget(budget: int | None, default: int) -> int:
    """Return the budget of a call. Raises BadRequest for one outside LEAST to MOST."""
    chosen = default if budget is None else budget
    if not LEAST <= chosen <= MOST:
        raise BadRequest(f"budget: {chosen} tokens; an answer has {LEAST} to {MOST:,}")
    return chosen


def read_cursor(cursor: str | None, arguments: Mapping[str, Any]) -> Place:
    """Return the place that a cursor stands for. Raises BadRequest where it is none, or of other arguments."""
    if cursor is None:
        return Place()
    match = re.fullmatch(r"([0-9a-f]{8})\.(\d{1,9})(?:\.([\w=-]+))?", cursor)
    if match is None:
        raise BadRequest(f"cursor: {cursor!r:.80} is none; take the `next` of the answer before")
    if match[1] != _fingerprint(arguments):
        raise BadRequest("cursor: it belongs to other arguments; repeat those of the answer before")
    return Place(int(match[2]), match[3])


def _write_cursor(page: Place, arguments: Mapping[str, Any]) -> str:
    inner = f".{page.inner}" if page.inner else ""
    return f"{_fingerprint(arguments)}.{page.start}{inner}"


def _fingerprint(arguments: Mapping[str, Any]) -> str:
    """Return what tells the arguments of a call from others; `cursor` and `budget` do not count."""
    kept = sorted((name, value) for name, value in arguments.items() if name not in ("cursor", "budget"))
    return hashlib.sha256(msgspec.json.encode(kept)).hexdigest()[:8]


def fit(
    head: Mapping[str, Any],
    name: str,
    rows: Sequence[Any],
    arguments: Mapping[str, Any],
    page: Place,
    budget: int,
    after: str | None = None,
    more: bool = False,
) -> str:
    """Return JSON of at most `budget` tokens: the head, some rows under `name`, and `next` where there are more.

    `rows` begin at `page.start` already. `after` is the store's cursor of the rows behind all of these; `more` says
    that there are such rows without a cursor of the store. Texts of a row that is too long by itself are cut.
    """
    encoded = [encode(row) for row in rows]
    # The longest cursor that this answer can end with is counted, so that adding it never passes the budget.
    cursors = [_write_cursor(Place(page.start + len(rows), page.inner), arguments)]
    cursors += [_write_cursor(Place(0, after), arguments)] if after else []
    room = budget * BYTES_A_TOKEN - len(_join(head, name, [], max(cursors, key=len)).encode())
    if room < 0:
        head, room = _shorten_head(head, room)
    taken = 0
    for text in encoded:
        room -= len(text.encode()) + 1
        if room < 0:
            break
        taken += 1
    if rows and not taken:
        room += len(encoded[0].encode())
        encoded[0], taken = _cut(rows[0], max(room, 40)), 1
    cursor = None
    if taken < len(rows):
        cursor = _write_cursor(Place(page.start + taken, page.inner), arguments)
    elif after is not None:
        cursor = _write_cursor(Place(0, after), arguments)
    elif more:
        cursor = _write_cursor(Place(page.start + taken, page.inner), arguments)
    return _join(head, name, encoded[:taken], cursor)


def _join(head: Mapping[str, Any], name: str, rows: Sequence[str], cursor: str | None) -> str:
    parts = [encode(head)[1:-1]] if simplify(head) else []
    parts.append(f"{encode(name)}:[{','.join(rows)}]")
    if cursor:
        parts.append(f'"next":"{cursor}"')
    return "{" + ",".join(parts) + "}"


def _shorten_head(head: Mapping[str, Any], room: int) -> tuple[dict[str, Any], int]:
    """Return the head with its texts cut, and the bytes that this leaves."""
    shorter = _shorten(msgspec.to_builtins(head), SHORT)
    return shorter, room + len(encode(head).encode()) - len(encode(shorter).encode())


def _cut(row: Any, size: int) -> str:
    """Return a row as JSON of at most `size` bytes, its longest texts and lists cut; an object that says so else."""
    plain = simplify(msgspec.to_builtins(row))
    for length in (2000, 1000, 500, 200, 100, SHORT, 20, 10):
        text = encode(_shorten(plain, length))
        if len(text.encode()) <= size:
            return text
    return '{"cut":"larger than the budget"}'


def _shorten(value: Any, length: int) -> Any:
    """Return JSON whose texts have at most `length` characters, and lists as many entries."""
    if isinstance(value, str):
        return value if len(value) <= length else value[: length - 1] + "…"
    if isinstance(value, Mapping):
        return {name: _shorten(item, length) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shorten(item, length) for item in value[:length]]
    return value
