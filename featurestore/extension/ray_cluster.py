"""Connects to a Ray cluster, or starts one on this machine. Knows nothing of the work that is done there."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

from featurestore.display.text import first_line
from featurestore.errors import Unavailable


@contextlib.contextmanager
def connect_cluster(address: str, processors: int | None = None) -> Iterator[Any]:
    """Give the module ray, connected to the cluster at `address`: "host:port", "auto" (the cluster of this machine) or
    "local".

    "local" starts a cluster of `processors` processors here, which ends with the context. A connection that exists
    already is used, and stays open.

    Raises Unavailable when Ray is not installed or no cluster answers.
    """
    try:
        import ray
    except ImportError:
        raise Unavailable("a cluster needs ray: pip install 'featurestore[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            ray.init(num_cpus=processors, include_dashboard=False, **quiet)
        else:
            _check_answers(address)
            ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as exc:
        raise Unavailable(f"no Ray cluster answers at {address}: {first_line(exc)}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise OSError when nothing listens at host:port: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
