"""Which prompt a window is of, from the file of prompts' token ids beside a dashboard. No tokenizer is needed.

Two sequences of which one is the other in other names repeat at the same places. Each token is therefore replaced by
the place where it is first: equal sequences of places are candidates, and the names of all candidates have to agree.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy

from featurestore import BadRequest, Unavailable
from featurestore.extension.text import first_line
from ingest.formats.batches import Windows
from ingest.formats.records.windows import encode, hash_windows

NAME = re.compile(r"tokens_\d+\.pt")
SKIPPED = (1, 0)  # tokens before a window in its prompt: most windows begin after BOS
FEW = 16  # tokens of a window that is too short to be known by its repetitions


def find_file(folder: Path) -> Path | None:
    """Return the file of prompts in a directory, None without one."""
    return next((file for file in sorted(folder.glob("tokens_*.pt")) if NAME.fullmatch(file.name)), None)


@functools.lru_cache(64)
def find_problem(path: Path) -> str:
    """Return why a file of prompts cannot be read here, "" if it can. It is tried once for all batches beside it."""
    try:
        read_prompts(path)
    except (BadRequest, Unavailable) as exc:
        return str(exc)
    return ""


@functools.lru_cache(2)
def read_prompts(path: Path) -> numpy.ndarray:
    """Return token ids, (prompts, tokens) int64. Raises BadRequest for a file that holds something else."""
    try:
        import torch
    except ImportError:
        raise Unavailable(f"{path} needs torch: install featurestore[harvest]") from None
    try:
        tokens = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:
        raise BadRequest(f"{path} cannot be read: {first_line(exc)}") from None
    if not isinstance(tokens, torch.Tensor) or tokens.ndim != 2 or tokens.is_floating_point():
        raise BadRequest(f"{path} is no table of token ids")
    # A view may promise any number of rows, and has those of its storage.
    if tokens.layout != torch.strided or tokens.is_meta or not 0 < tokens.nbytes <= tokens.untyped_storage().nbytes():
        raise BadRequest(f"{path} holds fewer token ids than its shape {tuple(tokens.shape)} says, or none")
    ids: numpy.ndarray = tokens.to(torch.int64).numpy()
    return ids


def find_first_places(ids: numpy.ndarray) -> numpy.ndarray:
    """Return for each id the place in its row where it is first, (rows, tokens) int64."""
    order = numpy.argsort(ids, axis=1, kind="stable")
    ordered = numpy.take_along_axis(ids, order, axis=1)
    is_new = numpy.ones(ids.shape, bool)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = numpy.maximum.accumulate(numpy.where(is_new, numpy.arange(ids.shape[1]), 0), axis=1)
    first = numpy.empty_like(order)
    numpy.put_along_axis(first, order, numpy.take_along_axis(order, group, axis=1), axis=1)
    return first


def match_prompts(windows: Windows, path: Path) -> numpy.ndarray:
    """Return the number of each window's prompt, the first of equal ones, -1 where it is not known; (n,) int64."""
    prompts = read_prompts(path)
    codes = encode(windows).indices.to_numpy()
    starts = numpy.cumsum(windows.length) - windows.length
    best = numpy.full(windows.size, -1, numpy.int64)
    for skipped in SKIPPED:
        if skipped >= prompts.shape[1]:
            continue
        found = numpy.full(windows.size, -1, numpy.int64)
        for length in numpy.unique(windows.length).tolist():
            if FEW <= length <= prompts.shape[1] - skipped:
                rows = numpy.flatnonzero(windows.length == length)
                table = codes[starts[rows][:, None] + numpy.arange(length)]
                found[rows] = _match_places(table, _places_of(path, skipped)[:, :length])
        found = _keep_agreeing(windows, codes, starts, prompts, found, skipped)
        if (found >= 0).sum() > (best >= 0).sum():
            best = found
    return best


@functools.lru_cache(4)
def _places_of(path: Path, skipped: int) -> numpy.ndarray:
    return find_first_places(read_prompts(path)[:, skipped:])


def _match_places(table: numpy.ndarray, places: numpy.ndarray) -> numpy.ndarray:
    """Return the first row of `places` that each row of `table` equals in names of its own; -1 for none."""
    keys = [_hash(rows) for rows in (find_first_places(table), places)]
    order = numpy.lexsort((keys[1][:, 1], keys[1][:, 0]))
    ordered = keys[1][order]
    at = numpy.searchsorted(ordered[:, 0], keys[0][:, 0])
    at = numpy.minimum(at, len(ordered) - 1)
    return numpy.where((ordered[at] == keys[0]).all(axis=1), order[at], -1)


def _hash(table: numpy.ndarray) -> numpy.ndarray:
    return hash_windows(table.reshape(-1), numpy.full(len(table), table.shape[1]))


def _keep_agreeing(
    windows: Windows,
    codes: numpy.ndarray,
    starts: numpy.ndarray,
    prompts: numpy.ndarray,
    found: numpy.ndarray,
    skipped: int,
) -> numpy.ndarray:
    """Return `found` without the windows in which a token has another id than in most of the others."""
    rows = numpy.flatnonzero(found >= 0)
    if not len(rows):
        return found
    length = windows.length[rows]
    owner = numpy.repeat(numpy.arange(len(rows)), length)
    place = numpy.arange(len(owner)) - numpy.repeat(numpy.cumsum(length) - length, length)
    code = codes[starts[rows][owner] + place]
    id = prompts[found[rows][owner], skipped + place]
    pairs, count = numpy.unique(numpy.stack([code, id], axis=1), axis=0, return_counts=True)
    name = numpy.zeros(int(code.max()) + 1, numpy.int64)
    order = numpy.argsort(count, kind="stable")
    name[pairs[order, 0]] = pairs[order, 1]  # the most frequent one is written last
    is_wrong = numpy.bincount(owner, name[code] != id, len(rows)) > 0
    agreeing = found.copy()
    agreeing[rows[is_wrong]] = -1
    return agreeing
