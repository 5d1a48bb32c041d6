"""/healthz and /readyz: for programs that restart a service, and for those that send requests to it."""

from __future__ import annotations

from featurestore.errors import FeatureStoreError, Unavailable
from featurestore.interface import FeatureStore
from featurestore.web.api.routes import answers
from featurestore.wire import questions
from featurestore.wire.answers import Health
from featurestore.wire.requests import Nothing


@answers(questions.HEALTHZ)
def healthz(store: FeatureStore, request: Nothing) -> Health:
    """Say that the process is alive."""
    return Health("ok")


@answers(questions.READYZ)
def readyz(store: FeatureStore, request: Nothing) -> Health:
    """Say that the store can be read. Raises Unavailable where it cannot."""
    try:
        store.dictionaries()
    except FeatureStoreError as exc:
        raise Unavailable(f"not ready: {exc}") from None
    return Health("ok")
