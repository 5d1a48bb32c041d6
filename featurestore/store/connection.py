"""StoreConnection: what a local store holds open: its directory, one snapshot at a time, and processes for SQL.

A View holds everything that is read from one snapshot of the directory. After a commit the next question gets a new
view. A view is immutable, so any number of threads share it.
"""

from __future__ import annotations

import functools
import gc
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from featurestore.errors import Unavailable
from featurestore.interface import FeatureStore
from featurestore.search import embedders
from featurestore.sql.conditions import Selection, may_have_subquery
from featurestore.sql.process_pool import Workers
from featurestore.sql.search_functions import BoundStatement
from featurestore.storage.directory import Directory
from featurestore.storage.user_files import holds_data, is_remembered
from featurestore.store.view import View
from featurestore.tables.row_reader import Rows
from featurestore.values.row_stream import RowStream
from featurestore.weights import allows_locations

# How long a statement in a process of its own may take where its caller names no limit.
ISOLATED_SECONDS = 600.0
# The same for a condition without subqueries, which reads one view once. Few run at once, and few wait for them.
CONDITION_SECONDS = 10.0
CONDITION_PROCESSES = 2


_stores: weakref.WeakSet[StoreConnection] = weakref.WeakSet()
# What the parent of a forked process had open. DuckDB would wait for threads, or crash on them, if it were freed here.
_of_parent: list[dict[str, Any]] = []


def _leave_parents() -> None:
    # The parent's garbage that waits for its collector may hold connections too: it is never collected in the child.
    gc.freeze()
    for store in list(_stores):
        store._leave_parent()


os.register_at_fork(after_in_child=_leave_parents)


class StoreConnection(FeatureStore):
    """A store that is open, without its answers: views, processes, and what becomes of them after a fork."""

    def __init__(self, path: str | Path, embedder: str | None = None, allow_store_locations: bool = False):
        """`embedder` is one to use where the store's label index names another than the default.

        Without it that of $FEATURESTORE_EMBEDDER is used. With `allow_store_locations`, or
        $FEATURESTORE_ALLOW_STORE_LOCATIONS, models and weights are opened where the store says that they are, also
        where this user has never harvested from. Raises NotFound, UnsupportedVersion or BadStore when there is
        no readable store at `path`.
        """
        self._named = embedder or os.environ.get(embedders.VARIABLE) or None
        self._allows_locations = allow_store_locations or allows_locations()
        self.location = str(path)
        self._forked = False
        self._directory = Directory(path)
        self._rows = Rows(self._directory)
        self._lock = threading.Lock()
        self._view: View | None = None
        self._workers: Workers | None = None
        self._condition_workers: Workers | None = None
        self._opened: dict[tuple[Any, ...], Any] = {}
        _stores.add(self)

    @functools.cached_property
    def _directory(self) -> Directory:
        # Set when a store is opened, and opened again in a process that was forked from the one that did.
        if self._forked and "://" in self.location:
            raise Unavailable(
                f"{self.location} was opened before this process was forked, and connections of an object store do not "
                "live on in a fork: open it in a process that is spawned, as multiprocessing's 'spawn' and Ray do"
            )
        return Directory(self.location)

    @functools.cached_property
    def _rows(self) -> Rows:
        return Rows(self._directory)

    def _leave_parent(self) -> None:
        """Forget what was opened before a fork: DuckDB's threads, locks and pipes are those of the parent alone."""
        _of_parent.append(dict(self.__dict__))
        for name in ("_directory", "_rows"):
            self.__dict__.pop(name, None)
        self._forked, self._lock, self._view, self._opened = True, threading.Lock(), None, {}
        if self._workers is not None:
            self.isolate_sql(self._workers.count, self._workers.memory)

    def __reduce__(self) -> tuple[Any, ...]:
        """A store is pickled as its location, and opened again where it is unpickled."""
        location = self.location if "://" in self.location else os.path.abspath(self.location)
        return type(self), (location, self._named, self._allows_locations)

    def _may_open(self, location: str) -> bool:
        """Return whether a model or weights that the store names may be opened.

        Data files of this machine are opened for who works on it. A service asks for strangers: what its owner has
        named, or has allowed, is opened alone.
        """
        is_served = self._workers is not None
        return self._allows_locations or is_remembered(location) or (not is_served and holds_data(location))

    def isolate_sql(self, processes: int = 4, memory: int = 1_000_000_000) -> None:
        """Run the SQL that callers write in separate processes from now on: `processes` of them, each of `memory`
        bytes.

        A service does so: no statement can then end the service's process, or keep others waiting for long.
        """
        self._workers = Workers(self.location, processes, memory)
        count = min(processes, CONDITION_PROCESSES)
        self._condition_workers = Workers(self.location, count, memory, what="conditions", waiting=2 * count)

    def _run_sql(self, view: View, bound: BoundStatement, timeout: float | None) -> RowStream:
        if self._workers is None:
            return view.engine.stream(*bound, timeout)
        return self._workers.stream(*bound, timeout or ISOLATED_SECONDS)

    def _select(self, view: View, selection: Selection, timeout: float | None) -> RowStream:
        """Choose features by a condition, beside SQL: neither waits for the other. One with subqueries is SQL."""
        if self._workers is None or self._condition_workers is None:
            return view.engine.select(selection, timeout)
        if selection.subqueries and may_have_subquery(selection.where):
            return self._workers.select(selection, timeout or ISOLATED_SECONDS)
        plain = msgspec.structs.replace(selection, subqueries=False)
        return self._condition_workers.select(plain, min(timeout or CONDITION_SECONDS, CONDITION_SECONDS))

    @property
    def _current_view(self) -> View:
        with self._lock:
            snapshot = self._directory.snapshot(fresh=False)
            if self._view is None or self._view.snapshot is not snapshot:
                if self._view is not None:
                    self._view.retire()
                self._view = View(
                    self._directory, snapshot, self._rows, self._select, self._open_once, lambda: self._named
                )
                live = {part.file for part in snapshot.all()}
                self._opened = {key: value for key, value in self._opened.items() if key[0] in live}
            return self._view

    def _open_once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """Open an index's files once, and not again after every commit."""
        value = self._opened.get(key)
        if value is None:
            value = self._opened[key] = make()
        return value

    @property
    def version(self) -> str:
        """A text that changes with every commit."""
        return f"{self._directory.created_at}-{self._current_view.snapshot.commit}"

    def close(self) -> None:
        with self._lock:
            if self._view is not None:
                self._view.close()
                self._view = None
            self._opened = {}
            for workers in (self._workers, self._condition_workers):
                if workers is not None:
                    workers.close()
