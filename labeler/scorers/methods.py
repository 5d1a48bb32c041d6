"""The methods by which a language model judges a label: questions, judgements, results. Knows no store and no network.

Each method makes a list of questions from a label and its texts; each reply becomes judgements; judgements become
results, those against random and against hard negatives apart. A reply that cannot be read makes no judgement.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from labeler.explainers.llm_explainer import STRONG_SHARE, MissingEvidence
from labeler.explainers.marks import mark_tokens
from labeler.llm.completions import Answer, UnreadableReply
from labeler.prompts import Prompt
from labeler.replies.judgements import parse_choice, parse_numbers
from labeler.scorers import statistics
from labeler.scorers.examples import Material, Text
from labeler.scorers.likelihoods import compute_expectations, read_probabilities

Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]
TOGETHER = 10  # texts of one question
LOGPROBS = 5  # likeliest tokens that are requested with yes and no
LOGPROBS_OF_NUMBERS = 20  # and with numbers: the most that the OpenAI API gives
ACTIVE, RANDOM, HARD = "active", "random", "hard"
NEGATIVES = (RANDOM, HARD)
COMPANY = 3  # texts beside an intruder
REMINDER = "That was not readable: {problem}. Answer with one line of JSON and nothing else, as was asked."


class Judgement(NamedTuple):
    """What a judge answered about one text, or for intruder about one group of texts.

    `kind` is ACTIVE, RANDOM or HARD: what the text is. `fits` is whether the judge says that it fits the label (for
    intruder: whether it is right), `probability` the probability of yes, where known. For simulation `expected` and
    `actual` (tokens,) are activations.
    """

    kind: str
    fits: bool = False
    probability: float | None = None
    expected: Floats | None = None
    actual: Floats | None = None


class Question(NamedTuple):
    """One question: the conversation, the form of the answer, and the texts with their kinds.

    `right` is the number of the intruder.
    """

    messages: list[dict[str, str]]
    schema: dict[str, Any]
    max_tokens: int
    logprobs: int
    kinds: tuple[str, ...]
    texts: tuple[Text, ...]
    right: int = 0

    @property
    def tokens_out(self) -> int:
        """Roughly the number of tokens of a reply."""
        return 10 + 2 * (len(self.texts[0].tokens) if self.logprobs == LOGPROBS_OF_NUMBERS else len(self.kinds))


class Result(NamedTuple):
    """A score against one kind of negatives; `estimate` is None where one side has no judgement."""

    negatives: str
    estimate: statistics.Estimate | None
    auc: float | None
    n: int
    failures: int


class Method(NamedTuple):
    """A way to score a label: builds questions, reads each answer, summarizes the judgements. `baseline` is chance."""

    ask: Callable[[str, Material, Prompt, str], list[Question]]
    read: Callable[[Question, Answer], list[Judgement]]
    summarize: Callable[[Sequence[Judgement], Sequence[str], float], list[Result]]
    baseline: float


def _ask_detection(label: str, material: Material, prompt: Prompt, id: str) -> list[Question]:
    """Questions with mixed texts, some of each kind in each."""
    shown = [(ACTIVE, text, text.text) for text in material.positives]
    shown += [(RANDOM, text, text.text) for text in material.random]
    shown += [(HARD, text, text.text) for text in material.hard]
    return _ask_yes_or_no(label, shown, prompt, f"detection of {id}")


def _ask_fuzzing(label: str, material: Material, prompt: Prompt, id: str) -> list[Question]:
    """Questions with marked texts.

    Marks are right, on tokens where the feature is silent (random), or on tokens where its neighbours are active
    (hard). None stands on blanks, which no description tells apart; a text whose strong tokens are all blank is left
    out. No text is in a question twice.
    """
    rng = random.Random(f"marks of {id}")
    right: list[tuple[Text, set[int], list[int]]] = []
    wrong: list[tuple[Text, set[int], list[int]]] = []
    for n, text in enumerate(material.positives):
        active = _find_strong(text)
        if not active:
            continue
        silent = [at for at, value in enumerate(text.activations) if value == 0 and text.tokens[at].strip()]
        (right if n % 2 or len(silent) < len(active) else wrong).append((text, active, silent))
    shown = [(ACTIVE, text, _mark(text, active)) for text, active, _ in right]
    for text, active, silent in wrong:
        shown.append((RANDOM, text, _mark(text, set(rng.sample(silent, len(active))))))
    neighbours = [text for text in material.hard if any(text.activations) and _find_strong(text)]
    neighbours = neighbours[: max(1, len(material.positives) // 2)]
    shown += [(HARD, text, _mark(text, _find_strong(text))) for text in neighbours]
    return _ask_yes_or_no(label, shown, prompt, f"fuzzing of {id}")


def _find_strong(text: Text) -> set[int]:
    """The positions of tokens with much of the text's largest activation, which are marked; none of blank tokens."""
    largest = max(map(abs, text.activations))
    strong = {at for at, value in enumerate(text.activations) if abs(value) > STRONG_SHARE * largest}
    return {at for at in strong if text.tokens[at].strip()}


def _mark(text: Text, marks: set[int]) -> str:
    return mark_tokens(text.tokens, marks)


def _ask_yes_or_no(label: str, shown: list[tuple[str, Text, str]], prompt: Prompt, seed: str) -> list[Question]:
    groups = max(1, math.ceil(len(shown) / TOGETHER))
    rng = random.Random(seed)
    questions = []
    for n in range(groups):
        group = shown[n::groups]
        rng.shuffle(group)
        schema = _build_schema("answers", {"type": "array", "items": {"type": "integer", "enum": [0, 1]}})
        talk = _fill_prompt(prompt, label, [shown_text for *_, shown_text in group])
        kinds, texts = tuple(kind for kind, *_ in group), tuple(text for _, text, _ in group)
        questions.append(Question(talk, schema, 200 + 8 * len(group), LOGPROBS, kinds, texts))
    return questions


def _fill_prompt(prompt: Prompt, label: str, texts: Sequence[str]) -> list[dict[str, str]]:
    listed = "\n".join(f"Text {n}:\n{text}\n" for n, text in enumerate(texts, 1))
    return prompt.fill({"label": label, "count": str(len(texts)), "texts": listed, "tokens": listed})


def _build_schema(name: str, value: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}
    return {"name": name, "schema": schema}


def _read_yes_or_no(question: Question, answer: Answer) -> list[Judgement]:
    """A judgement of each text. Raises UnreadableReply unless there is one 0 or 1 for each."""
    numbers = parse_numbers(answer, "answers", len(question.kinds))
    if any(number not in (0, 1) for number in numbers):
        raise UnreadableReply("an answer that is neither 0 nor 1")
    shares = read_probabilities(answer, [int(number) for number in numbers])
    return [
        Judgement(kind, bool(number), None if shares is None else shares[at])
        for at, (kind, number) in enumerate(zip(question.kinds, numbers, strict=True))
    ]


def _compute_rates(judgements: Sequence[Judgement], missed: Sequence[str], z: float) -> list[Result]:
    """Balanced accuracy, and the area under the ROC curve where every answer has its probability."""
    active = [judgement for judgement in judgements if judgement.kind == ACTIVE]
    results = []
    for kind in NEGATIVES:
        negatives = [judgement for judgement in judgements if judgement.kind == kind]
        failures = missed.count(ACTIVE) + missed.count(kind)
        if not negatives and kind not in missed:
            continue
        estimate = area = None
        if active and negatives:
            hits = sum(judgement.fits for judgement in active)
            rejections = sum(not judgement.fits for judgement in negatives)
            estimate = statistics.balanced_accuracy(hits, len(active), rejections, len(negatives), z)
            area = _compute_area(active, negatives)
        results.append(Result(kind, estimate, area, len(active) + len(negatives), failures))
    return results


def _compute_area(active: Sequence[Judgement], negatives: Sequence[Judgement]) -> float | None:
    """The area under the ROC curve; None unless every judgement has a probability."""
    sides = [
        [judgement.probability for judgement in side if judgement.probability is not None]
        for side in (active, negatives)
    ]
    if (len(sides[0]), len(sides[1])) != (len(active), len(negatives)):
        return None
    return statistics.area(*sides)


def _ask_intruder(label: str, material: Material, prompt: Prompt, id: str) -> list[Question]:
    """Questions with three texts the feature is active on and one of another kind."""
    questions = []
    rng = random.Random(f"intruder of {id}")
    for n in range(max(len(material.random), len(material.hard))):
        for kind, negatives in ((RANDOM, material.random), (HARD, material.hard)):
            if n < len(negatives) and len(material.positives) >= COMPANY:
                texts = [*rng.sample(material.positives, COMPANY), negatives[n]]
                rng.shuffle(texts)
                right = texts.index(negatives[n]) + 1
                schema = _build_schema("intruder", {"type": "integer"})
                talk = _fill_prompt(prompt, label, [text.text for text in texts])
                questions.append(Question(talk, schema, 200, 0, (kind,), tuple(texts), right))
    # A few questions tell as much as one of ten texts.
    return questions[: 2 * TOGETHER]


def _read_intruder(question: Question, answer: Answer) -> list[Judgement]:
    """Whether the intruder was named. Raises UnreadableReply unless the reply names one of the texts."""
    choice = parse_choice(answer, "intruder", len(question.texts))
    return [Judgement(question.kinds[0], choice == question.right)]


def _compute_shares(judgements: Sequence[Judgement], missed: Sequence[str], z: float) -> list[Result]:
    """The share of intruders that were named."""
    results = []
    for kind in NEGATIVES:
        right = [judgement.fits for judgement in judgements if judgement.kind == kind]
        if right or kind in missed:
            estimate = statistics.wilson(sum(right), len(right), z) if right else None
            results.append(Result(kind, estimate, None, len(right), missed.count(kind)))
    return results


def _ask_simulation(label: str, material: Material, prompt: Prompt, id: str) -> list[Question]:
    """Questions with one text each, in turn of each kind."""
    questions = []
    schema = _build_schema("activations", {"type": "array", "items": {"type": "integer"}})
    kinds = [(ACTIVE, material.positives), (RANDOM, material.random), (HARD, material.hard)]
    for n in range(TOGETHER):
        for kind, texts in kinds:
            if n < len(texts):
                tokens = texts[n].tokens
                listed = "\n".join(f"{at}: {token!r}" for at, token in enumerate(tokens, 1))
                values = {"label": label, "count": str(len(tokens)), "texts": listed, "tokens": listed}
                most, talk = 200 + 6 * len(tokens), prompt.fill(values)
                questions.append(Question(talk, schema, most, LOGPROBS_OF_NUMBERS, (kind,), (texts[n],)))
    return questions


def _read_simulation(question: Question, answer: Answer) -> list[Judgement]:
    """Expected and actual activations of the text.

    Raises UnreadableReply unless there is a number for each token, and MissingEvidence when the endpoint offers no
    probabilities.
    """
    (text,), (kind,) = question.texts, question.kinds
    numbers = parse_numbers(answer, "activations", len(text.tokens))
    if answer.logprobs is None:
        raise MissingEvidence("the endpoint offers no log-probabilities")
    actual = numpy.array(text.activations if kind == ACTIVE else [0.0] * len(text.tokens))
    return [Judgement(kind, expected=numpy.array(compute_expectations(answer, numbers)), actual=actual)]


def _compute_correlations(judgements: Sequence[Judgement], missed: Sequence[str], z: float) -> list[Result]:
    """The correlation of expected and actual activations over positives and one kind of negatives."""
    results = []
    for kind in NEGATIVES:
        both = [judgement for judgement in judgements if judgement.kind in (ACTIVE, kind)]
        if not any(judgement.kind == kind for judgement in both) and kind not in missed:
            continue
        estimate = None
        if {judgement.kind for judgement in both} == {ACTIVE, kind}:
            expected = [judgement.expected for judgement in both if judgement.expected is not None]
            actual = [judgement.actual for judgement in both if judgement.actual is not None]
            estimate = statistics.correlation(expected, actual, z)
        results.append(Result(kind, estimate, None, len(both), missed.count(ACTIVE) + missed.count(kind)))
    return results


METHODS: dict[str, Method] = {
    "detection": Method(_ask_detection, _read_yes_or_no, _compute_rates, 0.5),
    "fuzzing": Method(_ask_fuzzing, _read_yes_or_no, _compute_rates, 0.5),
    "intruder": Method(_ask_intruder, _read_intruder, _compute_shares, 1 / (COMPANY + 1)),
    "simulation": Method(_ask_simulation, _read_simulation, _compute_correlations, 0.0),
}
