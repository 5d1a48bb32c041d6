"""What a language model is asked to judge a label by, and what its replies amount to. Pure: texts in, numbers out.

Each method makes a list of questions from a label and its texts; each reply becomes judgements; judgements become
results, those against random and against hard negatives apart. A reply that cannot be read makes no judgement.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from labeler.explainers.llm_explainer import STRONG_SHARE, MissingEvidence
from labeler.llm.endpoint import Answer
from labeler.llm.replies import UnreadableReply, parse_choice, parse_numbers
from labeler.prompts import Prompt
from labeler.scorers import statistics as statistics
from labeler.scorers.examples import Material, Text

TOGETHER = 10  # texts of one question
TOPS = 5  # likeliest tokens asked for with yes and no
TOPS_OF_NUMBERS = 20  # and with numbers: the most that the OpenAI API gives
ACTIVE, RANDOM, HARD = "active", "random", "hard"
NEGATIVES = (RANDOM, HARD)
COMPANY = 3  # texts that an intruder is among
STRONGEST = 10  # what the largest activation of a simulation is called
NOT_READ = "That was not readable: {problem}. Answer with one line of JSON and nothing else, as was asked."


class Judgement(NamedTuple):
    """What a judge said of one text, or for intruder of one group of texts.

    `kind` is ACTIVE, RANDOM or HARD: what the text is. `said` is whether it fits; `probability`, where known, how likely
    the judge found that. For simulation `expected` and `actual` are activations, a number a token.
    """

    kind: str
    said: bool = False
    probability: float | None = None
    expected: numpy.ndarray | None = None
    actual: numpy.ndarray | None = None


class Question(NamedTuple):
    """One question: the conversation, how it is to be answered, and what its `kinds` of texts are, for who counts failures."""

    messages: list[dict[str, str]]
    schema: dict[str, Any]
    max_tokens: int
    logprobs: int
    kinds: tuple[str, ...]
    texts: tuple[Text, ...]
    right: int = 0

    @property
    def about_out(self) -> int:
        """Tokens of a reply, more or less."""
        return 10 + 2 * (len(self.texts[0].tokens) if self.logprobs == TOPS_OF_NUMBERS else len(self.kinds))


class Result(NamedTuple):
    """A score; `value` and its interval are None where one side has no judgement."""

    negatives: str
    estimate: statistics.Estimate | None
    auc: float | None
    n: int
    failures: int


class Method(NamedTuple):
    """A way to score a label: its questions, what their answers say, what these amount to, and what chance would give."""

    questions: Callable[[str, Material, Prompt, str], list[Question]]
    read: Callable[[Question, Answer], list[Judgement]]
    results: Callable[[Sequence[Judgement], Sequence[str], float], list[Result]]
    baseline: float


def _detection(label: str, material: Material, prompt: Prompt, id: str) -> list[Question]:
    """Mixed texts, some of each kind in each question."""
    chosen = [(ACTIVE, one, one.text) for one in material.positives]
    chosen += [(RANDOM, one, one.text) for one in material.random]
    chosen += [(HARD, one, one.text) for one in material.hard]
    return _yes_or_no(label, chosen, prompt, f"detection of {id}")


def _fuzzing(label: str, material: Material, prompt: Prompt, id: str) -> list[Question]:
    """Marked texts: right marks; as many tokens on which the feature is silent (random); and the tokens that the
    examples of its neighbours are active on (hard). No text stands twice in one question."""
    chance = random.Random(f"marks of {id}")
    right: list[Any] = []
    wrong: list[Any] = []
    for n, one in enumerate(material.positives):
        active = _strong(one)
        silent = [at for at, value in enumerate(one.activations) if value == 0 and one.tokens[at].strip()]
        (right if n % 2 or len(silent) < len(active) else wrong).append((one, active, silent))
    chosen = [(ACTIVE, one, _marked(one, active)) for one, active, _ in right]
    for one, active, silent in wrong:
        chosen.append((RANDOM, one, _marked(one, set(chance.sample(silent, len(active))))))
    neighbours = [one for one in material.hard if any(one.activations)][: max(1, len(material.positives) // 2)]
    chosen += [(HARD, one, _marked(one, _strong(one))) for one in neighbours]
    return _yes_or_no(label, chosen, prompt, f"fuzzing of {id}")


def _strong(text: Text) -> set[int]:
    """The tokens that are marked: those with much of the text's largest activation."""
    largest = max(text.activations)
    return {at for at, value in enumerate(text.activations) if value > STRONG_SHARE * largest}


def _marked(text: Text, marks: set[int]) -> str:
    return "".join(f"<<{token}>>" if at in marks else token for at, token in enumerate(text.tokens))


def _yes_or_no(label: str, chosen: list[tuple[str, Text, str]], prompt: Prompt, seed: str) -> list[Question]:
    groups = max(1, math.ceil(len(chosen) / TOGETHER))
    chance = random.Random(seed)
    found = []
    for n in range(groups):
        some = chosen[n::groups]
        chance.shuffle(some)
        schema = _schema("answers", {"type": "array", "items": {"type": "integer", "enum": [0, 1]}})
        talk = _filled(prompt, label, [text for *_, text in some])
        kinds, texts = tuple(kind for kind, *_ in some), tuple(one for _, one, _ in some)
        found.append(Question(talk, schema, 200 + 8 * len(some), TOPS, kinds, texts))
    return found


def _filled(prompt: Prompt, label: str, texts: Sequence[str]) -> list[dict[str, str]]:
    listed = "\n".join(f"Text {n}:\n{text}\n" for n, text in enumerate(texts, 1))
    return prompt.fill({"label": label, "count": str(len(texts)), "texts": listed, "tokens": listed})


def _schema(name: str, value: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}
    return {"name": name, "schema": schema}


def _read_yes_or_no(question: Question, answer: Answer) -> list[Judgement]:
    """Raises UnreadableReply unless there is one 0 or 1 for each text."""
    said = parse_numbers(answer, "answers", len(question.kinds))
    if any(one not in (0, 1) for one in said):
        raise UnreadableReply("an answer that is neither 0 nor 1")
    sure = probabilities(answer, [int(one) for one in said])
    return [
        Judgement(kind, bool(one), None if sure is None else sure[at])
        for at, (kind, one) in enumerate(zip(question.kinds, said, strict=True))
    ]


def probabilities(answer: Answer, said: Sequence[int]) -> list[float] | None:
    """How likely 1 was in the place of each 0 or 1 of a reply, where the reply's tokens tell; else None."""
    if answer.logprobs is None:
        return None
    found: list[tuple[int, float]] = []
    for token, tops in answer.logprobs:
        digits = re.findall(r"\d", token)
        if len(digits) > 1:
            return None  # several answers in one token
        if digits and digits[0] in "01":
            shares = {"0": 0.0, "1": 0.0}
            for other, logprob in (tops or {token: 0.0}).items():
                if re.sub(r"\D", "", other) in shares:
                    shares[re.sub(r"\D", "", other)] += math.exp(logprob)
            total = sum(shares.values())
            found.append((int(digits[0]), shares["1"] / total if total else float(digits[0])))
    last = found[len(found) - len(said) :]
    return [share for _, share in last] if [digit for digit, _ in last] == list(said) else None


def _rates(judgements: Sequence[Judgement], failed: Sequence[str], z: float) -> list[Result]:
    """Balanced accuracy, and the area where every answer came with its probability."""
    active = [one for one in judgements if one.kind == ACTIVE]
    found = []
    for kind in NEGATIVES:
        others = [one for one in judgements if one.kind == kind]
        failures = failed.count(ACTIVE) + failed.count(kind)
        if not others and kind not in failed:
            continue
        estimate = area = None
        if active and others:
            hits, rejections = sum(one.said for one in active), sum(not one.said for one in others)
            estimate = statistics.balanced_accuracy(hits, len(active), rejections, len(others), z)
            sure = [[one.probability for one in some if one.probability is not None] for some in (active, others)]
            if all(len(some) == len(of) for some, of in zip(sure, (active, others), strict=True)):
                area = statistics.area(*sure)
        found.append(Result(kind, estimate, area, len(active) + len(others), failures))
    return found


def _intruder(label: str, material: Material, prompt: Prompt, id: str) -> list[Question]:
    """Three texts the feature is active on and one of another kind."""
    found = []
    chance = random.Random(f"intruder of {id}")
    for n in range(max(len(material.random), len(material.hard))):
        for kind, others in ((RANDOM, material.random), (HARD, material.hard)):
            if n < len(others) and len(material.positives) >= COMPANY:
                texts = [*chance.sample(material.positives, COMPANY), others[n]]
                chance.shuffle(texts)
                right = texts.index(others[n]) + 1
                schema = _schema("intruder", {"type": "integer"})
                talk = _filled(prompt, label, [one.text for one in texts])
                found.append(Question(talk, schema, 200, 0, (kind,), tuple(texts), right))
    # A few questions tell as much as one of ten texts.
    return found[: 2 * TOGETHER]


def _read_intruder(question: Question, answer: Answer) -> list[Judgement]:
    """Raises UnreadableReply unless the reply names one of the texts."""
    said = parse_choice(answer, "intruder", len(question.texts))
    return [Judgement(question.kinds[0], said == question.right)]


def _found_out(judgements: Sequence[Judgement], failed: Sequence[str], z: float) -> list[Result]:
    found = []
    for kind in NEGATIVES:
        some = [one.said for one in judgements if one.kind == kind]
        if some or kind in failed:
            estimate = statistics.wilson(sum(some), len(some), z) if some else None
            found.append(Result(kind, estimate, None, len(some), failed.count(kind)))
    return found


def _simulation(label: str, material: Material, prompt: Prompt, id: str) -> list[Question]:
    """One text a question, in turn of each kind."""
    found = []
    schema = _schema("activations", {"type": "array", "items": {"type": "integer"}})
    each = [(ACTIVE, material.positives), (RANDOM, material.random), (HARD, material.hard)]
    for n in range(TOGETHER):
        for kind, texts in each:
            if n < len(texts):
                tokens = texts[n].tokens
                listed = "\n".join(f"{at}: {token!r}" for at, token in enumerate(tokens, 1))
                values = {"label": label, "count": str(len(tokens)), "texts": listed, "tokens": listed}
                most = 200 + 6 * len(tokens)
                found.append(Question(prompt.fill(values), schema, most, TOPS_OF_NUMBERS, (kind,), (texts[n],)))
    return found


def _read_simulation(question: Question, answer: Answer) -> list[Judgement]:
    """Raises UnreadableReply unless there is a number for each token, and MissingEvidence when the endpoint tells no probabilities."""
    (text,), (kind,) = question.texts, question.kinds
    said = parse_numbers(answer, "activations", len(text.tokens))
    if answer.logprobs is None:
        raise MissingEvidence("the endpoint offers no log-probabilities")
    actual = numpy.array(text.activations if kind == ACTIVE else [0.0] * len(text.tokens))
    return [Judgement(kind, expected=numpy.array(expectations(answer, said)), actual=actual)]


def expectations(answer: Answer, said: Sequence[float]) -> list[float]:
    """The mean of the numbers that were likely in the place of each one said, each counted by its probability.

    Raises UnreadableReply when the reply's tokens are not those numbers one by one.
    """
    found: list[tuple[float, float]] = []
    for token, tops in answer.logprobs or ():
        number = re.fullmatch(r"\D*(\d+)\D*", token)
        if number:
            likely = [(re.sub(r"\D", "", other), logprob) for other, logprob in (tops or {token: 0.0}).items()]
            shares = {int(n): 0.0 for n, _ in likely if n and int(n) <= STRONGEST}
            for n, logprob in likely:
                if n and int(n) <= STRONGEST:
                    shares[int(n)] += math.exp(logprob)
            total = sum(shares.values())
            mean = sum(n * share for n, share in shares.items()) / total if total else float(number[1])
            found.append((float(number[1]), mean))
    last = found[len(found) - len(said) :]
    if [number for number, _ in last] != list(said):
        raise UnreadableReply("numbers that are not one token each")
    return [mean for _, mean in last]


def _correlations(judgements: Sequence[Judgement], failed: Sequence[str], z: float) -> list[Result]:
    found = []
    for kind in NEGATIVES:
        some = [one for one in judgements if one.kind in (ACTIVE, kind)]
        if not any(one.kind == kind for one in some) and kind not in failed:
            continue
        both = {one.kind for one in some} == {ACTIVE, kind}
        estimate = None
        if both:
            expected = [one.expected for one in some if one.expected is not None]
            actual = [one.actual for one in some if one.actual is not None]
            estimate = statistics.correlation(expected, actual, z)
        found.append(Result(kind, estimate, None, len(some), failed.count(ACTIVE) + failed.count(kind)))
    return found


METHODS: dict[str, Method] = {
    "detection": Method(_detection, _read_yes_or_no, _rates, 0.5),
    "fuzzing": Method(_fuzzing, _read_yes_or_no, _rates, 0.5),
    "intruder": Method(_intruder, _read_intruder, _found_out, 1 / (COMPANY + 1)),
    "simulation": Method(_simulation, _read_simulation, _correlations, 0.0),
}
