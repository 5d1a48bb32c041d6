"""Run a measurement in a new process, so that its memory and threads are counted alone."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from typing import Any

PROCESSES = multiprocessing.get_context("spawn")


def apart(work: Callable[..., Any], *arguments: Any) -> None:
    """Run `work(*arguments)` in a new process and wait for it; exit when it fails.

    `work` returns results by filling a dict of PROCESSES.Manager().
    """
    process = PROCESSES.Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{getattr(work, '__name__', work)} ended with {process.exitcode}")
