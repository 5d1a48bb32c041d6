"""Executors: who counts units and writes shards. This process here; the workers of a cluster in ray_executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ingest.harvest import shards
from ingest.harvest.forward_pass import FeatureStatistics, ForwardPass, InputCache

if TYPE_CHECKING:
    from featurestore import Writer

Span = tuple[int, int]  # first feature, and the one after the last
Handle = Any  # of a value: the value itself, or a cluster's reference to it
Call = tuple[Any, ...]  # arguments of a function


class Executor(Protocol):
    """Counts units of a corpus, then calls functions on shards of the statistics.

    Values that many calls need are passed by handle: callers pass handles as arguments, and functions receive the
    values.
    """

    device: str  # where functions work fastest
    moved: int  # bytes that have passed between processes

    def begin(self, spans: Mapping[str, Span], statistics: Iterable[tuple[str, FeatureStatistics]]) -> None:
        """Begin to count these spans of features, going on from `statistics`: (source, shard) in order."""

    def count(self, units: list[int]) -> Iterator[list[int]]:
        """Count units, and yield their numbers as they are done."""
        ...

    def shards(self) -> Iterator[tuple[str, Handle]]:
        """Yield (source, handle of a shard) of the statistics since `begin`, in order."""
        ...

    def put(self, value: Any) -> Handle:
        """Return a handle of a value."""
        ...

    def get(self, handle: Handle) -> Any:
        """Return the value of a handle."""
        ...

    def map(self, function: Callable[..., Any], calls: Iterable[Call]) -> Iterator[Any]:
        """Yield what a function returns for the arguments of each call, in order."""
        ...

    def write(self, writer: Writer, function: Callable[..., None], calls: Iterable[Call]) -> None:
        """Call `function(writer, *call)` for each call, and keep what it adds to the writer."""


class LocalExecutor:
    """This process. With a cache, inputs of dictionaries are kept for the rounds after the first."""

    moved = 0

    def __init__(self, forward_pass: ForwardPass, cache: InputCache | None):
        self._pass, self._cache = forward_pass, cache
        self._statistics: dict[str, FeatureStatistics] = {}
        self.device = forward_pass.model.device

    def begin(self, spans: Mapping[str, Span], statistics: Iterable[tuple[str, FeatureStatistics]]) -> None:
        """Begin to count these spans of features, going on from `statistics`."""
        parts: dict[str, list[FeatureStatistics]] = {}
        for source, shard in statistics:
            parts.setdefault(source, []).append(shard)
        if parts:
            self._statistics = {source: shards.join_shards(pieces, self.device) for source, pieces in parts.items()}
        else:
            self._statistics = self._pass.begin(spans)

    def count(self, units: list[int]) -> Iterator[list[int]]:
        """Count units, and yield the number of each."""
        for number in units:
            self._pass.count(self._pass.units[number], self._statistics, self._cache)
            yield [number]

    def shards(self) -> Iterator[tuple[str, FeatureStatistics]]:
        """Yield (source, shard) of the statistics so far."""
        for source, statistics in self._statistics.items():
            for shard in shards.cut_shards(statistics):
                yield source, shard

    def put(self, value: Any) -> Handle:
        """Return the value."""
        return value

    def get(self, handle: Handle) -> Any:
        """Return the handle, which is the value."""
        return handle

    def map(self, function: Callable[..., Any], calls: Iterable[Call]) -> Iterator[Any]:
        """Yield what a function returns for the arguments of each call."""
        return (function(*call) for call in calls)

    def write(self, writer: Writer, function: Callable[..., None], calls: Iterable[Call]) -> None:
        """Call `function(writer, *call)` for each call."""
        for call in calls:
            function(writer, *call)
