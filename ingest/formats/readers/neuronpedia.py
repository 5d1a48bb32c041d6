"""Neuronpedia's exports: its public bucket, a directory or a batch of it, or the older lists of labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from featurestore import BadRequest, NotFound, Unavailable
from ingest.formats import files
from ingest.formats.batches import Batch, SourceFile
from ingest.formats.readers import neuronpedia_rows as rows
from ingest.formats.rejects import Rejects

FORMAT = "neuronpedia"
KINDS = ("features", "activations", "explanations")
PATTERNS = tuple(f"{kind}*/*.jsonl{gz}" for kind in KINDS for gz in ("", ".gz"))
SOURCE = "source.jsonl"
BUCKET = "https://neuronpedia-datasets.s3.us-east-1.amazonaws.com"
BATCH = re.compile(
    r"(?P<kind>(?:features|activations|explanations)[^/]*)/(?:batch-(?P<number>\d+)|[^/]+)\.jsonl(?:\.gz)?"
)


def recognises(path: Path) -> bool:
    """Return whether a path holds batches of Neuronpedia, by the first record of one."""
    try:
        found = find(str(path))
        return bool(found) and _kind(found[0]) is not None
    except BadRequest:
        return False


def find(path: str) -> list[Path]:
    """Return the batches below a directory, features first: the strongest reason to reject others is known then."""
    found = files.find_files(path, *PATTERNS)
    if not found:
        found = files.find_files(path, "*.jsonl", "*.jsonl.gz", "*.json", "*.json.gz")
        found = [file for file in found if file.name not in ABOUT]
    return sorted(found, key=lambda file: (_order(file), files.natural_order(file)))


ABOUT = ("release.jsonl", "model.jsonl", "sourceset.jsonl", SOURCE, "inference_hosts.jsonl")


def _order(file: Path) -> int:
    return next((n for n, kind in enumerate(KINDS) if file.parent.name.startswith(kind)), len(KINDS))


def is_remote(path: str) -> bool:
    """Return whether a path is MODEL/SOURCE of the public bucket, and nothing on this machine."""
    return not Path(path).exists() and re.fullmatch(r"[\w.-]+/[\w.@-]+", path) is not None


def list_remote(
    path: str, options: Mapping[str, Any], folder: Path
) -> tuple[list[SourceFile], Callable[[SourceFile], Path]]:
    """Return the batches of MODEL/SOURCE in the bucket, and what brings one into `folder`.

    Raises NotFound when there are none, Unavailable when the listing lacks batches or does not end.
    """
    from ingest.formats import bucket  # with what speaks HTTP, which no process that reads files needs

    address = (options.get("bucket") or BUCKET).rstrip("/")
    prefix = f"v1/{path}/"
    entries = {entry.key.removeprefix(prefix): entry for entry in bucket.list_entries(address, prefix)}
    if SOURCE in entries:
        bucket.fetch(address, entries[SOURCE], folder / SOURCE)
    names = [name for name in entries if BATCH.fullmatch(name)]
    if not names:
        raise NotFound(
            f"{address} has no batches of {path}: the names are as on Neuronpedia, as in gpt2-small/8-res-jb"
        )
    _check_whole(path, names)
    names.sort(key=lambda name: (_order(Path(name)), files.natural_order(Path(name))))
    sources = [
        SourceFile(f"{address}/{prefix}{name}", name, f"{entries[name].etag}-{entries[name].size}") for name in names
    ]
    return sources, lambda source: bucket.fetch(address, entries[source.name], folder / source.name)


def _check_whole(path: str, names: list[str]) -> None:
    """Raise Unavailable when numbers of batches are missing in the middle."""
    numbers: dict[str, set[int]] = {}
    for name in names:
        match = BATCH.fullmatch(name)
        if match and match["number"]:
            numbers.setdefault(match["kind"], set()).add(int(match["number"]))
    for kind, known in numbers.items():
        missing = sorted(set(range(min(known), max(known) + 1)) - known)
        if missing:
            listed = ", ".join(map(str, missing[:10]))
            raise Unavailable(
                f"the listing of {path} lacks {len(missing):,} batches of {kind}: {listed}; try again later"
            )


def describe(path: str, options: Mapping[str, Any]) -> str:
    """Return what kind of records a file has, as one line."""
    return f"{Path(path).parent.name}/{Path(path).name}: {_kind(Path(path)) or 'nothing that is known'}"


def read(path: str, rejects: Rejects, options: Mapping[str, Any]) -> Iterator[Batch]:
    """Yield the records of one batch. Raises BadRequest when it is none."""
    kind = _kind(Path(path)) or _of_folder(Path(path))  # nothing of a file cut short may be left to tell by
    about = read_source(Path(path).parent.parent / SOURCE)
    owner = rows.Owner(options.get("expected") or about.get("id") or "", options.get("dictionary") or "")
    facts = {name: value for name, value in about.items() if name not in ("id", "tokens")}
    known = (
        about.get("id") or options.get("expected") or (_read_own_id(Path(path)) if options.get("dictionary") else "")
    )
    for batch in _read_kind(kind, path, rejects, owner, about.get("tokens"), facts, bool(options.get("embeddings"))):
        id = {} if batch.vectors is not None else {"neuronpedia_id": known or batch.dictionary}
        yield batch._replace(facts=batch.facts | id)


def _read_kind(
    kind: str | None,
    path: str,
    rejects: Rejects,
    owner: rows.Owner,
    tokens: int | None,
    facts: dict[str, Any],
    keep_embeddings: bool,
) -> Iterator[Batch]:
    if kind == "features":
        yield from rows.read_features(path, rejects, owner, tokens, facts)
    elif kind == "activations":
        yield from rows.read_activations(path, rejects, owner, facts)
    elif kind == "explanations":
        yield from rows.read_explanations(path, rejects, owner, facts, keep_embeddings)
    else:
        rejects.add(path, "line 1", "the file holds no features, activations or explanations")


def read_source(path: Path) -> dict[str, Any]:
    """Return what source.jsonl says: id, tokens (counted), and columns of the dictionary's row; {} without one."""
    if not path.is_file():
        return {}
    first = files.read_all(path).split(b"\n", 1)[0]
    record = files.parse_json(first, f"{path}, line 1")
    if not isinstance(record, dict):
        raise BadRequest(f"{path}, line 1: an object is wanted")
    about: dict[str, Any] = {}
    if isinstance(record.get("modelId"), str) and isinstance(record.get("id"), str):
        about["id"] = f"{record['modelId']}/{record['id']}"
    prompts, length = record.get("num_prompts"), record.get("num_tokens_in_prompt")
    if isinstance(prompts, int) and isinstance(length, int) and all(0 < count < 1 << 31 for count in (prompts, length)):
        about |= {"prompts": prompts, "context_size": length, "tokens": prompts * length}
        about["tokens_counted"] = prompts * length
    if isinstance(record.get("dataset"), str):
        about["dataset"] = record["dataset"]
    for place in (("hfRepoId", "hfFolderId"), ("saelensRelease", "saelensSaeId")):
        texts = [text for name in place if isinstance(text := record.get(name), str) and text]
        if len(texts) == len(place):
            about.setdefault(
                "weights_location", "/".join(texts) if place[0] != "hfRepoId" else f"hf://{'//'.join(texts)}"
            )
    return about


def _read_own_id(path: Path) -> str | None:
    """Return the model/source of a file's first record; None where it names none."""
    record = _first_record(path)
    names = [record.get(name) for name in ("modelId", "layer")] if isinstance(record, dict) else [None]
    id = "/".join(name for name in names if isinstance(name, str))
    return id if re.fullmatch(r"[^/\s]+/[^/\s]+", id) else None


def _kind(path: Path) -> str | None:
    """Return which kind of records a file has, by its first one; None for another."""
    record = _first_record(path)
    if not isinstance(record, dict) or "index" not in record:
        return None
    if "tokens" in record and "values" in record:
        return "activations"
    if "description" in record:
        return "explanations"
    return "features" if {"frac_nonzero", "pos_str", "maxActApprox"} & set(record) else _of_folder(path)


def _of_folder(path: Path) -> str | None:
    return next((kind for kind in KINDS if path.parent.name.startswith(kind)), None)


def _first_record(path: Path) -> Any:
    """Return the first record of a file of lines, or of a list; None where there is none."""
    if path.name.removesuffix(".gz").endswith(".json"):
        try:
            content = files.read_json(path)
        except BadRequest:
            return None
        return content[0] if isinstance(content, list) and content else None
    for line in files.read_first_lines(path):
        try:
            return msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return None
