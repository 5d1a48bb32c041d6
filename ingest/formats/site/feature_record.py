"""What a site says of one feature, as short as it can be: what is not known is left out, numbers have four digits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurestore import Example, Feature, LogitEffect

EFFECTS = 10  # tokens raised and lowered most that a site names
NUMBERS = (
    "density",
    "active_tokens",
    "active_contexts",
    "mean_activation",
    "max_activation",
    "decoder_norm",
    "encoder_norm",
    "encoder_decoder_cosine",
)


def make_record(feature: Feature) -> dict[str, Any]:
    """Return the record of a feature."""
    record: dict[str, Any] = {"feature": feature.feature, "state": feature.state, "label": feature.label}
    record |= {name: shorten(getattr(feature, name)) for name in NUMBERS}
    record["histogram"] = _histogram(feature.histogram, feature.histogram_edges)
    record["logit_histogram"] = _histogram(feature.logit_histogram, feature.logit_histogram_edges)
    record["raises"], record["lowers"] = _effects(feature.top_logits), _effects(feature.bottom_logits)
    record["labels"] = [[label.label, label.explainer, label.votes] for label in feature.labels]
    record["scores"] = [
        [score.method, shorten(score.value), score.n, score.judge, score.label] for score in feature.scores
    ]
    record["examples"] = [_example(example) for example in feature.examples]
    return {name: value for name, value in record.items() if value is not None and value != []}


def shorten(value: float | None) -> float | None:
    """Return a number with four significant digits; whole numbers stay."""
    return value if value is None or isinstance(value, int) else float(f"{value:.4g}")


def _histogram(counts: Sequence[int] | None, edges: Sequence[float] | None) -> list[list[float]] | None:
    """Return the edges and the counts of the bins from the first that is not empty to the last."""
    if not counts or not edges or not any(counts):
        return None
    filled = [at for at, count in enumerate(counts) if count]
    first, last = filled[0], filled[-1] + 1
    return [[float(f"{edge:.4g}") for edge in edges[first : last + 1]], list(counts[first:last])]


def _effects(effects: Sequence[LogitEffect]) -> list[list[Any]]:
    return [[effect.token, shorten(effect.value)] for effect in effects[:EFFECTS]]


def _example(example: Example) -> list[Any]:
    """Return band, tokens, places of the active ones and their activations, and the place of the strongest."""
    active = [at for at, value in enumerate(example.activations) if value]
    return [
        example.band,
        list(example.tokens),
        active,
        [shorten(example.activations[at]) for at in active],
        example.peak,
    ]
