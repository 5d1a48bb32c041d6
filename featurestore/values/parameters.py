"""Values that go with an SQL statement: `{"name": value}` for `$name`, or a list for `?` and `$1`.

They travel beside the statement, never inside its text: to DuckDB, to the process pool and over HTTP.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from featurestore.errors import BadRequest

# What a caller may give. A plain value is None, bool, int, float, str, datetime or a list of these.
Parameters = Mapping[str, Any] | Sequence[Any]
KINDS = "None, bool, int, float, str, datetime or a list of these"
# JSON has no times: one travels as {"timestamp": "2026-01-02T03:04:05+00:00"}.
TIMESTAMP = "timestamp"


def normalize(parameters: Parameters | None) -> dict[str, Any]:
    """Return the values by name, those of a list named "1", "2" and so on; subclasses of plain types become plain.

    Raises BadRequest, naming the parameter, for a value that SQL cannot take.
    """
    return {name: _plain(name, value) for name, value in _items(parameters)}


def to_json(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `normalize` gave as JSON and MessagePack can carry it."""
    return {name: _encode(value) for name, value in parameters.items()}


def from_json(parameters: Parameters | None) -> dict[str, Any]:
    """Return the values that `to_json` wrote. Raises BadRequest as `normalize` does."""
    return {name: _plain(name, _decode(name, value)) for name, value in _items(parameters)}


def check_names(names: Iterable[str], given: Iterable[str]) -> None:
    """Raise BadRequest unless each parameter of a statement (`names`) has a value and each value a parameter."""
    names, given = set(names), set(given)
    for name in sorted(given - names):
        known = ", ".join(f"${known}" for known in sorted(names)) or "no parameters"
        raise BadRequest(f"parameters: a value is given for ${name}, but the statement has {known}")
    for name in sorted(names - given):
        raise BadRequest(
            f"parameters: the statement has ${name} and no value is given for it; give values by name, "
            'as in {"k": 10} for $k, or as a list for ? and $1'
        )


def _items(parameters: Parameters | None) -> Iterable[tuple[str, Any]]:
    if parameters is None:
        return []
    if isinstance(parameters, Mapping):
        for name in parameters:
            if not isinstance(name, str):
                raise BadRequest(f"parameters: the name {name!r} is not a text")
        return parameters.items()
    if isinstance(parameters, Sequence) and not isinstance(parameters, str | bytes):
        return ((str(n), value) for n, value in enumerate(parameters, 1))
    raise BadRequest(
        f"parameters: {parameters!r:.100} is neither values by name nor a list of values; "
        "a limit of rows is given as max_rows=, one of time as timeout="
    )


def _plain(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise BadRequest(f"parameters: ${name} is {value!r:.50}, which has more than 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadRequest(f"parameters: ${name} is {value}; give a finite number, or None for NULL")
        return float(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadRequest(f"parameters: ${name} holds half a character (a lone surrogate)") from None
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(name, item) for item in value]
    if isinstance(value, datetime.datetime):
        try:
            return datetime.datetime.fromisoformat(value.isoformat())
        except ValueError:
            raise BadRequest(f"parameters: ${name} is {value}, which is not a time; give None for NULL") from None
    raise BadRequest(f"parameters: ${name} is of type {type(value).__name__}; give {KINDS}")


def _encode(value: Any) -> Any:
    if isinstance(value, list):
        return [_encode(item) for item in value]
    return {TIMESTAMP: value.isoformat()} if isinstance(value, datetime.datetime) else value


def _decode(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(name, item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if list(value) == [TIMESTAMP]:
        try:
            return datetime.datetime.fromisoformat(value[TIMESTAMP])
        except (TypeError, ValueError):
            pass
    raise BadRequest(
        f"parameters: ${name} is {value!r:.100}; an object is only for a time, "
        f'as in {{"{TIMESTAMP}": "2026-01-02T03:04:05Z"}}'
    )
