"""Keeps NumPy's matrix products on the calling thread, in a block."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

_lock = threading.Lock()
_blocks: list[Any] = []  # the limit of the first block, then one None for each block inside or beside it


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let each product of this process run on the thread that asks for it; the last block to end restores the number.

    Small products that are shared among threads wait for one another, which takes more processor time than the products
    themselves; large ones are better shared by their callers.
    """
    with _lock:
        _blocks.append(None if _blocks else _controller().limit(limits=1))
        if len(_blocks) == 1:
            _blocks.append(None)
    try:
        yield
    finally:
        with _lock:
            _blocks.pop()
            if len(_blocks) == 1:
                _blocks.pop().restore_original_limits()


@functools.cache
def _controller() -> Any:
    """The BLAS libraries that are loaded, NumPy's among them."""
    import threadpoolctl

    return threadpoolctl.ThreadpoolController().select(user_api="blas")
