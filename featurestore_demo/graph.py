"""A small attribution graph of the demo: which features bring about what the model says after a line of Python.

An edge is the attribution of its source: activation times the product of what the source writes with the gradient of
the target, a feature before its activation function or the logit over the mean of all. Gradients flow through the
whole model, attention and norms included, so that an edge also counts what goes through features that are not drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

SLUG = "try-except"
PROMPT = "try:\n    value = int(text)\nexcept ValueError"
MOST = {"4-res-2k": 10, "3-tc-2k": 8, "2-res-2k": 10}  # features of each dictionary, the later first
LEAST = 0.05  # of the strongest edge into a node; weaker ones are left out


class Source(NamedTuple):
    """What has an effect: a node, the tensor it is written to and where, and what it writes there."""

    node: dict[str, Any]
    written: torch.Tensor  # (1, tokens, d_model), of the run
    position: int
    vector: torch.Tensor  # (d_model,)


def make_graph(model: Any, saes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the graph of PROMPT as circuit-tracer's files have it; `model` and `saes` are those of the demo."""
    ids = [*model.begin(), *model.tokenizer(PROMPT, add_special_tokens=False)["input_ids"]]
    texts = [model.tokenizer.decode([id]) for id in ids]
    points, logits = _run(model.language_model, ids)
    last = logits[0, -1]
    best = int(last.argmax())
    answer = model.tokenizer.decode([best])
    target = last[best] - last.mean()
    logit = _node(f"6_{best}_{len(ids) - 1}", "logit", "6", len(ids) - 1, best, clerp=f'Output "{answer}"')
    logit |= {"token_prob": round(float(last.detach().softmax(-1)[best]), 4), "is_target_logit": True}
    nodes, links = [logit], []
    targets = [(logit, target)]
    for source, most in MOST.items():
        layer = int(source.split("-")[0])
        sources = _find_active(saes[source], layer, *points[source])
        effects = _attribute(targets, sources)
        influence = effects.abs().sum(0)
        chosen = [n for n in influence.argsort(descending=True)[:most].tolist() if influence[n] > 0]
        nodes += [sources[n].node for n in chosen]
        links += _link(targets, [sources[n] for n in chosen], effects[:, chosen])
        read = points[source][0]
        targets += [(sources[n].node, _before(saes[source], read, sources[n])) for n in chosen]
    embedded = points["tokens"][1]
    tokens = [
        Source(_node(f"E_{id}_{n}", "embedding", "E", n, id, clerp=texts[n]), embedded, n, embedded[0, n].detach())
        for n, id in enumerate(ids)
    ]
    nodes += [token.node for token in tokens]
    links += _link(targets, tokens, _attribute(targets, tokens))
    return {
        "metadata": {
            "slug": SLUG,
            "scan": "pystdlib",
            "prompt": PROMPT,
            "prompt_tokens": texts,
            "schema_version": 0,
            "info": {"creator_name": "the demo of featurestore"},
        },
        "qParams": {"pinnedIds": [logit["node_id"]], "supernodes": [], "linkType": "both"},
        "nodes": nodes,
        "links": links,
    }


def _run(model: Any, ids: list[int]) -> tuple[dict[str, tuple[torch.Tensor, torch.Tensor]], torch.Tensor]:
    """Return what each dictionary reads and what its features are written to, and the logits; all with gradients."""
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: torch.nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            kept[name] = output[0] if isinstance(output, tuple) else output

        return hook

    blocks = model.transformer.h
    modules = {
        "tokens": model.transformer.wte,
        "2": blocks[2],
        "in": blocks[3].ln_2,
        "out": blocks[3].mlp,
        "4": blocks[4],
    }
    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    # The model's weights are fixed, so gradients begin at the embedded tokens.
    begin = model.transformer.wte.register_forward_hook(lambda module, arguments, output: output.requires_grad_(True))
    try:
        with torch.enable_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits
    finally:
        for handle in (*handles, begin):
            handle.remove()
    return {
        "tokens": (kept["tokens"], kept["tokens"]),
        "2-res-2k": (kept["2"], kept["2"]),
        "3-tc-2k": (kept["in"], kept["out"]),
        "4-res-2k": (kept["4"], kept["4"]),
    }, logits


def _find_active(sae: Any, layer: int, read: torch.Tensor, written: torch.Tensor) -> list[Source]:
    """Return a source for each feature that fires, at each place; not on the token that begins every context."""
    with torch.no_grad():
        activations = sae.encode(read[0].detach().float())
        found = []
        for position, feature in activations[1:].nonzero().tolist():
            position += 1
            activation = float(activations[position, feature])
            node = _node(f"{layer}_{feature}_{position}", "transcoder", str(layer), position, feature)
            node |= {"activation": round(activation, 4)}
            found.append(Source(node, written, position, activation * sae.W_dec[feature].float()))
    return found


def _before(sae: Any, read: torch.Tensor, source: Source) -> torch.Tensor:
    """Return the feature of a source before its activation function, as a number with gradients."""
    before: torch.Tensor = read[0, source.position].float() @ sae.W_enc[:, source.node["feature"]].float()
    return before


def _attribute(targets: list[tuple[dict[str, Any], torch.Tensor]], sources: list[Source]) -> torch.Tensor:
    """Return the attribution of each source to each target, (targets, sources)."""
    effects = torch.zeros(len(targets), len(sources))
    if not sources:
        return effects
    for n, (_, value) in enumerate(targets):
        (gradient,) = torch.autograd.grad(value, sources[0].written, retain_graph=True, allow_unused=True)
        if gradient is not None:
            for m, source in enumerate(sources):
                effects[n, m] = gradient[0, source.position].float() @ source.vector
    return effects


def _link(
    targets: list[tuple[dict[str, Any], torch.Tensor]], sources: list[Source], effects: torch.Tensor
) -> list[dict[str, Any]]:
    """Return the edges that are not much weaker than the strongest into the same node."""
    links = []
    for n, (target, _) in enumerate(targets):
        strongest = float(effects[n].abs().max()) if sources else 0.0
        for m, source in enumerate(sources):
            weight = float(effects[n, m])
            if strongest and abs(weight) >= LEAST * strongest:
                links.append(
                    {"source": source.node["node_id"], "target": target["node_id"], "weight": round(weight, 5)}
                )
    return links


def _node(node_id: str, kind: str, layer: str, position: int, feature: int, clerp: str = "") -> dict[str, Any]:
    return {
        "node_id": node_id,
        "feature": feature,
        "layer": layer,
        "ctx_idx": position,
        "feature_type": kind,
        "clerp": clerp,
        "token_prob": 0.0,
        "is_target_logit": False,
    }
