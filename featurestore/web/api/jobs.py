"""/v1/jobs: long work on the store, how far it is, and starting its maintenance where the service takes writes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from flask import Response

from featurestore.interface import FeatureStore
from featurestore.values.jobs import KINDS, Job
from featurestore.web import responses
from featurestore.web.api.models import Asked, Nothing, told
from featurestore.web.api.routes import Routes


class JobAsked(Asked, frozen=True):
    """Which work to start."""

    kind: Annotated[str, told("What to do: index (compacts first), compact or check.", enum=list(KINDS))]


class JobList(msgspec.Struct, frozen=True):
    """Every job that is known, the newest first."""

    jobs: list[Job]


def routes(store: FeatureStore) -> Routes:
    """The routes over `store`."""
    api = Routes("jobs")

    @api.add("/jobs", gives=JobList)
    def jobs(asked: Nothing) -> JobList:
        """Harvests, labelling, scoring and maintenance of the store that run or ran of late, the newest first."""
        return JobList(store.jobs())

    @api.add("/jobs/<job>", gives=Job)
    def job(asked: Nothing, job: str) -> Job:
        """One job: its state, how far it is, what came of it."""
        return store.job(job)

    @api.add("/jobs", gives=Job, takes=JobAsked, methods=("POST",), scope="write", lane="write", status=202)
    def start_job(asked: JobAsked) -> Response:
        """Start a maintenance in its own process, one of a kind at a time; Location says where to ask after it."""
        started = store.start_job(asked.kind)
        answer = responses.json(started, 202)
        answer.headers["Location"] = f"/v1/jobs/{started.id}"
        return answer

    @api.add("/jobs/<job>", gives=Job, methods=("DELETE",), scope="write", lane="write")
    def cancel_job(asked: Nothing, job: str) -> Job:
        """End a job that a service started, or forget one that has ended."""
        return store.cancel_job(job)

    return api
