"""The command line as a user has it: a process of its own for each command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.support import ROOT

PROGRAM = [sys.executable, "-c", "from featurestore.cli.main import main; main(prog_name='featurestore')"]


def run_command(*arguments: object, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, whatever it says."""
    known = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_worker_niceness": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        env=os.environ | known | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def read_rows(*arguments: object, **environment: str) -> list[dict[str, Any]]:
    """Run a command that succeeds with --json; the objects it printed."""
    done = run_command(*arguments, "--json", **environment)
    assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
