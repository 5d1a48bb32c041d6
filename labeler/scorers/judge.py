"""One label scored by one method: what is asked about it, when the answers suffice, and the rows of its scores."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from labeler.explainers.llm_explainer import MissingEvidence
from labeler.llm.asker import AnswerPending, Asker
from labeler.llm.completions import Answer, Messages, UnreadableReply
from labeler.llm.endpoint import RequestRefused
from labeler.prompts import Prompt
from labeler.replies.reader import ask_until_readable
from labeler.scorers.examples import Material
from labeler.scorers.methods import METHODS, REMINDER, TOGETHER, Judgement, Question, Result
from labeler.scorers.sample import Target
from labeler.scorers.statistics import deviations


@dataclasses.dataclass
class _Replies:
    """What came of the questions about one label: `missed` are the kinds of the texts that were not judged."""

    judgements: list[Judgement] = dataclasses.field(default_factory=list)
    missed: list[str] = dataclasses.field(default_factory=list)
    answers: list[Answer] = dataclasses.field(default_factory=list)
    refusals: list[RequestRefused] = dataclasses.field(default_factory=list)
    pending: bool = False


class Judge:
    """A language model that judges labels. Safe to share between threads."""

    def __init__(self, asker: Asker, prompts: Mapping[str, Prompt], threshold: float | None, representative: bool):
        """`prompts` by method.

        With `threshold` no more is asked about a label once its intervals are on one side of it.

        `representative`: the scored labels stand for all of their dictionaries'.
        """
        self.asker, self.prompts = asker, prompts
        self.threshold, self.representative = threshold, representative

    def score(self, name: str, target: Target, material: Material) -> list[dict[str, Any]]:
        """The scores of a label by a method, as rows of stored.scores.

        Raises MissingEvidence; RequestRefused when the endpoint refused every question; AnswerPending in a batch.
        """
        method, prompt = METHODS[name], self.prompts[name]
        # What is asked depends on the feature, not on the label: labels are compared on the same texts.
        questions = method.ask(target.label, material, prompt, target.id)
        if not questions:
            raise MissingEvidence("no texts to tell them from")
        step = max(1, TOGETHER // 2 // len(questions[0].kinds))
        looks = math.ceil(len(questions) / step) if self.threshold is not None else 1
        z = deviations(looks)
        replies = _Replies()
        stopped = False
        for count, question in enumerate(questions, 1):
            self._collect(name, question, target.id, replies)
            if self.threshold is None or count % step or count == len(questions):
                continue
            if replies.pending or self._is_decided(method.summarize(replies.judgements, replies.missed, z)):
                stopped = True
                break
        if replies.pending:
            raise AnswerPending
        if len(replies.refusals) == len(questions):
            raise replies.refusals[0]
        results = method.summarize(replies.judgements, replies.missed, z)
        return self._build_rows(name, target, material, results, replies.answers, stopped)

    def _collect(self, name: str, question: Question, about: str, replies: _Replies) -> None:
        """Ask a question and add what came of it to the replies."""
        try:
            replies.judgements += self._ask(name, question, about, replies.answers)
        except UnreadableReply:
            replies.missed += question.kinds
        except RequestRefused as exc:
            replies.refusals.append(exc)
            replies.missed += question.kinds
        except AnswerPending:  # the other questions may be waited for together with this one
            replies.pending = True

    def _ask(self, name: str, question: Question, about: str, answers: list[Answer]) -> list[Judgement]:
        """A question's judgements; asked once more when the reply cannot be read.

        Raises UnreadableReply, RequestRefused or AnswerPending.
        """
        method, before = METHODS[name], len(answers)

        def ask(messages: Messages, **settings: Any) -> Answer:
            """Ask, and keep the answer for the rows' cost."""
            answers.append(self.asker.ask(messages, about=about, **settings))
            return answers[-1]

        try:
            judgements, _ = ask_until_readable(
                ask,
                question.messages,
                lambda answer: method.read(question, answer),
                REMINDER,
                max_tokens=question.max_tokens,
                schema=question.schema,
                logprobs=question.logprobs,
            )
        except UnreadableReply as exc:
            self.asker.readability.record(answers[before:], str(exc))
            raise
        self.asker.readability.record(answers[before:], None)
        return judgements

    def _is_decided(self, results: Sequence[Result]) -> bool:
        """Whether every interval is on one side of the threshold."""
        estimates, threshold = [result.estimate for result in results], self.threshold or 0.0
        return bool(estimates) and all(
            estimate is not None and (estimate.low > threshold or estimate.high < threshold) for estimate in estimates
        )

    def _build_rows(
        self,
        name: str,
        target: Target,
        material: Material,
        results: Sequence[Result],
        answers: Sequence[Answer],
        stopped: bool,
    ) -> list[dict[str, Any]]:
        """Rows of stored.scores, which share the cost of the answers."""
        tokens_in, tokens_out = (
            sum(answer.tokens_in for answer in answers),
            sum(answer.tokens_out for answer in answers),
        )
        rows = []
        for number, result in enumerate(results):
            share_in, share_out = (
                total // len(results) + (number == 0) * (total % len(results)) for total in (tokens_in, tokens_out)
            )
            judged = {"judge": self.asker.model, "prompt": self.prompts[name].id, "stopped": stopped}
            baseline = METHODS[name].baseline
            row = build_row(target, name, result, baseline, material.examples, self.representative)
            rows.append(row | judged | self.asker.price(share_in, share_out))
        return rows


def build_row(
    target: Target, method: str, result: Result, baseline: float, examples: str, representative: bool
) -> dict[str, Any]:
    """A result as a row of stored.scores, without its judge, prompt and cost."""
    estimate = result.estimate
    return {
        "dictionary": target.dictionary,
        "feature": target.feature,
        "label": target.label,
        "explainer": target.explainer,
        "method": method,
        "negatives": result.negatives,
        "value": estimate and estimate.value,
        "low": estimate and estimate.low,
        "high": estimate and estimate.high,
        "baseline": baseline,
        "auc": result.auc,
        "n": result.n,
        "failures": result.failures,
        "examples": examples,
        "sampled": representative,
        "stopped": False,
    }
