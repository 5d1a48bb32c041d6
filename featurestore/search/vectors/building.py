"""Building an index: from memory-mapped parts, in bounded memory, resumed where it was killed.

A small index is one file, exact. A large one is a directory:

    trained.npz        rotation and centroids blocks/<name>.npy  list and code of each row of one run of rows; written
    once, shared by later indexes as hard links lists.npy          the list of each row lists.faiss        all codes in
    their lists index.json         what the others are, with their sizes, and the plan of search; written last
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import faiss
import msgspec
import numpy

from featurestore.errors import BadRequest, BadStore, Conflict, UnsupportedVersion
from featurestore.progress import Progress, no_progress
from featurestore.search.vectors import clusters, codes, kinds, plan
from featurestore.search.vectors.description import FORMAT, About, read_about
from featurestore.search.vectors.index import VectorIndex
from featurestore.search.vectors.rows import VectorRows, unit
from featurestore.storage import numpy_files

# Up to this many numbers (32,768 rows of 768) an exact scan takes some 3 ms and 4 bytes a number; above, lists are
# faster.
FLAT_NUMBERS = 2**25
# Rows of a block, normalised, coded and kept at a time.
BLOCK = 65_536
LISTS_PER_ROOT = 1.0  # lists for each root of the number of rows
SAMPLE_PER_LIST = 40
# An older index's centroids serve as long as there are no more than this many times the rows they were trained for.
OUTGROWN = 4
RECALL = 0.95


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """work.json of an unfinished build: what its trained.npz is of."""

    format: int = FORMAT
    dim: int
    trained_rows: int


def build(
    path: Path,
    vectors: Sequence[numpy.ndarray],
    *,
    names: Sequence[str] | None = None,
    reuse: Path | None = None,
    work: Path | None = None,
    recall: float = RECALL,
    texts: Callable[[], numpy.ndarray] | None = None,
    progress: Progress = no_progress,
) -> int:
    """Write the index of all `vectors`, (n_i, d) of any float type, numbered in the order given. Returns the row count.

    Args:
        path: the file or directory to make; nothing may be there.
        names: a name for each of `vectors` that differs for other content, such as a checksum; computed if None.
        reuse: an index whose centroids, and codes of parts of the same name, are taken over.
        work: a directory for finished pieces of a build. One that was killed goes on there; deleted at the end.
        recall: the share of the true nearest 10 and 100 to find, measured on held-out queries; `VectorIndex.about` says
            what was reached.
        texts: gives the vectors of texts as they may be asked, (q, d), for an index of texts; called for a large one.
        progress: begins a stage and returns what is called with its steps.

    Raises BadRequest for a recall that is not above 0 and at most 1, Conflict while another process builds in `work`.
    """
    if not 0 < recall <= 1:
        raise BadRequest(f"a recall of {recall} cannot be asked for: it is more than 0 and at most 1")
    dim = vectors[0].shape[1]
    rows = sum(len(part) for part in vectors)
    if rows * dim <= FLAT_NUMBERS:
        _write_flat(path, vectors)
        return rows
    work = work or path.with_name(f".{path.name}.building")
    with _lock(work):
        unfinished = _Build(work, VectorRows(vectors), progress)
        trained = unfinished.prepare(reuse)
        blocks = unfinished.blocks(vectors, names or [_content_name(part) for part in vectors], trained, reuse)
        asked = kinds.draw(VectorRows(vectors), None if texts is None else texts(), numpy.random.default_rng(2))
        unfinished.finish(blocks, [len(part) for part in vectors], trained, reuse, recall, asked)
        unfinished.measure_kinds(vectors, asked)
        (work / "work.json").unlink()
        os.replace(work, path)
    return rows


class _Build:
    """An unfinished index in its directory."""

    def __init__(self, path: Path, rows: VectorRows, progress: Progress):
        self.path, self._rows, self._progress = path, rows, progress
        (path / "blocks").mkdir(parents=True, exist_ok=True)

    def prepare(self, reuse: Path | None) -> codes.Trained:
        """The centroids: those of a build that was killed, those of the older index, or new ones."""
        file = self.path / "trained.npz"
        work = _read_work(self.path)
        if work and self._serves(work) and file.exists():
            self._trained_rows = work.trained_rows
            return codes.load_trained(file)
        shutil.rmtree(self.path)
        (self.path / "blocks").mkdir(parents=True)
        older = _older(reuse)
        if reuse and older and self._serves(older):
            _link(reuse / "trained.npz", file)
            trained, self._trained_rows = codes.load_trained(file), older.trained_rows
        else:
            trained, self._trained_rows = self._train(), len(self._rows)
            codes.save_trained(file, trained)
        work = Work(dim=self._rows.dim, trained_rows=self._trained_rows)
        _write_whole(self.path / "work.json", msgspec.json.encode(work))
        return trained

    def _serves(self, older: Work | About) -> bool:
        rows = len(self._rows)
        return older.dim == self._rows.dim and older.trained_rows / OUTGROWN <= rows <= older.trained_rows * OUTGROWN

    def _train(self) -> codes.Trained:
        count = round(LISTS_PER_ROOT * len(self._rows) ** 0.5)
        rotation = codes.rotation(self._rows.dim)
        step = max(1, len(self._rows) // (SAMPLE_PER_LIST * count))
        advance = self._progress("sampling vectors", len(self._rows))
        sample = []
        for _, block in self._rows.blocks(BLOCK):
            # Zero rows have no direction to learn from.
            units = unit(block[::step])
            sample.append((units[units.any(axis=1)] @ rotation).astype(numpy.float16))
            advance(len(block))
        rows = numpy.concatenate(sample)
        if not len(rows):
            rows = rotation[:1]  # nothing but zeros: any direction will do
        count = max(1, min(count, len(rows)))
        return codes.Trained(rotation, clusters.train(rows, count, self._progress("training clusters", count)))

    def blocks(
        self, vectors: Sequence[numpy.ndarray], names: Sequence[str], trained: codes.Trained, reuse: Path | None
    ) -> list[numpy.ndarray]:
        """The codes of every run of rows, memory-mapped; missing ones are computed."""
        advance = self._progress("coding vectors", len(self._rows))
        same = reuse is not None and _same_bytes(reuse / "trained.npz", self.path / "trained.npz")
        mapped = []
        self._files: list[Path] = []
        for part, name in zip(vectors, names, strict=True):
            for start in range(0, len(part), BLOCK):
                run = part[start : start + BLOCK]
                file = self.path / "blocks" / f"{name}-{start // BLOCK}.npy"
                old = reuse / "blocks" / file.name if reuse and same else None
                if not file.exists() and old and old.exists():
                    _link(old, file)
                block = _read_block(file, len(run), codes.code_type(trained))
                if block is None:
                    _save_whole(file, codes.encode(run, trained))
                    block = numpy_files.map_array(file)
                self._files.append(file)
                mapped.append(block)
                advance(len(run))
        return mapped

    def finish(
        self,
        blocks: list[numpy.ndarray],
        parts: list[int],
        trained: codes.Trained,
        reuse: Path | None,
        recall: float,
        asked: Mapping[str, plan.Asked],
    ) -> None:
        """Fill the lists, choose the plan and write index.json."""
        codes.pack(self.path / "lists.faiss", blocks, trained)
        small = numpy.uint16 if len(trained.clusters.centroids) <= 2**16 else numpy.uint32
        list_of_row = numpy.concatenate([block["list"].astype(small) for block in blocks])
        _save_whole(self.path / "lists.npy", list_of_row)
        older = _older(reuse)
        taken_over = older is not None and older.trained_rows == self._trained_rows and older.plan.asked == recall
        if older and taken_over and abs(len(self._rows) - older.plan.rows) <= older.plan.rows / 4:
            settled = older.plan
        else:
            lists = codes.Lists(self.path / "lists.faiss", trained, len(self._rows))
            settled = plan.tune(
                lists,
                list_of_row,
                self._rows,
                recall,
                self._progress("measuring recall", len(self._rows)),
                [pair for name, pair in asked.items() if name in kinds.PLANNED],
            )
        for file in set((self.path / "blocks").iterdir()) - set(self._files):
            file.unlink()  # of vectors that an earlier, unfinished build was of
        about = About(
            dim=self._rows.dim,
            code_dim=trained.rotation.shape[1],
            rows=len(self._rows),
            parts=tuple(parts),
            trained_rows=self._trained_rows,
            plan=settled,
            files={name: (self.path / name).stat().st_size for name in ("trained.npz", "lists.npy", "lists.faiss")},
        )
        _write_whole(self.path / "index.json", msgspec.json.format(msgspec.json.encode(about)))

    def measure_kinds(self, vectors: Sequence[numpy.ndarray], asked: Mapping[str, plan.Asked]) -> None:
        """Write into index.json the recall of each kind of queries, and the effort that it takes."""
        about = read_about(self.path)
        if about.plan.kinds or not about.plan.queries:  # taken over from an older index; nothing but zeros
            return
        index = VectorIndex(self.path, vectors)
        settled = kinds.settle(
            about.plan,
            asked,
            self._rows,
            lambda direction, k, effort: index.with_effort(effort).search(direction, k)[0],
        )
        about = msgspec.structs.replace(about, plan=settled)
        _write_whole(self.path / "index.json", msgspec.json.format(msgspec.json.encode(about)))


def _write_flat(path: Path, vectors: Sequence[numpy.ndarray]) -> None:
    index = faiss.IndexFlatIP(vectors[0].shape[1])
    for part in vectors:
        for start in range(0, len(part), BLOCK):
            index.add(unit(part[start : start + BLOCK]))
    faiss.write_index(index, str(path))


def _read_work(path: Path) -> Work | None:
    try:
        work = msgspec.json.decode((path / "work.json").read_bytes(), type=Work)
        return work if work.format == FORMAT else None
    except (OSError, msgspec.MsgspecError):
        return None


def _older(reuse: Path | None) -> About | None:
    """What an index to take over from is; None when it is a small one, of another format or damaged."""
    try:
        return read_about(reuse) if reuse and reuse.is_dir() else None
    except (BadStore, UnsupportedVersion):
        return None


def _read_block(file: Path, rows: int, dtype: numpy.dtype) -> numpy.ndarray | None:
    try:
        block = numpy_files.map_array(file)
    except (OSError, ValueError):
        return None
    return block if block.shape == (rows,) and block.dtype == dtype else None


def _content_name(part: numpy.ndarray) -> str:
    digest = hashlib.sha256(repr((part.shape, str(part.dtype))).encode())
    for start in range(0, len(part), BLOCK):
        digest.update(numpy.ascontiguousarray(part[start : start + BLOCK]).data)
    return digest.hexdigest()


def _same_bytes(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other) or one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # another file system, or one without links
        unfinished = _beside(new)
        shutil.copyfile(old, unfinished)
        os.replace(unfinished, new)


def _save_whole(file: Path, array: numpy.ndarray) -> None:
    unfinished = _beside(file)
    with unfinished.open("wb") as opened:
        numpy.save(opened, array)
    os.replace(unfinished, file)


def _beside(file: Path) -> Path:
    return file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")


def _write_whole(file: Path, content: bytes) -> None:
    unfinished = _beside(file)
    unfinished.write_bytes(content)
    os.replace(unfinished, file)


@contextlib.contextmanager
def _lock(work: Path) -> Iterator[None]:
    """Keep other processes out of `work`; the system unlocks it when this one dies."""
    work.parent.mkdir(parents=True, exist_ok=True)
    with work.with_name(f"{work.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"another process is building this index in {work}; wait for it to end") from None
        yield
