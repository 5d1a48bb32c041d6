"""What a search shows of a hit: why it was found in plain words, short examples, its top tokens, a small histogram."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from featurestore.display.characters import merge_activations
from featurestore.display.tokens import Run, split_characters
from featurestore.interface import FeatureStore
from featurestore.values.examples import Example
from featurestore.values.feature import Feature, Score
from featurestore.values.hits import Hit, Reason

EXAMPLES = 5  # read of each band; two are shown, and the top tokens are theirs
SHOWN = 2
BEFORE, AFTER = 12, 6  # tokens around the peak
TOP_TOKENS = 6


class HitCard(NamedTuple):
    """A hit as it is shown. `match` and `value` are the score with its name; `score` is the best one of its label."""

    hit: Hit
    page: Feature
    why: str
    match: str
    value: float
    examples: list[list[Run]]
    tokens: list[str]
    score: Score | None


def make_cards(store: FeatureStore, hits: Sequence[Hit]) -> list[HitCard]:
    """Return the hits with what is shown of each."""
    pages = store.features([hit.id for hit in hits], EXAMPLES) if hits else []
    return [_make(hit, page) for hit, page in zip(hits, pages, strict=True)]


def _make(hit: Hit, page: Feature) -> HitCard:
    top = [example for example in page.examples if example.band == "top"] or list(page.examples)
    scores = [score for score in page.scores if score.value is not None and score.label == page.label]
    return HitCard(
        hit,
        page,
        say_why(hit.reasons) or hit.why,
        "cosine" if hit.reasons and hit.reasons[0].kind == "vectors" else "match",
        hit.score,
        [cut_example(example, page.max_activation) for example in top[:SHOWN]],
        find_top_tokens(top),
        max(scores, key=lambda score: (score.n, score.value or 0.0), default=None),
    )


def cut_example(example: Example, largest: float | None) -> list[Run]:
    """Return the tokens around the peak of an example as runs, on as few lines as folding leaves."""
    peak = max(example.peak, 0)
    first, last = max(0, peak - BEFORE), peak + AFTER + 1
    runs = split_characters(example.tokens[first:last], example.activations[first:last], largest, peak - first)
    near = [run for run in runs if not run.far]
    return [run._replace(parts=[part for part in run.parts if not part.far]) for run in near]


def find_top_tokens(examples: Iterable[Example]) -> list[str]:
    """Return the tokens that the feature fires hardest on in these examples, each once, the hardest first."""
    strongest: dict[str, float] = {}
    for example in examples:
        for token, value in zip(example.tokens, merge_activations(example.tokens, example.activations), strict=True):
            if value and token:
                strongest[token] = max(strongest.get(token, 0.0), abs(value))
    return sorted(strongest, key=lambda token: -strongest[token])[:TOP_TOKENS]


def say_why(reasons: Sequence[Reason]) -> str:
    """Return one sentence without numbers that says why a feature was found; nothing without reasons."""
    said = list(dict.fromkeys(_say(reason) for reason in reasons))
    if not said:
        return ""
    text = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"{text[0].upper()}{text[1:]}."


def _say(reason: Reason) -> str:
    words = ", ".join(f"“{word.strip() or word}”" for word in reason.words[:3])
    if reason.kind == "meaning":
        degree = "means much the same" if reason.score >= 0.6 else "is close in meaning"
        return f"its label {degree if reason.score >= 0.4 else 'is loosely related in meaning'}"
    if reason.kind == "words":
        return f"its label has {words}" if words else "its label has parts of the words"
    if reason.kind == "examples":
        return f"what it fires on is {'close' if reason.score >= 0.35 else 'loosely related'} in meaning"
    if reason.kind == "tokens":
        share = (reason.examples or 0) / (reason.top_examples or 1)
        often = "nearly always" if share >= 0.8 else "often" if share >= 0.3 else "sometimes"
        return f"its strongest examples {often} have {words}" if words else "it fires on this text"
    if reason.kind == "logits":
        return f"it raises the chance of {words}" if words else "it raises the chance of this text"
    for least, degree in ((0.9, "almost the same"), (0.6, "a similar"), (0.3, "a somewhat similar")):
        if reason.score >= least:
            return f"its decoder vector has {degree} direction"
    return "its decoder vector is hardly related"
