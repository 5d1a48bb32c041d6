"""Statistics of a harvest so far, kept in a folder, so that an interrupted harvest goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from featurestore import BadStore, Unavailable
from ingest.harvest.forward_pass import FeatureStatistics


class Checkpoint:
    """Statistics of one harvest: of rounds that are done, and of units of the current round.

    The name of the folder is a hash of everything that decides the result, so no other harvest uses it. Every change is
    one rename of progress.json, which names the files that belong to it.
    """

    def __init__(self, parent: Path, fingerprint: Mapping[str, Any], seed: int):
        """Open a checkpoint, which may not exist yet, in `parent`.

        `fingerprint` is JSON-ready and holds everything that decides the result. Raises BadStore when the folder cannot
        be read.
        """
        name = hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = parent / name
        self._parent = parent
        self._seed = seed
        self._progress = self.folder / "progress.json"
        try:
            progress = json.loads(self._progress.read_text("utf-8")) if self._progress.exists() else {}
        except (OSError, ValueError) as exc:
            raise self._explain_damage(exc) from None
        self._rounds: list[dict[str, Any]] = progress.get("rounds", [])
        self._written = progress.get("written", 0)

    def _explain_damage(self, exc: Exception) -> BadStore:
        return BadStore(f"the checkpoint in {self.folder} cannot be read ({exc}); delete it to begin anew")

    def units(self, round: int) -> set[int]:
        """Return the numbers of the units that are counted in a round."""
        return set(self._rounds[round]["units"]) if round < len(self._rounds) else set()

    def read(self, round: int, only: str | None = None) -> Iterator[tuple[str, FeatureStatistics]]:
        """Yield (source, shard) of a round in order, of all dictionaries or of one.

        Raises BadStore when a file cannot be read.
        """
        for source, name in self._rounds[round]["files"]:
            if only not in (None, source):
                continue
            try:
                with open(self.folder / name, "rb") as file, numpy.load(file) as state:
                    shard = FeatureStatistics.from_state(dict(state), self._seed)
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as exc:
                raise self._explain_damage(exc) from None
            yield source, shard

    def write(self, round: int, units: set[int], shards: Iterable[tuple[str, FeatureStatistics]]) -> None:
        """Replace the statistics of a round by those after these units: (source, shard) in order.

        Raises Unavailable when the disk is full; the former statistics then stay.
        """
        self._written += 1
        files: list[tuple[str, str]] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for source, shard in shards:
                files.append((source, f"{self._written}-{len(files)}.npz"))
                with open(self.folder / files[-1][1], "wb") as sink:
                    state: dict[str, Any] = shard.state()
                    numpy.savez(sink, **state)
                    sink.flush()
                    os.fsync(sink.fileno())
            new = self._progress.with_suffix(".new")
            rounds = [*self._rounds[:round], {"units": sorted(units), "files": files}]
            new.write_text(json.dumps({"written": self._written, "rounds": rounds}), "utf-8")
            new.replace(self._progress)
        except OSError as exc:
            for _, name in files:
                (self.folder / name).unlink(missing_ok=True)
            raise Unavailable(
                f"what is counted cannot be kept in {self.folder} ({exc.strerror or exc}); make room and run the same "
                "command again: it goes on from what was kept before"
            ) from None
        old = [name for former in self._rounds[round:] for _, name in former["files"]]
        self._rounds = rounds
        for name in old:
            (self.folder / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the checkpoint, once the harvest is in the store."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
            if not any(self._parent.iterdir()):
                self._parent.rmdir()
