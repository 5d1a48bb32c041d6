"""One label scored by one method: what is asked about it, when enough has been, and the rows that come of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from labeler.explainers.llm_explainer import MissingEvidence
from labeler.llm.asker import Asker, Waits
from labeler.llm.endpoint import Answer, Messages, Refused
from labeler.llm.replies import UnreadableReply, ask_until_readable
from labeler.prompts import Prompt
from labeler.scorers.examples import Material
from labeler.scorers.methods import METHODS, NOT_READ, TOGETHER, Judgement, Question, Result
from labeler.scorers.sample import Target
from labeler.scorers.statistics import deviations


class Judge:
    """A language model that judges labels. Safe to share between threads."""

    def __init__(self, asker: Asker, prompts: Mapping[str, Prompt], threshold: float | None, sampled: bool):
        """`prompts` by method. With `threshold` no more is asked about a label once its intervals are on one side of it."""
        self.asker, self.prompts, self.threshold, self.sampled = asker, prompts, threshold, sampled

    def score(self, name: str, target: Target, material: Material) -> list[dict[str, Any]]:
        """The scores of a label by a method. Raises MissingEvidence; Refused when every question was; Waits where answers are to come."""
        method, prompt = METHODS[name], self.prompts[name]
        # What is asked depends on the feature, not on the label: labels are compared on the same texts.
        questions = method.questions(target.label, material, prompt, target.id)
        if not questions:
            raise MissingEvidence("no texts to tell them from")
        step = max(1, TOGETHER // 2 // len(questions[0].kinds))
        looks = math.ceil(len(questions) / step) if self.threshold is not None else 1
        z = deviations(looks)
        judged: list[Judgement] = []
        missed: list[str] = []
        answers: list[Answer] = []
        refused: list[Refused] = []
        stopped = waits = False
        for asked, question in enumerate(questions, 1):
            try:
                judged += self._ask(name, question, target.id, answers)
            except UnreadableReply:
                missed += question.kinds
            except Refused as exc:
                refused.append(exc)
                missed += question.kinds
            except Waits:  # the other questions may wait together with this one
                waits = True
            if self.threshold is None or asked % step or asked == len(questions):
                continue
            if waits or self._decided(method.results(judged, missed, z)):
                stopped = True
                break
        if waits:
            raise Waits
        if len(refused) == len(questions):
            raise refused[0]
        results = method.results(judged, missed, z)
        return self._rows(name, target, material, results, answers, stopped)

    def _ask(self, name: str, question: Question, about: str, answers: list[Answer]) -> list[Judgement]:
        """A question's judgements; asked once more when the reply cannot be read. Raises UnreadableReply and Refused."""
        method = METHODS[name]

        def ask(messages: Messages, **settings: Any) -> Answer:
            answers.append(self.asker.ask(messages, about=about, **settings))
            return answers[-1]

        judgements, _ = ask_until_readable(
            ask,
            question.messages,
            lambda answer: method.read(question, answer),
            NOT_READ,
            max_tokens=question.max_tokens,
            schema=question.schema,
            logprobs=question.logprobs,
        )
        return judgements

    def _decided(self, results: Sequence[Result]) -> bool:
        """Whether every interval lies on one side of the threshold."""
        ends, threshold = [one.estimate for one in results], self.threshold or 0.0
        return bool(ends) and all(one is not None and (one.low > threshold or one.high < threshold) for one in ends)

    def _rows(
        self,
        name: str,
        target: Target,
        material: Material,
        results: Sequence[Result],
        answers: Sequence[Answer],
        stopped: bool,
    ) -> list[dict[str, Any]]:
        """Rows of stored.scores. What the answers cost is shared between them."""
        made = []
        for at, one in enumerate(results):
            tokens_in, tokens_out = (
                total // len(results) + (at == 0) * (total % len(results))
                for total in (sum(answer.tokens_in for answer in answers), sum(answer.tokens_out for answer in answers))
            )
            judged = {"judge": self.asker.model, "prompt": self.prompts[name].id, "stopped": stopped}
            row = row_of(target, name, one, METHODS[name].baseline, material.examples, self.sampled)
            made.append(row | judged | self.asker.cost(tokens_in, tokens_out))
        return made


def row_of(
    target: Target, method: str, result: Result, baseline: float, examples: str, sampled: bool
) -> dict[str, Any]:
    """A result as a row of stored.scores, without what is said of its judge and its cost."""
    one = result.estimate
    return {
        "dictionary": target.dictionary,
        "feature": target.feature,
        "label": target.label,
        "explainer": target.explainer,
        "method": method,
        "negatives": result.negatives,
        "value": one and one.value,
        "low": one and one.low,
        "high": one and one.high,
        "baseline": baseline,
        "auc": result.auc,
        "n": result.n,
        "failures": result.failures,
        "examples": examples,
        "sampled": sampled,
        "stopped": False,
    }
