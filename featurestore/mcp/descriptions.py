"""Values of the store in few words: what an assistant needs of a feature, a hit or a node, and no more."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec

from featurestore.graphs.feature_files import find_peak
from featurestore.values.comparisons import ComparedPair, Comparison, FeatureComparison, MatchedFeature
from featurestore.values.dictionary import Coverage, Dictionary
from featurestore.values.examples import Example
from featurestore.values.feature import Feature, LogitEffect
from featurestore.values.graphs import Graph, GraphNode, GraphSummary
from featurestore.values.hits import ActiveFeature, ContrastFeature, Hit

AROUND = 16  # tokens before and after the strongest one that are shown of an example
OF_LARGEST = 0.3  # tokens with at least this part of the example's activation are marked
PEAKS = 4  # tokens that are named of an activating feature
LOGITS = 8


def describe_hit(hit: Hit) -> dict[str, Any]:
    """Return a search result: its id, score, label and density."""
    return {
        "id": hit.id,
        "score": hit.score,
        "label": hit.label,
        "density": hit.density,
        "state": hit.state if hit.state != "live" else None,
        "structural": hit.structural or None,
        "copies": list(hit.copies),
    }


def describe_dictionary(dictionary: Dictionary, labels: Coverage) -> dict[str, Any]:
    """Return a dictionary: where it reads, how large it is, which space it shares with others, who labelled it."""
    return {
        "dictionary": dictionary.dictionary,
        "kind": dictionary.kind,
        "features": dictionary.d_sae,
        "layer": dictionary.layer,
        "hook_point": dictionary.hook_point,
        "space": dictionary.space,
        "corpus": dictionary.corpus,
        "tokens_counted": dictionary.tokens_counted,
        **describe_coverage(labels),
    }


def describe_coverage(labels: Coverage) -> dict[str, Any]:
    """Return how many features of a dictionary have a label, and how many show that of each explainer."""
    return {"labelled": labels.labelled, "labelled_by": dict(labels.explainers)}


def describe_feature(page: Feature) -> dict[str, Any]:
    """Return a feature without its examples. One without a label comes with its nearest labelled ones, as a proxy."""
    proxy = [
        {"id": near.id, "label": near.label, "explainer": near.explainer, "cosine": near.cosine}
        for near in page.labelled_neighbours
    ]
    return {
        "id": page.id,
        "label": page.label,
        "state": page.state,
        "structural": page.structural,
        "layer": page.layer,
        "density": page.density,
        "active_tokens": page.active_tokens,
        "max_activation": page.max_activation,
        "raises": _logits(page.top_logits),
        "lowers": _logits(page.bottom_logits),
        "labels": [{"label": label.label, "explainer": label.explainer, "votes": label.votes} for label in page.labels],
        "scores": [
            {"method": score.method, "value": score.value, "n": score.n, "label": score.label} for score in page.scores
        ],
        "fires_with": [coactive.feature for coactive in page.coactive[:LOGITS]],
        **({"labelled_neighbours_as_proxy": proxy} if proxy else {}),
    }


def _logits(effects: Sequence[LogitEffect]) -> list[list[Any]]:
    return [[effect.token, effect.value] for effect in effects[:LOGITS]]


def describe_example(example: Example) -> dict[str, Any]:
    """Return an example as text around its strongest token; what the feature fires on is between << and >>."""
    peak = find_peak(example)
    first, last = max(0, peak - AROUND), peak + AROUND + 1
    least = OF_LARGEST * example.activation
    pairs = zip(example.tokens[first:last], example.activations[first:last], strict=True)
    runs = itertools.groupby(pairs, key=lambda pair: pair[1] > 0 and pair[1] >= least)
    texts = ((fires, "".join(token for token, _ in run)) for fires, run in runs)
    marked = "".join(f"<<{text}>>" if fires else text for fires, text in texts)
    return {
        "band": example.band,
        "activation": example.activation,
        "text": ("…" if first else "") + marked + ("…" if last < len(example.tokens) else ""),
        "document": example.document_name or example.document,
    }


def describe_active(feature: ActiveFeature, tokens: Sequence[str]) -> dict[str, Any]:
    """Return a feature that fires on a text, with the tokens on which it fires hardest."""
    order = sorted(range(len(feature.activations)), key=lambda n: -feature.activations[n])
    return {
        "id": feature.id,
        "label": feature.label,
        "activation": feature.activation,
        "of_largest": feature.activation / feature.max_activation if feature.max_activation else None,
        "density": feature.density,
        "on": [[tokens[n], feature.activations[n]] for n in order[:PEAKS] if feature.activations[n] > 0],
    }


def describe_contrast(feature: ContrastFeature) -> dict[str, Any]:
    """Return a feature that tells two sets of texts apart."""
    return {
        "id": feature.id,
        "label": feature.label,
        "score": feature.score,
        "fires": feature.fires,
        "fires_against": feature.fires_against,
        "mean": feature.mean,
        "mean_against": feature.mean_against,
    }


def describe_comparison(comparison: Comparison) -> dict[str, Any]:
    """Return what is compared: the features with what they fire on, or counts of two dictionaries' matches."""
    if isinstance(comparison, FeatureComparison):
        names = ("id", "label", "state", "density", "max_activation", "examples")
        features = [
            {name: getattr(feature, name) for name in names} | {"fires_on": list(feature.tokens[:LOGITS])}
            for feature in comparison.features
        ]
        return {"features": features, "notes": comparison.notes}
    facts = ("dictionary", "other", "compared", "other_compared", "mutual", "exact", "notes")
    counts = [[count.cosine, count.matched, count.other_matched] for count in comparison.counts]
    columns = ["cosine", "matched", "other_matched"]
    return {name: getattr(comparison, name) for name in facts} | {"counts": {"columns": columns, "rows": counts}}


def describe_pair(pair: ComparedPair) -> dict[str, Any]:
    """Return what two features have in common, of texts the first few."""
    texts = {name: list(getattr(pair, name)[:LOGITS]) for name in ("tokens", "raised", "lowered", "opposed")}
    return msgspec.structs.asdict(pair) | texts


def describe_match(match: MatchedFeature) -> dict[str, Any]:
    """Return a feature and its best match in the other dictionary."""
    return msgspec.structs.asdict(match)


def describe_graph(graph: GraphSummary) -> dict[str, Any]:
    """Return a graph without its nodes."""
    fields = ("graph", "prompt", "scan", "nodes", "features", "links")
    return {name: getattr(graph, name) for name in fields}


def describe_node(node: GraphNode, graph: Graph) -> dict[str, Any]:
    """Return a node of a graph, with the token it is on and its label."""
    tokens = graph.prompt_tokens
    return {
        "node": node.node_id,
        "kind": node.kind,
        "id": node.id,
        "label": node.label or node.clerp or None,
        "on": tokens[node.position] if node.position < len(tokens) else None,
        "layer": node.layer,
        "activation": node.activation,
        "influence": node.influence,
        "probability": node.token_prob if node.kind == "logit" else None,
    }
