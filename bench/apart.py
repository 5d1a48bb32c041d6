"""A measurement in a process of its own, so that its memory and its threads are its own."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from typing import Any

PROCESSES = multiprocessing.get_context("spawn")


def apart(work: Callable[..., Any], *arguments: Any) -> None:
    """Runs it there and waits; ends this process too when it fails. What it finds goes into a dict of
    PROCESSES.Manager()."""
    process = PROCESSES.Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{getattr(work, '__name__', work)} ended with {process.exitcode}")
