"""/v1/jobs: starting maintenance, where the service takes writes."""

from __future__ import annotations

from flask import Response

from featurestore.interface import FeatureStore
from featurestore.web import responses
from featurestore.web.api.routes import answers
from featurestore.wire import questions
from featurestore.wire.requests import JobRequest


@answers(questions.START_JOB)
def start_job(store: FeatureStore, request: JobRequest) -> Response:
    """Start a maintenance; the answer's Location is where to ask after it."""
    job = store.start_job(request.kind)
    answer = responses.json(job, questions.START_JOB.status)
    answer.headers["Location"] = f"/v1/jobs/{job.id}"
    return answer
