"""Writes labels and links of a store into files of attribution graphs; keeps what a person wrote there.

Asks any store by its interface; changes no store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from featurestore.graphs import dictionary_names, file_format, view_edit
from featurestore.interface import FeatureStore
from featurestore.values.feature import Feature

TOGETHER = 100  # features that are asked for at once


class Annotation(NamedTuple):
    """A graph's JSON with labels in it, and counts of its nodes that are features."""

    document: dict[str, Any]
    features: int
    labelled: int  # nodes that were given a label
    kept: int  # nodes that keep the words they had
    notes: tuple[str, ...]


def annotate(
    store: FeatureStore,
    content: Mapping[str, Any],
    mappings: Sequence[str] = (),
    pages: str | None = None,
    overwrite: bool = False,
) -> Annotation:
    """Return a graph with the best labels of its features in `clerp`, and their pages' addresses in `vis_link`.

    `pages` is the address of a service with the pages; without it no links are written. A node that has words in
    `clerp`, or that a person named in a front end (`qParams.clerps`), keeps them unless `overwrite`. `mappings` are as
    those of `add_graph`. Raises BadRequest for JSON that is no graph.
    """
    slug = (content.get("metadata") or {}).get("slug") if isinstance(content.get("metadata"), Mapping) else None
    file = file_format.parse(content, slug or "graph")
    dictionaries = {dictionary.dictionary: dictionary for dictionary in store.dictionaries()}
    dictionary_of = dictionary_names.name(file, list(dictionaries.values()), mappings)
    ids: list[str | None] = []
    for node in file.nodes:
        name = dictionary_of.by_place.get((node.site, node.layer or 0)) if node.feature is not None else None
        held = name is not None and name in dictionaries and (node.feature or 0) < dictionaries[name].d_sae
        ids.append(f"{name}/{node.feature}" if held else None)
    labels = _read_labels(store, sorted({id for id in ids if id is not None}))
    view = content["qParams"] if isinstance(content.get("qParams"), dict) else {}
    numbers = view_edit.number_features(node.said for node in file.nodes)
    names = view_edit.read_names(view, numbers)
    renamed: dict[str, None] = {}
    nodes, labelled, kept = [], 0, 0
    for node, id in zip(file.nodes, ids, strict=True):
        raw = dict(node.said)
        if id is not None and pages:
            raw["vis_link"] = f"{pages.rstrip('/')}/features/{quote(id)}"
        label = labels.get(id) if id is not None else None
        named = node.kind == "feature" and node.node_id in names
        if label and (overwrite or not (node.clerp.strip() or named)):
            raw["clerp"], labelled = label, labelled + 1
            if named:
                renamed[node.node_id] = None
        elif label:
            kept += 1
        nodes.append(raw)
    document = file_format.as_file(file.document, nodes, file.links)
    if renamed:
        document["qParams"] = view_edit.name_nodes(view, renamed, numbers)
    features = sum(node.kind == "feature" for node in file.nodes)
    return Annotation(document, features, labelled, kept, (*file.notes, *dictionary_of.notes.sentences))


def _read_labels(store: FeatureStore, ids: Sequence[str]) -> dict[str, str | None]:
    pages: list[Feature] = []
    for first in range(0, len(ids), TOGETHER):
        pages += store.features(ids[first : first + TOGETHER], examples=0)
    return {page.id: page.label for page in pages}
