"""A supervised command ends when the pipe to its standard input is closed."""

import subprocess
import sys
import time
from pathlib import Path

from tests.support import ROOT


def test_what_a_supervised_command_started_ends_with_the_pipe(tmp_path):
    """Also what its own children started, and one that does not listen to a polite signal."""
    said = tmp_path / "pids"
    script = f"trap '' TERM; sleep 600 & echo $! $$ > {said}; wait"
    code = f"from labeler.llm import supervise; supervise.PATIENCE = 0.1; supervise.run(['sh', '-c', {script!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=ROOT)
    while not (said.exists() and said.read_text().endswith("\n")):
        time.sleep(0.01)
    pids = [int(pid) for pid in said.read_text().split()]
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    process.stdin.close()
    process.wait(60)
    until = time.monotonic() + 60
    while any(alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(alive(pid) for pid in pids)


def alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
