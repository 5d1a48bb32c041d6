"""The border of the log: every field of a commit and of a checkpoint is checked before anything uses it.

A store may come from anybody. What its log says names files that are opened, deleted and given to DuckDB, so each
name has to be one that a writer makes: `<table>/<key>/<number>-<writer>-<count>`, relative, below one of the tables.
What `about` says of a part has the types that readers expect. The label rule is checked where it is used, in
sql/rules.py, and so is the embedder, in search/embedders.py.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from featurestore.errors import BadStore
from featurestore.storage.log_files import Checkpoint, Commit, Part
from featurestore.values.dictionary_name import find_character_problem, find_name_problem

# Parts that belong to a dictionary and are removed with it; `key` is its id.
OF_A_DICTIONARY = (
    "dictionaries",
    "features",
    "feature_rows",
    "examples",
    "example_rows",
    "contexts",
    "labels",
    "label_rows",
    "votes",
    "scores",
    "decoder_vectors",
    "token_index",
    "map_points",
)
# Parts of an attribution graph; `key` is its name.
OF_A_GRAPH = ("graphs", "graph_nodes", "graph_links")
# Parts of a list of features; `key` is its name.
OF_A_LIST = ("lists",)
# Parts of which one key may have many: each writer appends its own.
APPENDED = ("labels", "votes", "scores")
# Parts whose key is a hash of their content: two writers that add the same one agree.
SHARED = ("tokenizers", "documents", "tokens", "token_stream")
RULES = ("label_rule", "structural_rule")  # SQL that a store carries
# Every table that a part can be of. Nothing else below a store is a part, whatever a log says.
TABLES = frozenset(
    (*OF_A_DICTIONARY, *OF_A_GRAPH, *OF_A_LIST, *SHARED, *RULES, "decoder_index", "label_index", "example_index")
)

MOST_NAME = 1000  # characters of a file's name
MOST_SETTING = 2000  # characters of an embedder's setting
# The last word of a part's name: the shard, the writer, a mark of its helper, a count, and how the file ends.
PART = re.compile(r"\d{5,10}-[0-9a-f]{12}(?:-[0-9a-f]{8})?(?:-\d{1,9})?(?:\.[a-z]{1,10})?")
WRITER = re.compile(r"[\w-]{0,64}", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}")

Number = Annotated[int, Meta(ge=0, lt=2**53)]
Layer = Annotated[int, Meta(ge=0, lt=2**31)]


class _Features(msgspec.Struct):
    labels: str = ""
    origin: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")] = ""


class _Appended(msgspec.Struct):
    first: Number = 0
    last: Number = 0


class _DecoderVectors(msgspec.Struct):
    targets: Annotated[tuple[Layer, ...], Meta(min_length=1, max_length=100_000)] = (0,)


class _DecoderIndex(msgspec.Struct):
    covers: tuple[str, ...]
    rows: tuple[Number, ...]
    format: int = 0
    recall: Annotated[float, Meta(gt=0, le=1)] = 1.0
    search: dict[str, Any] = {}


class _LabelIndex(msgspec.Struct):
    covers: dict[str, str] | tuple[str, ...]
    embedder: Annotated[str, Meta(max_length=MOST_SETTING)] | None
    embedder_id: Annotated[str, Meta(max_length=MOST_SETTING)] | None
    layout: int = 0
    commit: Number = 0


class _ExampleIndex(msgspec.Struct):
    covers: dict[str, str]
    embedder: Annotated[str, Meta(max_length=MOST_SETTING)]
    embedder_id: Annotated[str, Meta(max_length=MOST_SETTING)]
    layout: int = 0
    form: int = 0


class _TokenIndex(msgspec.Struct):
    covers: tuple[str, ...]
    layout: int = 0


class _MapPoints(msgspec.Struct):
    covers: tuple[str, ...] = ()


class _LabelRows(msgspec.Struct):
    commit: Number
    rows: Number


class _Rule(msgspec.Struct):
    rule: Annotated[str, Meta(min_length=1, max_length=20_000)]


# What `about` holds, by table; parts of other tables need nothing there. Further names are not read.
ABOUT: dict[str, type[msgspec.Struct]] = {
    "features": _Features,
    **dict.fromkeys(APPENDED, _Appended),
    "decoder_vectors": _DecoderVectors,
    "decoder_index": _DecoderIndex,
    "label_index": _LabelIndex,
    "example_index": _ExampleIndex,
    "token_index": _TokenIndex,
    "map_points": _MapPoints,
    "label_rows": _LabelRows,
    **dict.fromkeys(RULES, _Rule),
}


def check_commit(commit: Commit, place: str) -> None:
    """Raise BadStore, naming the field, unless everything in a commit is of its kind; `place` is its file."""
    _refuse(place, _problems_of_commit(commit))


def check_checkpoint(checkpoint: Checkpoint, place: str) -> None:
    """Raise BadStore, naming the field, unless everything in a checkpoint is of its kind; `place` is its file."""
    _refuse(place, _problems_of_checkpoint(checkpoint))


def check_store_file(created_at: datetime.datetime | None, format: Any, place: str) -> None:
    """Raise BadStore, naming the field, unless what store.json says is of its kind; `place` is the file."""
    _refuse(place, _problems_of_store_file(created_at, format))


def find_file_problem(name: str) -> str | None:
    """Return why a text is not the name of a part of a store, or None."""
    words = name.split("/")
    if len(name) > MOST_NAME:
        return f"{name!r:.100} has {len(name):,} characters"
    if name.startswith("/") or any(word in ("", ".", "..") for word in words):
        return f"{name!r:.200} leads out of the store"
    if len(words) < 3 or words[0] not in TABLES or not PART.fullmatch(words[-1]):
        return f"{name!r:.200} is not the name of a part: <table>/<key>/<number>-<writer>-<count>"
    return find_key_problem(words[0], "/".join(words[1:-1]))


@functools.lru_cache(4096)
def find_key_problem(table: str, key: str) -> str | None:
    """Return why a text cannot be the key of a table's parts, or None."""
    if table in OF_A_DICTIONARY:
        problem = find_name_problem(key)
        return problem and f"{key!r:.200} cannot be the name of a dictionary: {problem}"
    words = key.split("/")
    if any(not word or word.startswith(".") for word in words):
        return f"{key!r:.200} cannot name a part of the store: its words must not be empty or begin with a dot"
    problem = next((problem for word in words if (problem := find_character_problem(word.replace(" ", "")))), None)
    return problem and f"{key!r:.200} cannot name a part of the store: {problem}"


def _refuse(place: str, problems: Iterator[str]) -> None:
    problem = next(problems, None)
    if problem is not None:
        raise BadStore(
            f"{place} is not what featurestore writes: {problem}. Nothing was opened or deleted by it; get the "
            "store again from where it came"
        )


def _problems_of_store_file(created_at: datetime.datetime | None, format: Any) -> Iterator[str]:
    # A newer version may state its format as it likes: Directory says what to do then.
    if isinstance(format, dict | list) or len(str(format)) > 50:
        yield f"format: {format!r:.100} is no format of a store"
    if created_at is not None and (problem := _time_problem(created_at)):
        yield f"created_at: {problem}"


def _problems_of_commit(commit: Commit) -> Iterator[str]:
    yield from _number_problems(commit.commit, commit.format, commit.at)
    if not WRITER.fullmatch(commit.writer):
        yield f"writer: {commit.writer!r:.100} is no name of a writer"
    for number, part in enumerate(commit.add):
        yield from _part_problems(f"add[{number}]", part)
    for number, name in enumerate(commit.remove):
        if problem := find_file_problem(name):
            yield f"remove[{number}]: {problem}"


def _problems_of_checkpoint(checkpoint: Checkpoint) -> Iterator[str]:
    yield from _number_problems(checkpoint.commit, checkpoint.format, checkpoint.at)
    for number, part in enumerate(checkpoint.parts):
        yield from _part_problems(f"parts[{number}]", part)
    for name, at in checkpoint.removed.items():
        if problem := find_file_problem(name):
            yield f"removed: {problem}"
        if problem := _time_problem(at):
            yield f"removed: {problem}"


def _number_problems(commit: int, format: int, at: datetime.datetime) -> Iterator[str]:
    if not 0 <= commit < 10**10:
        yield f"commit: {commit} is no number of a commit"
    if not 1 <= format < 10**6:
        yield f"format: {format} is no format of a store"
    if problem := _time_problem(at):
        yield f"at: {problem}"


def _time_problem(at: datetime.datetime) -> str | None:
    if at.tzinfo is None:
        return f"{at} has no time zone"
    return None if 1970 <= at.year < 9999 else f"{at} is not a time at which a commit was written"


def _part_problems(place: str, part: Part) -> Iterator[str]:
    if part.table not in TABLES:
        yield f"{place}.table: {part.table!r:.100} is no table of a store"
    if problem := find_file_problem(part.file):
        yield f"{place}.file: {problem}"
    if part.file.rpartition("/")[0] != f"{part.table}/{part.key}":
        yield f"{place}.file: {part.file!r:.200} is not below {part.table!r:.50} and its key, {part.key!r:.200}"
    for field, most in (("shard", 10**6), ("rows", 2**53), ("bytes", 2**63), ("commit", 10**10)):
        if not 0 <= getattr(part, field) < most:
            yield f"{place}.{field}: {getattr(part, field)} is out of range"
    if not SHA256.fullmatch(part.sha256):
        yield f"{place}.sha256: {part.sha256!r:.100} is no sha256"
    yield from _inner_file_problems(place, part.files)
    yield from _about_problems(place, part)


def _inner_file_problems(place: str, files: Mapping[str, str]) -> Iterator[str]:
    for name, digest in files.items():
        words = name.split("/")
        if "\\" in name or any(word in ("", ".", "..") for word in words) or find_character_problem(name):
            yield f"{place}.files: {name!r:.200} is no name of a file in a part"
        if not SHA256.fullmatch(digest):
            yield f"{place}.files: {digest!r:.100} is no sha256"


def _about_problems(place: str, part: Part) -> Iterator[str]:
    fields = ABOUT.get(part.table)
    if fields is None:
        return
    try:
        about = msgspec.convert(part.about, fields)
    except msgspec.ValidationError as exc:
        yield f"{place}.about: {exc}"
        return
    if isinstance(about, _DecoderIndex):
        if len(about.covers) != len(about.rows):
            yield f"{place}.about: {len(about.covers)} files in covers and {len(about.rows)} numbers of rows"
        for name in about.covers:
            if problem := find_file_problem(name):
                yield f"{place}.about.covers: {problem}"
