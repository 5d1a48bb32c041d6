"""Long work that is done on a store. Frozen values."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

import msgspec

from featurestore.display import notebook
from featurestore.values.tables import Listing

KINDS = ("index", "compact", "check")  # what a service starts


class JobError(msgspec.Struct, frozen=True):
    """Why a job failed; `code` is that of the errors."""

    code: str
    detail: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of long work, as it says of itself.

    `state` is running, done, failed, cancelled or interrupted (its process died). `about` is what it works on. `doing` is the
    stage it is at, of which `done` of `total` steps are made. `lines` say what it did, `rows` how many rows of its own
    kind (features, labels, scores) the store gained meanwhile; `message` is all of it in a sentence.
    """

    id: str
    kind: str
    about: str
    state: str
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
    """Jobs, the newest first, as a list."""

    def __init__(self, values: Iterable[Job] = ()):
        super().__init__(Job, values)

    def _repr_html_(self) -> str:
        rows = [
            (notebook.code(one.id), one.about, one.state, one.began.isoformat(" ", "seconds"), one.message)
            for one in self
        ]
        return notebook.table(("job", "about", "state", "began", ""), rows)
