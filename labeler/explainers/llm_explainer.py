"""A feature to a prompt, and the model's reply to a label.

Asks nothing itself: `ask` and the examples come as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from featurestore import Example, Feature
from featurestore.extension.text import merge_activations
from labeler.explainers.label_flaws import find_flaw
from labeler.explainers.marks import mark_tokens
from labeler.llm.completions import UnreadableReply
from labeler.prompts import Prompt
from labeler.replies.reader import Ask, ask_until_readable, continue_conversation, parse_label

TOP_EXAMPLES = 10  # of the top band; of each sampled band only the strongest
STRONG_SHARE = 0.25  # of the feature's maximum: tokens above it are marked as active
LOGITS = 10  # tokens named on each side
OTHER_TEXTS = 8  # texts of neighbours
EXAMPLE_PLACES = frozenset({"pairs", "windows"})  # places that hold examples; beside them logits are an aside
SCHEMA = {
    "name": "label",
    "schema": {
        "type": "object",
        "properties": {"label": {"type": "string"}},
        "required": ["label"],
        "additionalProperties": False,
    },
}
REMINDER = 'That was not readable. Answer with one line of JSON and nothing else: {"label": "..."}'
REQUESTS_FOR_BETTER = {
    "vague": "That says too little: it would fit almost any text. Look again at what the marked tokens and their "
    'surroundings share that other texts do not have, and be specific. Answer with JSON only: {"label": "..."}',
    "foreign": 'Say the same in the language of the instructions. Answer with JSON only: {"label": "..."}',
}


class MissingEvidence(Exception):
    """The feature does not have what the prompt or the score needs: examples, for instance. The message says what."""


class Explanation(NamedTuple):
    """A label, the number of examples that the model saw, and the label's flaw.

    `flaw` is "vague" or "foreign" where a second question did not help, else None.
    """

    label: str
    examples: int
    flaw: str | None = None


def explain(page: Feature, prompt: Prompt, ask: Ask, others: Sequence[Example] = ()) -> Explanation:
    """A label of the feature. Asks once more, in the same conversation, after an unreadable, vague or foreign reply.

    `others` are examples of the feature's neighbours on which the feature is silent. Raises MissingEvidence or
    UnreadableReply.
    """
    messages = build_messages(page, prompt, others)
    examples = len(select_examples(page)) if prompt.places & EXAMPLE_PLACES else 0
    label, answer = ask_until_readable(ask, messages, parse_label, REMINDER, about=page.id, schema=SCHEMA)
    flaw = find_flaw(label, prompt.system)
    if flaw is None:
        return Explanation(label, examples)
    request = continue_conversation(messages, answer, REQUESTS_FOR_BETTER[flaw])
    try:
        second_label, _ = ask_until_readable(ask, request, parse_label, None, about=page.id, schema=SCHEMA)
    except UnreadableReply:
        return Explanation(label, examples, flaw)
    return Explanation(second_label, examples, find_flaw(second_label, prompt.system))


def select_examples(page: Feature) -> list[Example]:
    """The examples that an explainer sees, none of them held out: the ten strongest, and one of each sampled band.

    A scorer that is to be fair uses the held-out ones.
    """
    bands: dict[str, list[Example]] = {}
    for example in page.examples:
        if not example.held_out:
            bands.setdefault(example.band, []).append(example)
    return [example for band, examples in bands.items() for example in examples[: TOP_EXAMPLES if band == "top" else 1]]


def build_messages(page: Feature, prompt: Prompt, others: Sequence[Example] = ()) -> list[dict[str, str]]:
    """The conversation that asks for a label. Raises MissingEvidence when the feature lacks what the prompt shows."""
    if not page.top_logits and not prompt.places & EXAMPLE_PLACES:
        raise MissingEvidence("no logits")
    return prompt.fill({place: _WRITERS[place](page, others) for place in prompt.places})


def _write_pairs(page: Feature, others: Sequence[Example]) -> str:
    largest = abs(page.max_activation or 1.0)
    lines = []
    for number, example in enumerate(_require_examples(page), 1):
        active = [
            f"{token!r} {max(1, round(10 * abs(value) / largest))}"
            for token, value in zip(example.tokens, merge_activations(example.tokens, example.activations), strict=True)
            if abs(value) > STRONG_SHARE * largest
        ]
        text = _mark(example, STRONG_SHARE * largest)
        lines.append(f"Text {number}:\n{text}\nActive: {', '.join(active) or 'weakly'}\n")
    return "\n".join(lines)


def _write_windows(page: Feature, others: Sequence[Example]) -> str:
    least = STRONG_SHARE * abs(page.max_activation or 1.0)
    return "\n".join(f"Text {n}:\n{_mark(example, least)}\n" for n, example in enumerate(_require_examples(page), 1))


def _mark(example: Example, least: float) -> str:
    """The example's text, with tokens whose activation is above `least` between << and >>."""
    values = merge_activations(example.tokens, example.activations)
    return mark_tokens(example.tokens, {at for at, value in enumerate(values) if abs(value) > least})


def _write_others(page: Feature, others: Sequence[Example]) -> str:
    if not others:
        raise MissingEvidence("no texts of neighbours")
    return "\n".join(f"Text {n}:\n{''.join(example.tokens)}\n" for n, example in enumerate(others[:OTHER_TEXTS], 1))


def _require_examples(page: Feature) -> list[Example]:
    examples = select_examples(page)
    if not examples:
        raise MissingEvidence("no examples")
    return examples


def _write_promoted(page: Feature, others: Sequence[Example]) -> str:
    return ", ".join(repr(effect.token) for effect in page.top_logits[:LOGITS]) or "unknown"


def _write_suppressed(page: Feature, others: Sequence[Example]) -> str:
    return ", ".join(repr(effect.token) for effect in page.bottom_logits[:LOGITS]) or "unknown"


def _write_density(page: Feature, others: Sequence[Example]) -> str:
    return "unknown" if page.density is None else f"{page.density:.2g}"


_WRITERS: dict[str, Callable[[Feature, Sequence[Example]], str]] = {
    "pairs": _write_pairs,
    "windows": _write_windows,
    "others": _write_others,
    "promoted": _write_promoted,
    "suppressed": _write_suppressed,
    "density": _write_density,
}


def select_silent(examples: Sequence[Example], candidates: Sequence[Example]) -> list[Example]:
    """The candidates (a neighbour's examples) that overlap none of the feature's own examples.

    As far as the kept examples tell, the feature is silent there.
    """
    spans: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for example in examples:
        span = (example.start, example.start + len(example.tokens))
        spans.setdefault((example.corpus, example.document), []).append(span)
    return [
        candidate
        for candidate in candidates
        if not any(
            start < candidate.start + len(candidate.tokens) and candidate.start < end
            for start, end in spans.get((candidate.corpus, candidate.document), ())
        )
    ]
