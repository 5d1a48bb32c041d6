"""The sentences that refuse a field of a request: which field, which value, what it takes and what to do.

Knows types of msgspec, and no question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from featurestore.display.text import nearest_name, shorten, suggest


def describe_unknown(name: str, fields: Sequence[str], other_names: Mapping[str, str] | None = None) -> str:
    """Return the message for a field that is none of `fields`: the one that was probably meant, and all there are."""
    others = {other: field for other, field in (other_names or {}).items() if field in fields}
    meant = others.get(name.lower()) or nearest_name(name, [*fields, *others])
    meant = others.get(meant or "", meant)
    question = f", did you mean {meant}?" if meant else ";"
    return f"unknown field '{name}'{question} there are: {', '.join(fields) or 'none here'}"


def describe_invalid(type_: type[msgspec.Struct], values: Mapping[str, Any], error: msgspec.ValidationError) -> str:
    """Return the message for a value that msgspec refused: the field of `type_`, the value, and what it takes."""
    what, _, where = str(error).partition(" - at `$.")
    field = where.partition("[")[0].rstrip("`")
    choices = list_choices(type_, field)
    if choices and what.startswith("Invalid enum value "):
        value = what.removeprefix("Invalid enum value ").strip("'")
        return f"{field}: '{value}' is not one of {', '.join(choices)}{suggest(value, choices)}"
    if field not in values:
        return what
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what):
        inside = describe_unknown(unknown[1], _list_inner_fields(type_, field), _OTHER_NAMES_INSIDE)
        return f"{field}: {inside}"
    place = where.rstrip("`") if where.startswith(f"{field}[") else field
    return describe_length(place, what, values) or f"{field}: {shorten(repr(values[field]))} {_say_expected(what)}"


def describe_length(place: str, what: str, values: Any) -> str | None:
    """Return the message for a value that msgspec refused for its length; None where it refused it for something else.

    `what` are msgspec's words, and `place` is where it found the value in `values`, as in texts[3].
    """
    parts = re.fullmatch(r"Expected `(str|array|object)(?: \| null)?` of length (<=|>=) (\d+)", what)
    if parts is None:
        return None
    kind, most = "characters" if parts[1] == "str" else "values", int(parts[3])
    value: Any = values
    try:
        for name, number in re.findall(r"(\w+)|\[(\d+)\]", place):
            value = value[int(number)] if number else value[name]
        size = f"it has {len(value):,} {kind}"
    except (KeyError, IndexError, TypeError):  # a place that has no plain name
        size = "its length is refused"
    if parts[2] == ">=":
        size = "it is empty" if size.startswith("it has 0 ") else size
        return f"{place}: {size}; give at least {'one' if most == 1 else most}"
    remedy = "shorten it" if kind == "characters" else "ask for them in several requests"
    return f"{place}: {size}; {most:,} are taken at most: {remedy}"


_OTHER_NAMES_INSIDE = {"feature": "id", "text": "label", "description": "label", "explanation": "label"}
# What a field takes, in words, by the name that msgspec has for it.
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "array": "a list"}
_KINDS |= {"object": "an object"}
_LIMITS = {">=": "of at least", ">": "above", "<=": "of at most", "<": "below"}


def _say_expected(what: str) -> str:
    """Return what msgspec says of a value in words, such as "is not a whole number of at least 1"."""
    parts = re.fullmatch(r"Expected `([a-z |]+)`(?: (>=|>|<=|<) ([\d.]+))?(?:, got `.*`)?", what)
    if parts is None:
        return f"cannot be read ({what[0].lower()}{what[1:]})"
    kinds = [_KINDS.get(kind, kind) for kind in parts[1].split(" | ") if kind != "null"]
    limit = f" {_LIMITS[parts[2]]} {float(parts[3]):g}" if parts[2] else ""
    return f"is not {' or '.join(kinds)}{limit}"


def _list_inner_fields(type_: type[msgspec.Struct], name: str) -> list[str]:
    """Return the fields of the objects that a field takes, alone or in a list; else nothing."""
    information = msgspec.inspect.type_info(type_)
    kinds = [field.type for field in getattr(information, "fields", ()) if field.name == name]
    while kinds:
        kind: Any = kinds.pop()
        if isinstance(kind, msgspec.inspect.StructType):
            return [field.name for field in kind.fields]
        kinds += getattr(kind, "types", ())
        kinds += [inner for inner in (getattr(kind, "item_type", None), getattr(kind, "type", None)) if inner]
    return []


def list_choices(type_: type[msgspec.Struct], name: str) -> list[str]:
    """Return the strings that a field takes, where it takes a few; else nothing."""
    information = msgspec.inspect.type_info(type_)
    fields = {field.name: field.type for field in getattr(information, "fields", ())}
    return [] if name not in fields else _literals(fields[name])


def _literals(kind: msgspec.inspect.Type) -> list[str]:
    match kind:
        case msgspec.inspect.LiteralType():
            return [str(value) for value in kind.values]
        case msgspec.inspect.EnumType():
            return [str(member.value) for member in kind.cls]
        case msgspec.inspect.Metadata():
            return _literals(kind.type)
        case msgspec.inspect.UnionType():
            return [literal for part in kind.types for literal in _literals(part)]
        case msgspec.inspect.VarTupleType() | msgspec.inspect.ListType():
            return _literals(kind.item_type)
    return []
