"""What a harvest has counted so far, kept in a folder, so that who is interrupted goes on where it stopped."""

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
from ingest.harvest.forward_pass import Counted


class Checkpoint:
    """Counts of one harvest: of rounds that are done, and of units of the round under way.

    The folder is named by a hash of everything that decides the result, so another harvest never takes these for its own.
    Every change is one rename of progress.json, which names the files that count.
    """

    def __init__(self, beside: Path, what: Mapping[str, Any], seed: int):
        """`what` is JSON-ready and decides the result. Raises BadStore when the folder cannot be read."""
        name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = beside / name
        self._beside = beside
        self._seed = seed
        self._progress = self.folder / "progress.json"
        try:
            found = json.loads(self._progress.read_text("utf-8")) if self._progress.exists() else None
        except (OSError, ValueError) as exc:
            raise self._damaged(exc) from None
        self._rounds: list[dict[str, Any]] = found["rounds"] if found else []
        self._written = found["written"] if found else 0

    def _damaged(self, exc: Exception) -> BadStore:
        return BadStore(f"the checkpoint in {self.folder} cannot be read ({exc}); delete it to begin anew")

    def units(self, round: int) -> set[int]:
        """Numbers of the units that are counted in a round."""
        return set(self._rounds[round]["units"]) if round < len(self._rounds) else set()

    def read(self, round: int, only: str | None = None) -> Iterator[tuple[str, Counted]]:
        """What is counted in a round of all dictionaries, or of one: (source, shard), in order. Raises BadStore when it
        cannot be read."""
        for source, name in self._rounds[round]["files"]:
            if only not in (None, source):
                continue
            try:
                with open(self.folder / name, "rb") as file, numpy.load(file) as state:
                    found = Counted.of_state(dict(state), self._seed)
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as exc:
                raise self._damaged(exc) from None
            yield source, found

    def write(self, round: int, units: set[int], counted: Iterable[tuple[str, Counted]]) -> None:
        """Keep what is counted of a round after these units, (source, shard), in the place of what was kept of it before.

        Raises Unavailable when there is no room; what was kept before then stays.
        """
        self._written += 1
        files: list[tuple[str, str]] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for source, shard in counted:
                files.append((source, f"{self._written}-{len(files)}.npz"))
                with open(self.folder / files[-1][1], "wb") as sink:
                    numpy.savez(sink, **shard.state())  # type: ignore[arg-type]
                    sink.flush()
                    os.fsync(sink.fileno())
            beside = self._progress.with_suffix(".new")
            rounds = [*self._rounds[:round], {"units": sorted(units), "files": files}]
            beside.write_text(json.dumps({"written": self._written, "rounds": rounds}), "utf-8")
            beside.replace(self._progress)
        except OSError as exc:
            for _, name in files:
                (self.folder / name).unlink(missing_ok=True)
            raise Unavailable(
                f"what is counted cannot be kept in {self.folder} ({exc.strerror or exc}); make room and run the same "
                "command again: it goes on from what was kept before"
            ) from None
        old = [name for one in self._rounds[round:] for _, name in one["files"]]
        self._rounds = rounds
        for name in old:
            (self.folder / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete it: the harvest is in the store."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
            if not any(self._beside.iterdir()):
                self._beside.rmdir()
