"""Whether a model answers readably at all: one that never does is not asked until the budget is gone."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from labeler.llm.completions import Answer

MOST_UNREADABLE = 30  # questions without a readable answer, when none had one


class NeverReadable(Exception):
    """No answer of the run could be read. The message says how many were asked and what may help."""


class Readability:
    """Counts of one run. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readable = self._unreadable = 0
        self._problem = ""

    def record(self, answers: Sequence[Answer], problem: str | None) -> None:
        """Count a question: its answers, and why they could not be read, or None.

        Answers of the journal that could not be read do not count: an earlier run asked for them.
        """
        with self._lock:
            if problem is None:
                self._readable += 1
            elif any(not answer.cached for answer in answers):
                self._unreadable, self._problem = self._unreadable + 1, problem

    def check(self) -> None:
        """Raise NeverReadable when many questions were answered and no answer could be read."""
        with self._lock:
            if self._readable or self._unreadable < MOST_UNREADABLE:
                return
        raise NeverReadable(
            f"none of {self._unreadable:,} questions had an answer that could be read (the last: {self._problem}); look at the "
            "journal, and try another model or prompt, or --max-tokens where answers are cut off"
        )
