"""What Prometheus reads at /metrics. Worker processes share counters where $PROMETHEUS_MULTIPROC_DIR is set."""

from __future__ import annotations

import functools
import os

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_registry = CollectorRegistry()
_requests = Counter("featurestore_requests", "Requests answered.", ["route", "status"], registry=_registry)
_seconds = Histogram(
    "featurestore_request_seconds", "Time to an answer's first byte.", ["route"], buckets=SECONDS, registry=_registry
)
_under_way = Gauge(
    "featurestore_requests_under_way", "Requests being answered.", registry=_registry, multiprocess_mode="livesum"
)
_refused = Counter(
    "featurestore_requests_refused", "Requests refused because too many came.", ["route"], registry=_registry
)
CONTENT_TYPE = CONTENT_TYPE_LATEST


@functools.cache
def _count_of(route: str, status: int) -> Counter:
    # Finding a child by its labels takes as long as counting with it.
    return _requests.labels(route, str(status))


@functools.cache
def _seconds_of(route: str) -> Histogram:
    return _seconds.labels(route)


def begin_request() -> None:
    """Count a request that came."""
    _under_way.inc()


def end_request() -> None:
    """Count a request that was answered or broken off."""
    _under_way.dec()


def record_answer(route: str, status: int, seconds: float) -> None:
    """Count an answer and the seconds until its first byte. `route` is the rule of the route: there are few of them."""
    _count_of(route, status).inc()
    _seconds_of(route).observe(seconds)
    if status == 429:
        _refused.labels(route).inc()


def render() -> bytes:
    """Return all metrics in Prometheus's text format."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)
    return generate_latest(_registry)
