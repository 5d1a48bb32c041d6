"""Files of attribution graphs as circuit-tracer and Neuronpedia write them (schema_version 0 and 1), read and checked.

Knows no store. `feature_type` says what a node is. Its id does not: an error of layer 5 at position 3 and feature 5 of
layer 0 at position 3 are both called 0_5_3. `notes` count what is odd or left out.
"""

from __future__ import annotations

import collections
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from featurestore.errors import BadRequest, NotFound
from featurestore.notes import NoteCode, Notes

T = TypeVar("T")
SLUG = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}"
KINDS = {
    "cross layer transcoder": "feature",  # of per-layer transcoders too
    "unexplored node": "feature",
    "transcoder": "feature",
    "lorsa": "feature",
    "mlp reconstruction error": "error",
    "lorsa error": "error",
    "embedding": "token",
    "logit": "logit",
    "bias": "other",
}
LORSA = "lorsa"  # features that read and write attention: dictionaries of their own
MOST_FEATURE = 2**31 - 1
_Small = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Metadata(msgspec.Struct, frozen=True):
    """The metadata of a graph's file, as far as it is read here."""

    scan: str
    prompt: str
    prompt_tokens: tuple[str, ...]
    slug: str | None = None
    schema_version: int | None = 0
    node_threshold: float | None = None
    transcoder_list: tuple[str, ...] | None = ()
    info: Any = None
    feature_details: Any = None


class _Node(msgspec.Struct, frozen=True):
    node_id: str
    ctx_idx: _Small
    feature_type: str | None = None
    feature: _Number | None = None
    layer: str | _Number | None = None
    clerp: str | None = None
    activation: float | None = None
    influence: float | None = None
    token_prob: float | None = None
    is_target_logit: bool | None = None


class _Link(msgspec.Struct, frozen=True):
    source: str
    target: str
    weight: float


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A node as schema.sql has it, without its dictionary. `site` tells the dictionaries of a layer apart.

    `said` is the node's JSON in the file.
    """

    node_id: str
    kind: str
    feature_type: str
    site: str
    layer: int | None
    position: int
    feature: int | None
    token: int | None
    activation: float | None
    influence: float | None
    token_prob: float | None
    is_target: bool
    clerp: str
    said: dict[str, Any]


class GraphFile(msgspec.Struct, frozen=True, kw_only=True):
    """A graph's file, checked. `document` is its JSON without nodes and links; a link is (source, target, weight).

    Source and target are places in `nodes`.
    """

    slug: str
    metadata: Metadata
    schema_version: int
    document: dict[str, Any]
    nodes: tuple[Node, ...]
    links: tuple[tuple[int, int, float], ...]
    notes: tuple[str, ...]
    note_codes: tuple[NoteCode, ...]


def load(graph: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON object of a graph, given as a file or as the object itself.

    A file without a slug is given its own name as one. Raises NotFound for a missing file, BadRequest for a file that
    is no JSON object.
    """
    if isinstance(graph, Mapping):
        # As it would come out of a file: NaN is null, tuples are lists.
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(graph)))
        return document
    try:
        raw = Path(graph).read_bytes()
    except OSError as exc:
        raise NotFound(f"{graph}: {exc.strerror}") from None
    try:
        content = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        nan = re.search(rb"[:\s\[,](NaN|-?Infinity)\b", raw)
        reason = f"it has {nan[1].decode()}, which JSON cannot say: write null, or a number" if nan else str(exc)
        raise BadRequest(f"{graph} is no JSON: {reason}") from None
    if not isinstance(content, dict):
        raise BadRequest(f"{graph} is no attribution graph: it holds no JSON object")
    metadata = content.get("metadata")
    if isinstance(metadata, dict) and not metadata.get("slug"):
        metadata["slug"] = Path(graph).stem
    return content


def parse(content: Mapping[str, Any], slug: str | None = None) -> GraphFile:
    """Return a graph from its JSON; `slug` replaces its own. Raises BadRequest, naming what is wrong and where."""
    for name, kind in (("metadata", dict), ("nodes", list), ("links", list)):
        if not isinstance(content.get(name), kind):
            wanted = "an object" if kind is dict else "a list"
            raise BadRequest(f"this is no attribution graph: '{name}' should be {wanted}, as circuit-tracer writes it")
    metadata = _convert(content["metadata"], Metadata, "metadata")
    version = metadata.schema_version or 0
    if version not in (0, 1):
        raise BadRequest(f"metadata.schema_version: {version} is not known; graphs of 0 and 1 are read")
    notes = Notes()
    raw_nodes = [_convert(raw, _Node, f"nodes[{n}]") for n, raw in enumerate(content["nodes"])]
    if not raw_nodes:
        raise BadRequest("this graph has no nodes")
    indices = _indices(raw_nodes, version, notes)
    nodes = tuple(itertools.starmap(_node, zip(raw_nodes, content["nodes"], indices, strict=True)))
    unknown = collections.Counter(node.feature_type for node in nodes if node.feature_type not in KINDS)
    for name, n in unknown.items():
        notes.add(
            "graph_type_unknown", f"{_count(n, 'node')} of the unknown feature_type '{name}' kept as other", nodes=n
        )
    return GraphFile(
        slug=_slug(slug or metadata.slug),
        metadata=metadata,
        schema_version=version,
        document={name: value for name, value in content.items() if name not in ("nodes", "links")},
        nodes=nodes,
        links=_links(content["links"], nodes, notes),
        notes=notes.sentences,
        note_codes=notes.codes,
    )


def as_file(document: Mapping[str, Any], nodes: Sequence[dict[str, Any]], links: Sequence[Any]) -> dict[str, Any]:
    """Return the JSON of a graph's file; `links` are (source, target, weight), the first two places in `nodes`."""
    ids = [node["node_id"] for node in nodes]
    listed = [{"source": ids[source], "target": ids[target], "weight": weight} for source, target, weight in links]
    return {**document, "nodes": list(nodes), "links": listed}


def _slug(slug: str | None) -> str:
    if slug is None or not re.fullmatch(SLUG, slug):
        raise BadRequest(
            f"slug: {slug!r:.250} cannot name a graph: give one of up to 200 letters, digits, '.', '_' and '-' that "
            "does not begin with a dot"
        )
    return slug


def _convert(value: Any, type_: type[T], where: str) -> T:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as exc:
        what, _, path = str(exc).partition(" - at `$")
        raise BadRequest(f"{where}{path.rstrip('`')}: {what[0].lower()}{what[1:]}") from None


def _layer(node: _Node) -> int | None:
    text = str(node.layer)
    return int(text) if re.fullmatch(r"\d{1,6}", text) else None


def _indices(nodes: Sequence[_Node], version: int, notes: Notes) -> list[int | None]:
    """Each node's index in its dictionary; None for a node that is no feature, and for a number that fits no index."""
    known = [KINDS.get(node.feature_type or "") == "feature" for node in nodes]
    if version == 1:
        indices = [_of_pair(node) if feature else None for node, feature in zip(nodes, known, strict=True)]
    else:
        features = [node for node, feature in zip(nodes, known, strict=True) if feature]
        # Files of gemma-2-2b write layer 23 and index 5458 as 2305458; others write the index. Layer 0 looks alike in
        # both.
        joined = any(_layer(node) for node in features) and all(_of_joined(node) is not None for node in features)
        if joined:
            sentence = "the numbers of its features are read as layer and five digits of index (schema_version 0)"
            notes.add("graph_feature_numbers_joined", sentence)
        of = _of_joined if joined else _of_plain
        indices = [of(node) if feature else None for node, feature in zip(nodes, known, strict=True)]
    strange = sum(feature and index is None for feature, index in zip(known, indices, strict=True))
    if strange:
        sentence = f"{_count(strange, 'feature')} without an index: the file's number does not fit the layer it says"
        notes.add("graph_features_without_index", sentence, features=strange)
    return indices


def _of_pair(node: _Node) -> int | None:
    """The index of a Cantor pair (layer, index), https://en.wikipedia.org/wiki/Pairing_function."""
    number = node.feature
    if number is None or number < 0:
        return None
    along = (math.isqrt(8 * number + 1) - 1) // 2
    index = number - along * (along + 1) // 2
    return index if along - index == _layer(node) and index <= MOST_FEATURE else None


def _of_joined(node: _Node) -> int | None:
    layer, number = _layer(node), node.feature
    if layer is None or number is None or number < 0:
        return None
    index = number - layer * 100_000
    return index if 0 <= index < 100_000 else None


def _of_plain(node: _Node) -> int | None:
    number = node.feature
    return number if number is not None and 0 <= number <= MOST_FEATURE and _layer(node) is not None else None


def _node(raw: _Node, said: dict[str, Any], index: int | None) -> Node:
    type_ = raw.feature_type or ""
    kind = KINDS.get(type_, "other")
    vocabulary = re.fullmatch(r"E_(\d{1,18})_\d+", raw.node_id)
    return Node(
        node_id=raw.node_id,
        kind=kind,
        feature_type=type_,
        site=LORSA if type_.startswith(LORSA) else "mlp",
        layer=_layer(raw),
        position=raw.ctx_idx,
        feature=index,
        token=raw.feature if kind == "logit" else int(vocabulary[1]) if kind == "token" and vocabulary else None,
        activation=raw.activation,
        influence=raw.influence,
        token_prob=raw.token_prob,
        is_target=bool(raw.is_target_logit),
        clerp=raw.clerp or "",
        said=said,
    )


def _links(raw_links: Sequence[Any], nodes: Sequence[Node], notes: Notes) -> tuple[tuple[int, int, float], ...]:
    """The links between nodes of the file, as (source, target, weight); the first two are places in `nodes`."""
    numbers: dict[str, int] = {}
    shared: set[str] = set()
    for n, node in enumerate(nodes):
        first = numbers.setdefault(node.node_id, n)
        if first == n:
            continue
        kinds = {nodes[first].kind, node.kind}
        if kinds != {"feature", "error"}:
            raise BadRequest(f"nodes[{n}].node_id: '{node.node_id}' is the id of nodes[{first}] too")
        shared.add(node.node_id)
        numbers[node.node_id] = n if node.kind == "feature" else first
    links, missing, ambiguous = [], 0, 0
    for n, raw in enumerate(raw_links):
        link = _convert(raw, _Link, f"links[{n}]")
        if link.source in numbers and link.target in numbers:
            links.append((numbers[link.source], numbers[link.target], link.weight))
            ambiguous += link.source in shared or link.target in shared
        else:
            missing += 1
    if missing:
        sentence = f"{_count(missing, 'link')} left out: the file has no node of their source or target"
        notes.add("graph_links_left_out", sentence, links=missing)
    if ambiguous:
        sentence = f"{_count(ambiguous, 'link')} of an id that a feature and an error share, taken for the feature's"
        notes.add("graph_links_ambiguous", sentence, links=ambiguous)
    return tuple(links)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' if n > 1 else ''}"
