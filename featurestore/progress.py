"""How long work reports its progress: one protocol for the store, the harvest and the labeler."""

from __future__ import annotations

from typing import Protocol


class Stage(Protocol):
    """One stage of long work.

    Call it with the number of steps done since the last call, and optionally with the state of the work in a few words.
    """

    def __call__(self, steps: int, state: str | None = None, /) -> None: ...


class Progress(Protocol):
    """Begins a stage of `total` steps (None: the number is not known) and returns it.

    A stage ends when the next begins. Where the store takes a progress, its stages are called with steps alone, so that
    a plain function of one argument serves as a stage.
    """

    def __call__(self, description: str, total: int | None, /) -> Stage: ...


def no_progress(description: str, total: int | None, /) -> Stage:
    """Return a stage that reports nothing."""
    return lambda steps, state=None: None
