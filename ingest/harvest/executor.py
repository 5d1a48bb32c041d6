"""Who counts and writes: this process here, a cluster's workers in cluster.py. Both are asked the same things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from ingest.harvest import shards
from ingest.harvest.forward_pass import Cache, Counted, Pass

Span = tuple[int, int]  # first feature, and the one after the last


class Crew(Protocol):
    """Counts units, and then works on shards of what is counted.

    A shard or another value that many calls want is handed about by a handle: the value itself, or where it lies. Calls
    are given handles as arguments and their functions the values.
    """

    device: str  # where functions find it best to work

    def begin(self, spans: Mapping[str, Span], found: Iterable[tuple[str, Counted]]) -> None:
        """Count these spans of features from now on, going on from `found`: (source, shard) in order."""

    def count(self, todo: list[int]) -> Iterator[list[int]]:
        """Count units; their numbers as they are counted."""
        ...

    def shards(self) -> Iterator[tuple[str, Any]]:
        """What is counted since `begin`: (source, handle of a shard), in order."""
        ...

    def hold(self, value: Any) -> Any:
        """A handle for a value."""

    def value(self, handle: Any) -> Any:
        """What a handle is for."""

    def run(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """What a function gives for each call's arguments, in order."""
        ...

    def write(self, writer: Any, function: Callable[..., None], calls: Iterable[tuple[Any, ...]]) -> None:
        """Have a function add to a writer what it makes of each call's arguments, which follow the writer."""


class Alone:
    """This process. With a cache, what dictionaries read is kept for the rounds after the first."""

    def __init__(self, the_pass: Pass, cache: Cache | None):
        self._pass, self._cache = the_pass, cache
        self._counted: dict[str, Counted] = {}
        self.device = the_pass.model.device

    def begin(self, spans: Mapping[str, Span], found: Iterable[tuple[str, Counted]]) -> None:
        parts: dict[str, list[Counted]] = {}
        for source, part in found:
            parts.setdefault(source, []).append(part)
        self._counted = (
            {source: shards.join(some, self.device) for source, some in parts.items()}
            if parts
            else self._pass.nothing(spans)
        )

    def count(self, todo: list[int]) -> Iterator[list[int]]:
        for number in todo:
            self._pass.count(self._pass.units[number], self._counted, self._cache)
            yield [number]

    def shards(self) -> Iterator[tuple[str, Counted]]:
        for source, counted in self._counted.items():
            for part in shards.cut(counted):
                yield source, part

    def hold(self, value: Any) -> Any:
        return value

    def value(self, handle: Any) -> Any:
        return handle

    def run(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        for call in calls:
            yield function(*call)

    def write(self, writer: Any, function: Callable[..., None], calls: Iterable[tuple[Any, ...]]) -> None:
        for call in calls:
            function(writer, *call)
