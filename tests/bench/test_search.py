"""bench.search: its vectors, its truth, and the object it ends with."""

import json
import subprocess
import sys

import numpy

from bench.support import decoders
from bench.support.engines import draws
from bench.support.search_task import SELECTIVITIES, Task, find_true_neighbours
from featurestore.search import vectors


def test_the_bench_ends_with_one_object():
    command = [
        "bench.search",
        "--features",
        "3000",
        "--dim",
        "32",
        "--queries",
        "8",
        "--peers",
        "exact,hnswlib",
        "--json",
    ]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["features"], found["dim"], found["recall_at_10"]) == (3000, 32, 1.0)
    assert found["exact_ratio"] > 0 and found["build_s"] > 0 and found["p95_ms"] >= found["p50_ms"] > 0
    assert [one["selectivity"] for one in found["filtered"]] == list(SELECTIVITIES)
    assert found["filtered"][1] | {"p50_ms": 0, "p95_ms": 0} == {
        **{"selectivity": 0.1, "recall_at_10": 1.0, "returned": 10.0},
        **{"p50_ms": 0, "p95_ms": 0},
    }
    assert found["peers"]["exact"]["recall_at_10"] == 1.0
    assert ("hnswlib" in found["peers"]) != ("hnswlib    skipped: hnswlib is not installed" in done.stdout)


def test_the_truth_is_what_a_full_sort_says(tmp_path, monkeypatch):
    monkeypatch.setattr(decoders, "SHARD", 700)
    files, source = decoders.write(tmp_path, 2000, 24)
    assert len(files) == 3
    queries = vectors.unit(source.draw(5, 2**31))
    truth = find_true_neighbours(Task(files, queries, {}, 0.95))
    matrix = vectors.unit(numpy.concatenate([numpy.load(file) for file in files]))
    draw = numpy.concatenate([draws(0, 700), draws(700, 700), draws(1400, 600)])
    for share in (1.0, 0.1):
        among = numpy.flatnonzero(draw < share)
        order = numpy.argsort(-(queries @ matrix[among].T), axis=1)[:, :10]
        assert numpy.array_equal(truth[share], among[order])


def test_decoders_are_the_same_again_and_come_in_families(tmp_path):
    files, source = decoders.write(tmp_path / "a", 3000, 64)
    again, _ = decoders.write(tmp_path / "b", 3000, 64)
    one, other = (numpy.load(file) for file in (files[0], again[0]))
    assert numpy.array_equal(one, other) and one.dtype == numpy.float16
    cosines = vectors.unit(one) @ vectors.unit(one).T
    numpy.fill_diagonal(cosines, -1)
    nearest = cosines.max(axis=1)
    assert numpy.median(nearest) > 0.5, "most directions have a relative"
    assert not numpy.array_equal(source.draw(5, 1), source.draw(5, 2))
