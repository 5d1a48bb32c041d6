"""One process that reads files of an import, as its standard input names them; it ends with that."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import traceback

import msgspec

from featurestore.extension.processes import end_with_parent
from featurestore.extension.without_pandas import block_pandas
from ingest.formats.reading import ERRORS, Reply, Task, read_file, read_message, write_message


def main() -> None:
    """Read the files of tasks until there are no more, for `python -m ingest.formats.reading_process`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the import, which then ends this process
    # An import that was killed may be run again at once, and what it reads goes to the same place.
    threading.Thread(target=end_with_parent, daemon=True).start()
    tasks, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no reply
    block_pandas()
    gc.freeze()  # records are values without cycles: looking through them for cycles takes a tenth of the time
    gc.set_threshold(200_000, 50, 50)
    while (content := read_message(tasks)) is not None:
        try:
            read_file(msgspec.msgpack.decode(content, type=Task))
            reply = Reply()
        except ERRORS as exc:
            reply = Reply(next(kind.__name__ for kind in ERRORS if isinstance(exc, kind)), str(exc))
        except Exception:
            reply = Reply("RuntimeError", traceback.format_exc())
        write_message(replies, msgspec.msgpack.encode(reply))


if __name__ == "__main__":
    main()
