"""Long work on a store, and how far it is. Frozen values."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

import msgspec

from featurestore.display import notebook
from featurestore.values.kinds import JobState
from featurestore.values.tables import Listing

KINDS = ("index", "compact", "check")  # the jobs that a service can start


class JobError(msgspec.Struct, frozen=True):
    """Why a job failed; `code` is the code of the error's class."""

    code: str
    detail: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of long work on a store.

    `state` is running, done, failed, cancelled or interrupted (its process died). `about` names what it works on.
    `doing` is the current stage, with `done` of `total` steps. `lines` say what was done; `rows` is the number of rows
    (features, labels or scores) that the store gained; `message` is a sentence with all of it.
    """

    id: str
    kind: str
    about: str
    state: JobState
    began: datetime.datetime
    changed: datetime.datetime
    doing: str | None = None
    done: int | None = None
    total: int | None = None
    rows: int | None = None
    lines: tuple[str, ...] = ()
    result: dict[str, Any] | None = None
    error: JobError | None = None
    message: str = ""

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.state}, {self.message}>"


class Jobs(Listing[Job]):
    """Jobs, the newest first: a list that can be a table too."""

    def __init__(self, values: Iterable[Job] = ()):
        super().__init__(Job, values)

    def _repr_html_(self) -> str:
        rows = [
            (notebook.render_code(job.id), job.about, job.state, job.began.isoformat(" ", "seconds"), job.message)
            for job in self
        ]
        return notebook.render_table(("job", "about", "state", "began", ""), rows)
