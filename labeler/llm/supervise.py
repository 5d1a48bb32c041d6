"""python -m labeler.llm.supervise COMMAND...: runs a command, and ends it with all its children when stdin is closed.

The process that starts a server through this holds the other end of the pipe: when it ends, however that happens, the
server ends too.
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
    """Run the command; returns its exit code, 127 when it cannot be started."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as exc:
        print(f"{command[0]}: {exc.strerror}", file=sys.stderr)
        return 127

    def end_with_stdin() -> None:
        """Wait until standard input is closed, then end the command."""
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
        _signal(process, signal.SIGKILL)  # children that the command left running


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    # Ray kills the children of an actor that ends, and its process group. A grandchild in another session survives.
    supervisor = os.fork()
    if supervisor:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(supervisor, 0)[1]))
    os.setsid()
    sys.exit(run(sys.argv[1:]))
