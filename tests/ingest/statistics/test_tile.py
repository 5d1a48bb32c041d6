"""Hashes of places against Python's integers, and runs of a tile against a plain loop."""

import dataclasses

import numpy
import torch

from ingest.statistics.tile import Tile, hash_places
from tests.support.dense_tiles import CONTEXTS, make_tile


def test_hashes_are_splitmix():
    """Against Python's own integers."""
    mask = (1 << 64) - 1

    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    for seed in (-5, -1, 0, 2**63, 2**64 - 2):
        wanted = (seed + 1) & mask
        for part in (1, 2**40, 3):
            wanted = mix(wanted ^ ((part + 0x9E3779B97F4A7C15) & mask))
        found = hash_places(seed, torch.tensor([1]), torch.tensor([2**40]), torch.tensor([3]))
        assert int(found[0]) == wanted >> 1


def test_runs_are_the_entries_of_one_feature_in_one_context(dense):
    tile = make_tile(dense, range(CONTEXTS))
    pairs = list(zip(tile.feature.tolist(), tile.context[tile.token].tolist(), strict=True))
    runs = sorted(set(pairs))
    assert 100 < len(runs) < len(pairs)
    assert tile.run.tolist() == [runs.index(pair) for pair in pairs]
    assert [pairs[first] for first in tile.begins.tolist()] == runs


def test_sort_keys_find_the_entries_of_a_window(dense):
    tile = make_tile(dense, range(CONTEXTS))
    assert (numpy.diff(tile.sort_keys.numpy()) > 0).all()
    for run in (0, 7, int(tile.run[-1])):
        low, high = (
            torch.searchsorted(tile.sort_keys, Tile.make_sort_keys(torch.tensor(run), torch.tensor(position)))
            for position in (5, 20)
        )
        inside = (tile.run == run) & (tile.entry_position >= 5) & (tile.entry_position < 20)
        assert list(range(int(low), int(high))) == inside.nonzero().squeeze(1).tolist()


def test_sides_are_those_of_the_documents(dense):
    tile = make_tile(dense, range(CONTEXTS))
    documents = tile.document[tile.entry_context].tolist()
    assert tile.side.tolist() == [int(document % 5 == 0) for document in documents]


def test_hashes_depend_on_the_feature_of_the_dictionary_and_not_of_the_tile(dense):
    whole, part = make_tile(dense, range(CONTEXTS)), make_tile(dense, range(CONTEXTS), 2, 4)
    shifted = dataclasses.replace(part, first=2)
    inside = (whole.feature >= 2) & (whole.feature < 4)
    assert shifted.hashes(3).tolist() == whole.hashes(3)[inside].tolist()
    assert part.hashes(3).tolist() != shifted.hashes(3).tolist()
