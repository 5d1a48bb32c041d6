"""Keeps pyarrow from importing pandas, which takes longer than most commands, in processes that do not use it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def block_pandas() -> Callable[[], None]:
    """Let imports of pandas fail from now on, unless it is imported already; returns what ends that."""
    if "pandas" in sys.modules:
        return lambda: None
    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    return lambda: sys.meta_path.remove(finder)


class _WithoutPandas(MetaPathFinder, Loader):
    """Lets imports of pandas fail: pyarrow tries to import it, and does without where it is not installed."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """A spec for pandas alone, that cannot be loaded."""
        return ModuleSpec(fullname, self) if fullname == "pandas" else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Raises ModuleNotFoundError."""
        raise ModuleNotFoundError("No module named 'pandas'", name="pandas")

    def exec_module(self, module: ModuleType) -> None:
        """Is never reached."""
