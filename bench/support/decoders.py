"""Vectors shaped like decoder directions, streamed to disk: areas split into topics, topics into families of features.

Families have unequal sizes (a few large, many small), some tight and some loose, as when a wider dictionary splits a
feature of a narrower one; a share of the directions belongs to no family. The same numbers for the same arguments.
"""

from __future__ import annotations

from pathlib import Path

import numpy

SHARD = 65_536
AREAS = 64
ALONE = 0.02  # the share of directions that belong to no family
# Cosine of an area to its topic, and of a topic to its families; a family's to its members is drawn for each family.
AREA, TOPIC = 0.5, 0.7
TIGHT, LOOSE = 0.95, 0.6
# Of the logarithm of a family's size: a feature's own family is exp(SPREAD**2), some four times, larger than the mean.
SPREAD = 1.2


class Decoders:
    """A source of directions: family centres on disk, members drawn on request."""

    def __init__(self, directory: Path, features: int, dim: int, seed: int = 0):
        rng = numpy.random.default_rng(seed)
        self._dim, self._seed = dim, seed
        topics = max(8, features // 2000)
        families = max(64, features // 12)
        self._families = _family_centres(directory / "families.npy", families, topics, dim, rng)
        self._tightness = rng.uniform(LOOSE, TIGHT, families).astype(numpy.float32)
        weight = rng.lognormal(0, SPREAD, families)
        self._bounds = numpy.cumsum(weight / weight.sum())
        self._mean = _directions(rng, 1, dim)[0] * 0.1

    def draw(self, rows: int, stream: int) -> numpy.ndarray:
        """`rows` directions, (rows, dim) float16, with norms around 1; another set for every `stream`."""
        rng = numpy.random.default_rng((self._seed, stream))
        family = numpy.minimum(numpy.searchsorted(self._bounds, rng.random(rows)), len(self._bounds) - 1)
        share = numpy.where(rng.random(rows) < ALONE, 0, self._tightness[family])[:, None].astype(numpy.float32)
        directions = _directions(rng, rows, self._dim)
        directions *= numpy.sqrt(1 - share**2)
        directions += share * self._families[family]
        directions += self._mean
        directions *= rng.uniform(0.8, 1.2, (rows, 1)).astype(numpy.float32)
        return directions.astype(numpy.float16)


def write(directory: Path, features: int, dim: int, seed: int = 0) -> tuple[list[Path], Decoders]:
    """Returns `.npy` files of at most 65,536 rows in `directory`, and their source; writes missing files."""
    directory.mkdir(parents=True, exist_ok=True)
    source = Decoders(directory, features, dim, seed)
    files = []
    for stream, start in enumerate(range(0, features, SHARD)):
        rows = min(SHARD, features - start)
        file = directory / f"{stream:05d}-{rows}x{dim}-{seed}.npy"
        if not file.exists():
            unfinished = file.with_suffix(".part")
            with unfinished.open("wb") as opened:
                numpy.save(opened, source.draw(rows, stream))
            unfinished.rename(file)
        files.append(file)
    return files, source


def _family_centres(file: Path, families: int, topics: int, dim: int, rng: numpy.random.Generator) -> numpy.ndarray:
    areas = _directions(rng, AREAS, dim)
    centres = _around(areas[rng.integers(0, AREAS, topics)], AREA, rng)
    on_disk = numpy.lib.format.open_memmap(file, mode="w+", dtype=numpy.float16, shape=(families, dim))
    for start in range(0, families, SHARD):
        block = slice(start, min(families, start + SHARD))
        on_disk[block] = _around(centres[rng.integers(0, topics, block.stop - start)], TOPIC, rng)
    return on_disk


def _around(centres: numpy.ndarray, cosine: float, rng: numpy.random.Generator) -> numpy.ndarray:
    rest = numpy.float32(numpy.sqrt(1 - cosine**2))
    directions: numpy.ndarray = cosine * centres + rest * _directions(rng, *centres.shape)
    return directions


def _directions(rng: numpy.random.Generator, rows: int, dim: int) -> numpy.ndarray:
    directions = rng.standard_normal((rows, dim), dtype=numpy.float32)
    directions /= numpy.linalg.norm(directions, axis=1, keepdims=True)
    return directions
