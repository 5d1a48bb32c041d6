"""Lists as files, read and written: JSON, CSV with the columns id and note, or text with an id on each line.

Hits that a command printed as JSON lines are a list too.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from featurestore.errors import BadRequest, NotFound
from featurestore.values.lists import FeatureList, ListedFeature, check_name, convert_features

FORMS = ("json", "csv", "txt")


class ListFile(NamedTuple):
    """What a file of a list says: the name may be that of the file itself."""

    name: str
    note: str | None
    features: tuple[ListedFeature, ...]


class _Entry(msgspec.Struct):
    id: str
    note: str | None = None


class _Document(msgspec.Struct):
    features: tuple[str | _Entry, ...]
    list: str | None = None
    note: str | None = None


def read(path: Path, name: str | None = None) -> ListFile:
    """Return the list of a file; `name` is given in place of the one that it has.

    Raises NotFound for a file that is not there, BadRequest, naming the place, for one that is no list.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise NotFound(f"{path}: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise BadRequest(f"{path} is not text in UTF-8") from None
    return read_text(text, path.suffix.removeprefix(".").lower(), str(path), name, path.stem)


def read_text(text: str, form: str, place: str, name: str | None, other_name: str = "") -> ListFile:
    """Return the list that a text of one of FORMS says; `other_name` is its name where neither names it.

    Raises BadRequest, naming the `place`.
    """
    try:
        document = parse(text, form)
    except BadRequest as exc:
        raise BadRequest(f"{place}: {exc}") from None
    features = convert_features(
        ListedFeature(id=item) if isinstance(item, str) else ListedFeature(id=item.id, note=item.note)
        for item in document.features
    )
    return ListFile(check_name(name or document.list or other_name), document.note, features)


def parse(text: str, form: str) -> _Document:
    """Return what a text of one of FORMS says; JSON is told by its first character. Raises BadRequest."""
    begin = text.lstrip()[:1]
    if begin in ("{", "["):
        return _parse_json(text, begin)
    if form == "json":
        raise BadRequest("it is not JSON")
    return _Document(features=tuple(_parse_csv(text) if form == "csv" else _parse_lines(text)))


def _parse_json(text: str, begin: str) -> _Document:
    try:
        if begin == "[":
            return _Document(features=msgspec.json.decode(text, type=tuple[str | _Entry, ...]))
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) > 1 and lines[0].rstrip().endswith("}"):  # as commands print hits with --json
            return _Document(features=tuple(msgspec.json.decode(line, type=_Entry) for line in lines))
        if '"features"' not in text:
            return _Document(features=(msgspec.json.decode(text, type=_Entry),))
        return msgspec.json.decode(text, type=_Document)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise BadRequest(f"it is not a list of features: {exc}") from None


def _parse_csv(text: str) -> Iterator[_Entry]:
    rows = csv.DictReader(io.StringIO(text))
    names = rows.fieldnames or ()
    if "id" not in names and not {"dictionary", "feature"} <= set(names):
        raise BadRequest(f"its first line must name a column id (or dictionary and feature); it names {list(names)}")
    for row in rows:
        id = row.get("id") or f"{row.get('dictionary')}/{row.get('feature')}"
        yield _Entry(id, row.get("note") or None)


def _parse_lines(text: str) -> Iterator[_Entry]:
    """Yield the features of a text: an id on each line, and after white space its note; # begins a remark."""
    for line in text.splitlines():
        words = line.strip().split(None, 1)
        if words and not line.lstrip().startswith("#"):
            yield _Entry(words[0], words[1] if len(words) > 1 else None)


def parse_lines(text: str) -> tuple[ListedFeature, ...]:
    """Return the features that a person typed: an id on each line, and after white space its note."""
    return convert_features(ListedFeature(id=each.id, note=each.note) for each in _parse_lines(text))


def render(value: FeatureList, form: str) -> str:
    """Return a list in one of FORMS. Raises BadRequest for another form."""
    if form not in FORMS:
        raise BadRequest(f"format: '{form}' is not one of {', '.join(FORMS)}")
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(to_plain(value))).decode() + "\n"
    if form == "txt":
        # A note of several lines would be read as features.
        notes = (" ".join((each.note or "").split()) for each in value.features)
        return "".join(f"{each.id} {note}".rstrip() + "\n" for each, note in zip(value.features, notes, strict=True))
    return _render_csv((each.id, each.note or "", each.label or "") for each in value.features)


def _render_csv(rows: Iterable[tuple[str, str, str]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("id", "note", "label"))
    writer.writerows(rows)
    return file.getvalue()


def to_plain(value: FeatureList) -> dict[str, Any]:
    """Return a list as JSON has it, without what belongs to the store: labels, times and who wrote it."""
    features = [{"id": each.id} | ({"note": each.note} if each.note else {}) for each in value.features]
    return {"list": value.list, "note": value.note, "features": features}
