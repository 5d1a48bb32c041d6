"""A Ray cluster joined for a while, or started on this machine. Knows nothing of what is done there."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

from featurestore.errors import Unavailable


@contextlib.contextmanager
def joined(address: str, processors: int | None = None) -> Iterator[Any]:
    """The module ray, connected to the cluster at an address ("host:port", "auto" for the one of this machine), or to one
    of so many processors that is started here and ends with this ("local"). One that is connected already is used, and
    stays.

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
        raise Unavailable(f"no Ray cluster answers at {address}: {str(exc).splitlines()[0][:200]}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raises OSError when nobody listens at host:port: Ray itself would ask for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
