"""The sentence that refuses a call for its arguments: which one, its value, what it takes; in words of our own.

Knows what pydantic finds wrong with arguments, and no tool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from featurestore.display.text import shorten
from featurestore.query import find_other_names
from featurestore.refusals import describe_unknown

_KINDS = {
    "bool": "true or false",
    "dict": "an object",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "string": "a text",
}
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("of at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("of at most", "le"),
}


def describe_refusal(error: ValidationError, arguments: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what is wrong with the arguments of a call. `arguments` has the schema of each that the tool takes."""
    # A name that is not taken explains best why another one is missing.
    found = sorted(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")[0]
    name, place = str(found["loc"][0]), _write_place(found["loc"])
    if found["type"] == "extra_forbidden":
        return describe_unknown(name, list(arguments), find_other_names(list(arguments)))
    if found["type"] == "missing":
        about = str(arguments.get(name, {}).get("description") or "what it is").rstrip(".")
        return f"{place}: it is missing; say {about[0].lower()}{about[1:]}"
    return f"{place}: {_describe_value(found['type'], found['input'], found.get('ctx') or {}, found['msg'])}"


def _write_place(location: Sequence[str | int]) -> str:
    """Return where a value is, as texts[3]; names of alternatives that pydantic tried are left out."""
    return str(location[0]) + "".join(f"[{part}]" for part in location[1:] if isinstance(part, int))


def _describe_value(kind: str, value: Any, context: Mapping[str, Any], message: str) -> str:
    if kind in ("string_too_long", "too_long"):
        unit, remedy = ("characters", "shorten it") if isinstance(value, str) else ("values", "give fewer")
        return f"it has {len(value):,} {unit}; {context['max_length']:,} are taken at most: {remedy}"
    if kind in ("string_too_short", "too_short"):
        size = f"it has {len(value):,}" if len(value) else "it is empty"
        least = context["min_length"]
        return f"{size}; give at least {'one' if least == 1 else least}"
    shown = shorten(repr(value))
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"{shown} is not a number {words} {context[bound]:g}"
    what = _KINDS.get(kind.partition("_")[0])
    if what is None:
        return f"{shown} cannot be read ({message[0].lower()}{message[1:]})"
    return f"{shown} is not {what}" + (
        f'; write ["{value:.100}"]' if what == "a list" and isinstance(value, str) else ""
    )
