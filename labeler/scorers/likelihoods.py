"""What the log-probabilities of a reply's tokens tell beside the reply. Knows nothing of questions, labels or texts."""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Sequence

from labeler.llm.completions import Answer, UnreadableReply

STRONGEST = 10  # the largest activation that a simulation may predict


def read_probabilities(answer: Answer, digits: Sequence[int]) -> list[float] | None:
    """The probability of 1 in the place of each 0 or 1 of a reply; None where the reply's tokens do not tell."""
    if answer.logprobs is None:
        return None
    pairs: list[tuple[int, float]] = []
    for token, likely in answer.logprobs:
        in_token = re.findall(r"\d", token)
        if len(in_token) > 1:
            return None  # several answers in one token
        if in_token and in_token[0] in "01":
            shares = {"0": 0.0, "1": 0.0}
            for other, logprob in (likely or {token: 0.0}).items():
                if re.sub(r"\D", "", other) in shares:
                    shares[re.sub(r"\D", "", other)] += math.exp(logprob)
            total = sum(shares.values())
            pairs.append((int(in_token[0]), shares["1"] / total if total else float(in_token[0])))
    last = pairs[len(pairs) - len(digits) :]
    return [share for _, share in last] if [digit for digit, _ in last] == list(digits) else None


def compute_expectations(answer: Answer, numbers: Sequence[float]) -> list[float]:
    """For each number of the reply the mean of the numbers that were likely in its place, weighted by probability.

    Raises UnreadableReply when the reply's tokens are not those numbers one by one.
    """
    pairs: list[tuple[float, float]] = []
    for token, likely in answer.logprobs or ():
        match = re.fullmatch(r"\D*(\d+)\D*", token)
        if match:
            shares: dict[int, float] = collections.defaultdict(float)
            for other, logprob in (likely or {token: 0.0}).items():
                digits = re.sub(r"\D", "", other)
                if digits and int(digits) <= STRONGEST:
                    shares[int(digits)] += math.exp(logprob)
            total = sum(shares.values())
            mean = sum(n * share for n, share in shares.items()) / total if total else float(match[1])
            pairs.append((float(match[1]), mean))
    last = pairs[len(pairs) - len(numbers) :]
    if [number for number, _ in last] != list(numbers):
        raise UnreadableReply("numbers that are not one token each")
    return [mean for _, mean in last]
