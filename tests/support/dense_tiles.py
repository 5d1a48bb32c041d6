"""Tiles of random activations and what a dense NumPy array says of them: the reference for ingest.statistics."""

from __future__ import annotations

import numpy
import torch

from ingest.statistics.accumulator import Accumulator
from ingest.statistics.tile import Tile, hash_places

N, CONTEXTS, LENGTH = 6, 60, 30
DOCUMENTS = CONTEXTS // 3  # of three contexts each


def make_dense():
    """Activations (contexts, tokens, features): sparse, heavy-tailed, rounded so that ties occur, some negative."""
    rng = numpy.random.default_rng(1)
    values = numpy.exp(rng.normal(size=(CONTEXTS, LENGTH, N)) * 1.5).astype(numpy.float32)
    values *= rng.random(values.shape) < numpy.array([0.5, 0.2, 0.1, 0.05, 0.02, 0.0])
    values = numpy.round(values, 1)
    values[..., 4] *= -1
    for c in range(CONTEXTS):
        values[c, LENGTH - c % 7 :] = 0
    return values


def make_tile(dense, contexts, first=0, last=N):
    """A tile of some contexts; every fifth document is held out, and of contexts every fourth token is left out."""
    contexts = numpy.asarray(contexts)
    lengths = LENGTH - contexts % 7
    kept = [(row, p) for row, c in enumerate(contexts) for p in range(lengths[row]) if is_counted(c, p)]
    context, position = (numpy.array(column) for column in zip(*kept, strict=True))
    part = dense[contexts[context], position, first:last]
    feature, token = numpy.nonzero(part.T)
    document = contexts // 3
    as_tensors = {
        "feature": feature,
        "token": token,
        "value": part[token, feature],
        "context": context,
        "position": position,
        "document": document,
        "start": contexts % 3 * LENGTH,
        "length": lengths,
        "place": contexts * LENGTH,
        "held_out": document % 5 == 0,
    }
    return Tile(**{name: torch.from_numpy(value) for name, value in as_tensors.items()})


def is_counted(context, position):
    return context % 4 or position % 4


def mask_dense(dense):
    """The reference: zero on tokens that do not count."""
    keep = numpy.array([[bool(is_counted(c, p)) for p in range(LENGTH)] for c in range(CONTEXTS)])
    return dense * keep[..., None]


def accumulate_all(dense):
    whole = Accumulator(N, seed=3)
    whole.add(make_tile(dense, range(CONTEXTS)))
    return whole


def assert_same_state(a, b):
    ours, theirs = a.state(), b.state()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        numpy.testing.assert_array_equal(value, theirs[name], err_msg=name)


def hash_entries(document, position, feature):
    return hash_places(
        3, *(torch.as_tensor(numpy.asarray(one), dtype=torch.int64) for one in (document, position, feature))
    )


def make_one_context(values, position=None):
    """A tile of one long context in which one feature has these values."""
    values = torch.as_tensor(values, dtype=torch.float32)
    line = torch.arange(len(values))
    zero = torch.zeros_like(line)
    one = {
        name: torch.tensor([n]) for name, n in (("document", 4), ("start", 1000), ("length", len(values)), ("place", 0))
    }
    return Tile(zero, line, values, zero, line, **one, held_out=torch.tensor([False]))
