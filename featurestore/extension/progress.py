"""How commands show the progress of long work, and keep a record of it among the store's jobs."""

from __future__ import annotations

import contextlib
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from featurestore.display.text import show_controls
from featurestore.extension.output import open_console
from featurestore.progress import Progress, Stage, no_progress

if TYPE_CHECKING:
    from featurestore.maintenance.job_records import JobRecord

__all__ = ["Progress", "Stage", "no_progress", "show_progress"]


@contextlib.contextmanager
def show_progress(store: str | None = None, kind: str = "", about: str = "") -> Iterator[Progress]:
    """Show the stages of the work inside on stderr: bars on a terminal, elsewhere one line as each stage ends.

    With a `store` (its location) the work is also recorded there, as a job of this `kind` (see `featurestore jobs`),
    from its first stage on. `about` says what it works on; it must contain no path. Stages without steps (a total of 0)
    are neither shown nor recorded. An exception is passed on, and ends the record as failed or interrupted.
    """
    with contextlib.ExitStack() as stack:
        stages = _Stages(_Record(store, kind, about, stack) if store is not None else None)
        try:
            yield stages.begin
        except BaseException:
            stages.abandon()
            raise
        stages.end()


class _Stages:
    """The stages of one piece of work, shown one after another."""

    def __init__(self, record: _Record | None):
        self._record = record
        self._shown: _ShownStage | None = None

    def begin(self, description: str, total: int | None, /) -> Stage:
        """End the stage that is shown, and begin the next."""
        self.end()
        if total == 0:
            return no_progress(description, total)
        shown = self._shown = _Bar(description, total) if sys.stderr.isatty() else _Line(description, total)
        report = self._record.begin(description, total) if self._record else no_progress(description, total)

        def advance(steps: int, state: str | None = None, /) -> None:
            shown.advance(steps, state)
            report(steps, state)

        return advance

    def end(self) -> None:
        """End the stage that is shown, if any."""
        if self._shown is not None:
            self._shown.end()
        self._shown = None

    def abandon(self) -> None:
        """Stop showing the stage, which failed."""
        if self._shown is not None:
            self._shown.close()
        self._shown = None


class _Record:
    """The record of a command among the store's jobs. It begins with the first stage: quick work has none."""

    def __init__(self, store: str, kind: str, about: str, stack: contextlib.ExitStack):
        self._store, self._kind, self._about, self._stack = store, kind, about, stack
        self._begun = False
        self._record: JobRecord | None = None

    def begin(self, description: str, total: int | None) -> Stage:
        """Begin a stage in the record."""
        from featurestore.maintenance.job_records import keep_record
        from featurestore.storage.locations import storage_at

        if not self._begun:
            self._begun = True
            self._record = self._stack.enter_context(keep_record(storage_at(self._store), self._kind, self._about))
        return (self._record.stage if self._record else no_progress)(description, total)


class _ShownStage(ABC):
    """One stage on stderr. It ends by itself when all its steps are done; later steps are ignored."""

    def __init__(self, total: int | None):
        self._total, self._done, self._ended = total, 0, False

    def advance(self, steps: int, state: str | None) -> None:
        """Show that `steps` more are done, and the state of the work in a few words."""
        if self._ended:
            return
        self._done += steps
        self.show(steps, state)
        if self._total is not None and self._done >= self._total:
            self.end()

    def end(self) -> None:
        """Show that the stage has ended, once."""
        if not self._ended:
            self._ended = True
            self.finish()

    def close(self) -> None:
        """Stop showing a stage that failed."""
        self._ended = True

    @abstractmethod
    def show(self, steps: int, state: str | None) -> None:
        """Show `steps` more."""

    @abstractmethod
    def finish(self) -> None:
        """Show the end."""


class _Line(_ShownStage):
    """One line when the stage has ended: its steps, its seconds and its last state."""

    def __init__(self, description: str, total: int | None):
        super().__init__(total)
        self._description, self._state = description, ""
        self._began = time.monotonic()
        self._last_step: float | None = None

    def show(self, steps: int, state: str | None) -> None:
        self._last_step = time.monotonic()
        if state is not None:
            self._state = f", {state}"

    def finish(self) -> None:
        seconds = (self._last_step or time.monotonic()) - self._began
        click.echo(f"{self._description}: {self._done:,} in {seconds:.1f} s{self._state}", err=True)


class _Bar(_ShownStage):
    """A progress bar on a terminal, with the state beside the description."""

    def __init__(self, description: str, total: int | None):
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        super().__init__(total)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # What a command prints into a pipe meanwhile must get there.
        self._bars = Bars(*columns, console=open_console(stderr=True), redirect_stdout=sys.stdout.isatty())
        self._description = description
        self._task = self._bars.add_task(description, total=total)
        self._bars.start()
        for stream in ("stdout", "stderr"):
            # Rich prints what is written meanwhile above the bars, and would take control sequences in it for styles.
            redirected = getattr(sys, stream)
            if type(redirected).__name__ == "FileProxy":
                write = redirected.write
                redirected.write = lambda text, write=write: write(show_controls(text))

    def show(self, steps: int, state: str | None) -> None:
        described = None if state is None else f"{self._description}: {state}"
        self._bars.update(self._task, advance=steps, description=described)

    def finish(self) -> None:
        self._bars.stop()

    def close(self) -> None:
        super().close()
        self._bars.stop()
