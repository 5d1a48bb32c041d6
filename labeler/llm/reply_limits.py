"""How far a run goes: the tokens of a reply, more of them for all when many were cut off, and whether replies are
readable at all. Knows nothing of what is in them.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Sequence

from labeler.llm.completions import MAX_LIMIT, RETRY_TOKENS, Answer

WINDOW, MOST_CUT, CUT_SHARE = 20, 3, 0.25  # of the last so many replies more than that were cut off: the limit rises
MOST_UNREADABLE = 30  # questions without a readable answer, when none had one


class ReplyLimits:
    """The limits of one run. Safe to share between threads.

    The limits of a question are what was wanted for it, four times that, sixteen times that and so on, so that the
    journal finds its answer whatever the limit was when it was asked.
    """

    def __init__(self, fixed: int | None = None):
        """With `fixed` every reply may have so many tokens, and no limit is raised."""
        self.fixed = fixed
        self._floor = 0
        self._cut: collections.deque[int] = collections.deque(maxlen=WINDOW)  # limits of cut replies, 0 for whole ones
        self._lock = threading.Lock()

    @property
    def floor(self) -> int:
        """The limit that no question begins below any more, or 0."""
        return self._floor

    def list_limits(self, wanted: int) -> list[int]:
        """Return the limits under which a question may have been asked, the first one first."""
        if self.fixed is not None:
            return [self.fixed]
        limits = [wanted]
        while limits[-1] * RETRY_TOKENS <= MAX_LIMIT:
            limits.append(limits[-1] * RETRY_TOKENS)
        return limits

    def choose(self, wanted: int) -> int:
        """Return the limit under which a question is asked now."""
        limits = self.list_limits(wanted)
        return next((limit for limit in limits if limit >= self._floor), limits[-1])

    def record(self, limit: int, cut: bool) -> None:
        """Note whether a reply was cut off; when many were, the next questions begin with four times their limit."""
        with self._lock:
            self._cut.append(limit if cut else 0)
            limits = [limit for limit in self._cut if limit]
            if len(limits) >= MOST_CUT and len(limits) >= CUT_SHARE * len(self._cut):
                self._floor = max(self._floor, RETRY_TOKENS * min(limits))
                self._cut.clear()


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
            f"none of {self._unreadable:,} questions had an answer that could be read (the last: {self._problem}); "
            "look at the journal, and try another model or prompt"
        )
