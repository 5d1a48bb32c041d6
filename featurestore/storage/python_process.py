"""Processes of our own Python: how they are started, and that they end with the process that started them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Mapping
from typing import Any


def start_python(
    module: str, *words: str, environment: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start `python -m module words...`; `environment` has variables beside those of this process, `options`
    are Popen's. Raises OSError where none can be started.

    -P: the directory in which a command is run may hold what was downloaded, and no code of it is run.
    """
    variables = os.environ | (environment or {}) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-P", "-m", module, *words], env=variables, **options)


def end_with_parent() -> None:
    """Wait until standard input is closed, and end this process at once, whatever it does. For a thread of its own."""
    poll = select.poll()
    poll.register(0, 0)  # nothing but the end
    poll.poll()
    os._exit(0)
