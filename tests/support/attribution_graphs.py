"""Attribution graphs written on the spot, in the form circuit-tracer gives them, about the store of
tests/support/tiny.py."""

from __future__ import annotations

from typing import Any

LAST = 2  # the layer after those of the tiny store


def pair(layer: int, feature: int) -> int:
    """Cantor's number of a pair."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


def node(node_id: str, feature_type: str, layer: int | str, position: int, feature: int, **more: Any) -> dict[str, Any]:
    """A node with every field that circuit-tracer writes."""
    common = {
        "token_prob": 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": f"{node_id}-0",
    }
    rest = {"clerp": "", "influence": 0.5, "activation": None}
    where = {"node_id": node_id, "feature": feature, "layer": str(layer), "ctx_idx": position}
    return where | {"feature_type": feature_type} | common | rest | more


def feature(layer: int, index: int, position: int, **more: Any) -> dict[str, Any]:
    """A feature's node in a file of schema_version 1."""
    id = f"{layer}_{index}_{position}"
    fields = {"activation": 1.5 + index} | more
    return node(id, "cross layer transcoder", layer, position, pair(layer, index), **fields)


def graph(slug: str = "colons", nodes: list[dict[str, Any]] | None = None, **metadata: Any) -> dict[str, Any]:
    """A graph of five features, of which 1_22_1 has no label, an error, a token and a logit."""
    usual = [
        node("E_0_0", "embedding", "E", 0, 0),
        feature(0, 3, 1),
        feature(0, 8, 2, clerp="its maker's words"),
        feature(1, 3, 2, influence=0.25),
        feature(1, 5, 2),
        feature(1, 22, 1),
        node("0_1_2", "mlp reconstruction error", 1, 2, -1),
        node(
            f"{LAST}_4_2",
            "logit",
            LAST,
            2,
            4,
            token_prob=0.75,
            is_target_logit=True,
            influence=None,
            clerp='Output ":"',
        ),
    ]
    nodes = usual if nodes is None else nodes
    ids = [one["node_id"] for one in nodes]
    links = [{"source": a, "target": ids[-1], "weight": 0.5 - n / 4} for n, a in enumerate(ids[:-1])]
    told = {
        "slug": slug,
        "scan": "tiny",
        "transcoder_list": [],
        "prompt": "def x(",
        "prompt_tokens": ["def", " x", "("],
    }
    told |= {"node_threshold": 0.8, "schema_version": 1, "info": {"creator_name": "tests"}}
    settings = {"pinnedIds": [], "supernodes": [["a group", "0_3_1"]], "linkType": "both"}
    return {"metadata": told | metadata, "qParams": settings, "nodes": nodes, "links": links}
