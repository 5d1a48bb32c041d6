"""Memory and disk that a harvest takes, estimated and compared with what is free before any work."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from featurestore import Unavailable
from ingest.harvest import shards
from ingest.harvest.executor import Span
from ingest.sae import Sae
from ingest.statistics.accumulator import BYTES_PER_FEATURE

# Bytes of memory for statistics, and of a feature among them: its counts, and examples of features that are often
# active. A checkpoint takes as much of a disk.
MEMORY = 8 << 30
FEATURE_BYTES = 8 << 10
# Bytes of a store per feature beside its vectors, indexes included, and per token; measured, and rounded up.
STORED_PER_FEATURE, STORED_PER_TOKEN = 13 << 10, 8
WEIGHTS_PER_FEATURE = STORED_PER_FEATURE // 8  # without a corpus
CACHED_PER_TOKEN = 16  # beside the inputs of a dictionary: context and position


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a harvest takes. Sizes are in bytes."""

    features: int
    tokens: int
    rounds: int
    counts: int  # memory for counts, for any corpus
    examples: int  # memory for examples, where features are often active
    stored: int  # written to the store
    beside: int  # on disk until the store is written: the checkpoint, and inputs of dictionaries


def split_into_rounds(features: Mapping[str, int], memory: int) -> list[dict[str, Span]]:
    """Return the spans of features that are counted in each round, by source: all in one, if they fit in `memory`
    bytes.

    `features` is the number of features of each dictionary. Spans consist of whole shards.
    """
    capacity = max(1, memory // FEATURE_BYTES // shards.SHARD) * shards.SHARD
    rounds: list[dict[str, Span]] = [{}]
    free = capacity
    for source, count in features.items():
        first = 0
        while first < count:
            if free < min(shards.SHARD, count - first) or source in rounds[-1]:
                rounds.append({})
                free = capacity
            last = min(count, first + max(free // shards.SHARD * shards.SHARD, min(free, shards.SHARD)))
            if count - first <= free:
                last = count
            rounds[-1][source] = (first, last)
            free -= last - first
            first = last
    return rounds


def estimate_resources(
    dictionaries: Mapping[str, Sae],
    tokens: int,
    rounds: Sequence[Mapping[str, Span]],
    has_checkpoint: bool,
    caches_inputs: bool,
) -> Resources:
    """Return what a harvest in these rounds takes. Does it keep a checkpoint, and inputs for later rounds?"""
    sizes = [sum(last - first for first, last in spans.values()) for spans in rounds]
    features = sum(sizes)
    # While a round is written again, its former checkpoint still exists.
    checkpoint = (features + max(sizes)) * FEATURE_BYTES if has_checkpoint else 0
    inputs = sum(4 * sae.d_in + CACHED_PER_TOKEN for sae in dictionaries.values()) * tokens if caches_inputs else 0
    return Resources(
        features=features,
        tokens=tokens,
        rounds=len(rounds),
        counts=max(sizes) * BYTES_PER_FEATURE,
        examples=max(sizes) * (FEATURE_BYTES - BYTES_PER_FEATURE),
        stored=estimate_stored(dictionaries, STORED_PER_FEATURE) + STORED_PER_TOKEN * tokens,
        beside=checkpoint + inputs,
    )


def estimate_stored(dictionaries: Mapping[str, Sae], per_feature: int) -> int:
    """Return the bytes of a store that dictionaries take, vectors included."""
    return sum(sae.d_sae * (per_feature + 2 * sae.W_dec[0].numel()) for sae in dictionaries.values())


def check_space(needed: Mapping[Path, int]) -> None:
    """Raise Unavailable when a disk has less space than these bytes by place, which may not exist yet."""
    disks: dict[int, dict[Path, int]] = {}
    for place, size in needed.items():
        if size > 0:
            disks.setdefault(os.stat(_find_existing(place)).st_dev, {})[place] = size
    for places in disks.values():
        free = shutil.disk_usage(_find_existing(next(iter(places)))).free
        if free < sum(places.values()):
            shares = " and ".join(f"{format_bytes(size)} to {place}" for place, size in places.items())
            raise Unavailable(
                f"no space: the harvest writes some {shares}, but there is {format_bytes(free)} left; make room, or "
                "put the store elsewhere"
            )


def measure_folder(folder: Path) -> int:
    """Return the bytes of all files in a folder; 0 if there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _find_existing(place: Path) -> Path:
    """Return the place, or its nearest parent that exists."""
    place = place.absolute()
    return next(path for path in (place, *place.parents) if path.exists())


def format_bytes(size: int) -> str:
    """Return a size in bytes as "12.3 MB" or "1.2 GB"."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
