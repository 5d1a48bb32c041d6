"""Which nodes of a graph are meant: by their own ids, or by their feature's in any form that an id has.

Knows the values of graphs and of dictionaries; reads no store.
"""

from __future__ import annotations

from collections.abc import Sequence

from featurestore.values.dictionary import Dictionary
from featurestore.values.feature import id_text
from featurestore.values.graphs import Graph


def find_places(graph: Graph, given: str, dictionaries: Sequence[Dictionary] = ()) -> list[int]:
    """Return the places in `nodes` of the node with this id, or of all nodes of the feature with it; none for others.

    `dictionaries` are the store's: a feature may be named by the name that its dictionary has on Neuronpedia.
    """
    id = id_text(given)
    name, _, index = id.rpartition("/")
    ids = {id} | {f"{each.dictionary}/{index}" for each in dictionaries if name and each.neuronpedia_id == name}
    return [place for place, node in enumerate(graph.nodes) if node.node_id == given or node.id in ids]
