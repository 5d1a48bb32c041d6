"""What a harvest takes of memory and disk, worked out and held against what there is before any work."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from featurestore import Unavailable
from ingest.harvest.executor import Span
from ingest.harvest.shards import SHARD
from ingest.sae import Sae
from ingest.statistics.accumulator import BYTES_PER_FEATURE

# Memory for what is counted, and what a feature takes of it: its counts, and examples of features that fire often.
# A checkpoint of it takes as much of a disk.
MEMORY = 8 << 30
FEATURE_BYTES = 8 << 10
# Bytes of a store for each feature beside its vectors, indexes included, and for each token; measured, and rounded up.
STORED_PER_FEATURE, STORED_PER_TOKEN = 13 << 10, 8
WEIGHTS_PER_FEATURE = STORED_PER_FEATURE // 8  # where nothing is counted
CACHED_PER_TOKEN = 16  # beside the numbers a dictionary reads: which context and place they are of


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is going to be done. Sizes are in bytes."""

    features: int
    tokens: int
    rounds: int
    counts: int  # memory for counts, whatever the corpus
    examples: int  # and for examples, where features fire often
    stored: int  # written to the store
    beside: int  # kept on disk meanwhile: what is counted, and what dictionaries read


def rounds(features: Mapping[str, int], memory: int) -> list[dict[str, Span]]:
    """Which features of each dictionary are counted together: all, if they fit in so many bytes, or else some shards."""
    room = max(1, memory // FEATURE_BYTES // SHARD) * SHARD
    found: list[dict[str, Span]] = [{}]
    left = room
    for source, count in features.items():
        first = 0
        while first < count:
            if left < min(SHARD, count - first) or source in found[-1]:
                found.append({})
                left = room
            last = min(count, first + max(left // SHARD * SHARD, min(left, SHARD)))
            if count - first <= left:
                last = count
            found[-1][source] = (first, last)
            left -= last - first
            first = last
    return found


def plan(
    dictionaries: Mapping[str, Sae], tokens: int, turns: Sequence[Mapping[str, Span]], kept: bool, cached: bool
) -> Plan:
    """What a harvest in these rounds takes. `kept` says whether there is a checkpoint, `cached` whether what dictionaries
    read is kept from the first round for the others."""
    together = [sum(last - first for first, last in spans.values()) for spans in turns]
    features = sum(together)
    # While a round is written anew, what was kept of it before is there still.
    checkpoint = (features + max(together)) * FEATURE_BYTES if kept else 0
    read = sum(4 * sae.d_in + CACHED_PER_TOKEN for sae in dictionaries.values()) * tokens if cached else 0
    return Plan(
        features=features,
        tokens=tokens,
        rounds=len(turns),
        counts=max(together) * BYTES_PER_FEATURE,
        examples=max(together) * (FEATURE_BYTES - BYTES_PER_FEATURE),
        stored=stored(dictionaries, STORED_PER_FEATURE) + STORED_PER_TOKEN * tokens,
        beside=checkpoint + read,
    )


def stored(dictionaries: Mapping[str, Sae], per_feature: int) -> int:
    """Bytes of a store that dictionaries take, vectors included."""
    return sum(sae.d_sae * (per_feature + 2 * sae.W_dec[0].numel()) for sae in dictionaries.values())


def check(wanted: Mapping[Path, int]) -> None:
    """Raises Unavailable when a disk is too small for the bytes that these places take of it."""
    disks: dict[int, dict[Path, int]] = {}
    for place, needed in wanted.items():
        if needed > 0:
            disks.setdefault(os.stat(_existing(place)).st_dev, {})[place] = needed
    for places in disks.values():
        free = shutil.disk_usage(_existing(next(iter(places)))).free
        if free < sum(places.values()):
            shares = " and ".join(f"{said(size)} to {place}" for place, size in places.items())
            raise Unavailable(
                f"no space: the harvest writes some {shares}, but there is {said(free)} left; make room, or put the store "
                "elsewhere"
            )


def lying(folder: Path) -> int:
    """Bytes of the files in a folder: what an interrupted harvest has written already."""
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def _existing(place: Path) -> Path:
    """The place, or what there is of the way to it."""
    place = place.absolute()
    return next(one for one in (place, *place.parents) if one.exists())


def said(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
