"""python -m labeler.llm.supervise COMMAND...: runs a command, and ends it and all it started when standard input is closed.

Whoever starts a server through this holds the other end of the pipe: however that process ends, the server ends too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

PATIENCE = 10.0  # seconds between asking the command to end and ending it


def run(command: list[str]) -> int:
    """The command's exit code."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as exc:
        print(f"{command[0]}: {exc.strerror}", file=sys.stderr)
        return 127

    def end_with_stdin() -> None:
        while os.read(0, 1024):
            pass
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        _signal(process, signal.SIGKILL)

    threading.Thread(target=end_with_stdin, daemon=True).start()
    try:
        return process.wait()
    finally:
        _signal(process, signal.SIGKILL)  # what the command left behind


def _signal(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    # Ray kills the children of an actor that ends, and its process group: who guards is a child's child in a session of its own.
    guard = os.fork()
    if guard:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(guard, 0)[1]))
    os.setsid()
    sys.exit(run(sys.argv[1:]))
