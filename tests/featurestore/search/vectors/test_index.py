"""The vector index against a full sort in NumPy: recall, filters, bad input, damage, growth and interrupted builds."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

from featurestore.errors import BadRequest, BadStore, Conflict, UnsupportedVersion
from featurestore.search import vectors
from featurestore.search.vectors import building, clusters, codes, index, plan, rows
from tests.support import tiny

DIM = 48


def family_vectors(count, seed=0, dim=DIM):
    """Clustered rows, (count, dim) float16, of unequal lengths; families are the same for every seed."""
    centres = numpy.random.default_rng(99).normal(size=(count // 15 + 1, dim))
    rng = numpy.random.default_rng(seed)
    found = centres[rng.integers(0, len(centres), count)] + 0.8 * rng.normal(size=(count, dim))
    return (found * rng.uniform(0.1, 3, (count, 1))).astype(numpy.float16)


def on_disk(folder, parts):
    """The parts as memory-mapped files."""
    folder.mkdir(exist_ok=True)
    for number, part in enumerate(parts):
        numpy.save(folder / f"{number}.npy", part)
    return [numpy.load(folder / f"{number}.npy", mmap_mode="r") for number in range(len(parts))]


def cosines_of(parts, query):
    matrix = numpy.concatenate(parts).astype(numpy.float64)
    norms = numpy.linalg.norm(matrix, axis=1)
    products = matrix @ query / numpy.linalg.norm(query)
    return numpy.divide(products, norms, out=numpy.zeros_like(products), where=norms > 0)


def nearest_of(parts, query, k, allowed=None):
    """The oracle: every cosine, sorted, equal ones in order of rows."""
    exact = cosines_of(parts, query)
    among = numpy.arange(len(exact)) if allowed is None else numpy.flatnonzero(allowed)
    return among[numpy.argsort(-exact[among], kind="stable")][:k]


def recall_of(found, parts, query, k, allowed=None):
    """The share of the true nearest whose cosine is reached, so that equal vectors count alike."""
    exact = cosines_of(parts, query)
    truth = exact[nearest_of(parts, query, k, allowed)]
    assert len(found) == len(set(found.tolist())) == len(truth)
    return (exact[found] >= truth[-1] - 1e-6).mean()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """An index by lists over 12,000 rows in three files, its path and its parts."""
    folder = tmp_path_factory.mktemp("large")
    matrix = family_vectors(12_000)
    matrix[[5, 7000]] = 0
    matrix[6001:6004] = matrix[6000]
    parts = on_disk(folder / "parts", numpy.split(matrix, [5000, 9000]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "FLAT_NUMBERS", 0)
        patch.setattr(building, "BLOCK", 2048)
        assert vectors.build(folder / "index", parts) == 12_000
    return vectors.VectorIndex(folder / "index", parts), folder / "index", parts


@pytest.fixture
def always_lists(monkeypatch):
    monkeypatch.setattr(building, "FLAT_NUMBERS", 0)
    monkeypatch.setattr(building, "BLOCK", 512)


def queries_near(parts, count, seed=3):
    rng = numpy.random.default_rng(seed)
    matrix = numpy.concatenate(parts).astype(numpy.float32)
    some = matrix[rng.integers(0, len(matrix), count)]
    return some + 0.3 * numpy.abs(some).mean() * rng.normal(size=some.shape)


@pytest.mark.parametrize("k", [1, 10, 100, 1000])
def test_lists_find_what_a_full_sort_finds(large, k):
    index, _, parts = large
    shares = []
    for query in queries_near(parts, 40):
        found, scores = index.search(query, k)
        numpy.testing.assert_allclose(scores, cosines_of(parts, query)[found], atol=2e-6)
        assert (numpy.diff(scores) <= 0).all()
        shares.append(recall_of(found, parts, query, k))
    assert numpy.mean(shares) >= 0.95


@pytest.mark.parametrize("ways", [(0, 100), (200, 1000), (10**6, 10**6)], ids=["by lists", "mixed", "one by one"])
@pytest.mark.parametrize("share", [1, 0.5, 0.1, 0.02, 1e-3, 1e-4])
def test_filters_leave_recall(large, monkeypatch, ways, share):
    vector_index, _, parts = large
    few, counted = ways
    monkeypatch.setattr(index, "FEW", few)
    monkeypatch.setattr(index, "COUNTED", counted)
    rng = numpy.random.default_rng(5)
    shares = []
    for query in queries_near(parts, 20):
        allowed = rng.random(12_000) < share
        allowed[rng.integers(12_000)] = True
        found, _ = vector_index.search(query, 10, allowed)
        assert allowed[found].all()
        shares.append(recall_of(found, parts, query, 10, allowed))
    assert numpy.mean(shares) >= 0.95


@pytest.mark.parametrize("kept_away", [0.003, 0.03, 0.3])
@pytest.mark.parametrize("counted", [1000, 10**6], ids=["sampled", "counted"])
def test_filters_that_remove_exactly_what_is_nearest(large, monkeypatch, counted, kept_away):
    """The hardest filter: the rows nearest to the query, its family and more, are forbidden."""
    vector_index, _, parts = large
    monkeypatch.setattr(index, "FEW", 0)
    monkeypatch.setattr(index, "COUNTED", counted)
    monkeypatch.setattr(index, "BEYOND", 1000)
    shares = []
    for query in queries_near(parts, 20):
        exact = cosines_of(parts, query)
        allowed = exact < numpy.quantile(exact, 1 - kept_away)
        found, _ = vector_index.search(query, 10, allowed)
        assert allowed[found].all()
        shares.append(recall_of(found, parts, query, 10, allowed))
    assert numpy.mean(shares) >= 0.95


def test_queries_that_are_near_to_nothing(tmp_path, monkeypatch, always_lists):
    """A direction of its own, as a steering vector may have: its nearest rows are far ones, in many lists."""
    monkeypatch.setattr(index, "AROUND", 3000)
    parts = on_disk(tmp_path / "parts", [family_vectors(4000, dim=256)])
    vectors.build(tmp_path / "index", parts)
    opened = vectors.VectorIndex(tmp_path / "index", parts)
    queries = numpy.random.default_rng(8).normal(size=(20, 256))

    def recall():
        return numpy.mean([recall_of(opened.search(query, 10)[0], parts, query, 10) for query in queries])

    found = recall()
    assert found >= 0.9
    monkeypatch.setattr(index, "ASTRAY", numpy.inf)
    assert recall() < found, "the plan alone finds fewer"


@pytest.mark.parametrize("share", [None, 0.95])
def test_queries_as_near_to_many_lists_as_to_any_row(tmp_path, always_lists, monkeypatch, share):
    """A text is nearer to what many labels have in common than to any of them: the plan, made of rows, stops too early.

    A filter that forbids little, as the one that hides dead features, changes nothing.
    """
    monkeypatch.setattr(index, "AROUND", 300)
    rng = numpy.random.default_rng(4)
    centres = rng.normal(size=(60, 128)) + 1.5 * rng.normal(size=128)
    rows = centres[rng.integers(0, 60, 4000)] + 1.5 * rng.normal(size=(4000, 128))
    parts = on_disk(tmp_path / "parts", [rows.astype(numpy.float16)])
    vectors.build(tmp_path / "index", parts)
    opened = vectors.VectorIndex(tmp_path / "index", parts)
    queries = centres.mean(axis=0) + 0.6 * rng.normal(size=(20, 128))
    allowed = None if share is None else rng.random(4000) < share
    found = [opened.search(query, 10, allowed)[0] for query in queries]
    shares = [recall_of(rows, parts, query, 10, allowed) for rows, query in zip(found, queries, strict=True)]
    assert numpy.mean(shares) >= 0.9


@pytest.mark.parametrize("lists", [1, 3, 1000])
@pytest.mark.parametrize("share", [0, 0.1, 1])
def test_rows_above_an_estimate_are_those_that_a_scan_finds(large, lists, share):
    built, _, parts = large
    probe = built._lists.probe(rows.direction_of(queries_near(parts, 1)[0], DIM))
    chosen = probe.order[:lists]
    everything, estimates = built._lists.scan(probe, chosen, len(built))
    assert len(everything) == built._sizes[chosen].sum()
    least = numpy.quantile(estimates, 1 - share) if share else 2.0
    found, above = built._lists.above(probe, chosen, float(least) - 1e-6)
    count = int(numpy.count_nonzero(estimates > least - 1e-6))
    assert sorted(found) == sorted(everything[:count])
    numpy.testing.assert_array_equal(above, estimates[:count])


def test_k_beyond_what_there_is(large):
    index, _, parts = large
    query = queries_near(parts, 1)[0]
    found, scores = index.search(query, 10**9)
    assert sorted(found) == list(range(12_000)), "all rows, each once"
    assert list(found) == list(nearest_of(parts, query, 12_000)) or (numpy.diff(scores) <= 0).all()
    allowed = numpy.zeros(12_000, bool)
    assert [len(part) for part in index.search(query, 5, allowed)] == [0, 0]
    allowed[[3, 8000]] = True
    assert set(index.search(query, 5, allowed)[0]) == {3, 8000}


def test_zero_rows_and_copies(large):
    index, _, parts = large
    query = numpy.asarray(parts[1][1000], numpy.float32)  # row 6000, with copies behind it
    found, scores = index.search(query, 4)
    assert list(found) == [6000, 6001, 6002, 6003]
    numpy.testing.assert_allclose(scores, 1, atol=1e-6)
    allowed = numpy.zeros(12_000, bool)
    allowed[[5, 6000, 7000]] = True
    found, scores = index.search(query, 3, allowed)
    assert list(found) == [6000, 5, 7000] and list(scores[1:]) == [0, 0]


def test_several_vectors_at_once(large):
    index, _, parts = large
    queries = queries_near(parts, 5)
    found, scores = index.search(queries, 7)
    for query, some, cosines in zip(queries, found, scores, strict=True):
        alone = index.search(query, 7)
        assert list(alone[0]) == list(some) and list(alone[1]) == list(cosines)


@pytest.mark.parametrize(
    ("vector", "k", "allowed", "message"),
    [
        (numpy.ones(DIM + 1), 5, None, f"vectors of {DIM} numbers"),
        (numpy.full(DIM, numpy.nan), 5, None, "not finite"),
        (numpy.zeros(DIM), 5, None, "no direction"),
        (numpy.ones(DIM), 0, None, "k is 0"),
        (numpy.ones(DIM), 5, numpy.ones(3, bool), "12000 booleans"),
        (numpy.ones(DIM), 5, numpy.ones(12_000), "12000 booleans"),
    ],
)
def test_queries_that_mean_nothing(large, vector, k, allowed, message):
    with pytest.raises(BadRequest, match=message):
        large[0].search(vector, k, allowed)


def test_queries_of_any_length(large):
    index, _, parts = large
    query = queries_near(parts, 1)[0]
    found = index.search(query, 10)[0]
    for scale in (1e-30, 1e30):
        assert list(index.search(query * numpy.float32(scale), 10)[0]) == list(found)


def test_the_recall_reached_is_recorded(large, tmp_path, always_lists):
    index, _, parts = large
    assert index.about["kind"] == "lists"
    assert index.about["asked"] == 0.95 <= index.about["reached"]
    vectors.build(tmp_path / "more", parts, recall=0.995)
    more = vectors.VectorIndex(tmp_path / "more", parts)
    assert more.about["asked"] == 0.995 and more.about["reached"] >= index.about["reached"]
    queries = queries_near(parts, 60, seed=8)
    mean = numpy.mean([recall_of(more.search(query, 10)[0], parts, query, 10) for query in queries])
    assert mean >= 0.985
    with pytest.raises(BadRequest, match="recall of 1.5"):
        vectors.build(tmp_path / "x", parts, recall=1.5)


@pytest.mark.parametrize("name", ["trained.npz", "lists.npy", "lists.faiss", "index.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "scrambled"])
def test_damage_is_named(large, tmp_path, name, damage):
    _, path, parts = large
    copy = shutil.copytree(path, tmp_path / "copy")
    raw = (copy / name).read_bytes()
    (copy / name).unlink()
    if damage == "cut":
        (copy / name).write_bytes(raw[: len(raw) // 2])
    elif damage == "scrambled":
        (copy / name).write_bytes(bytes(255 - byte for byte in raw[:200]) + raw[200:])
    with pytest.raises(BadStore, match="run `featurestore index --rebuild`"):
        vectors.VectorIndex(copy, parts)


def test_other_formats_and_other_vectors(large, tmp_path):
    _, path, parts = large
    copy = shutil.copytree(path, tmp_path / "copy")
    about = json.loads((copy / "index.json").read_text())
    (copy / "index.json").write_text(json.dumps(about | {"format": 1}))
    with pytest.raises(UnsupportedVersion, match="format 1"):
        vectors.VectorIndex(copy, parts)
    with pytest.raises(BadStore, match="5000 vectors, not 4000|4000 vectors, not 5000"):
        vectors.VectorIndex(path, [parts[1], parts[0], parts[2]])
    with pytest.raises(BadStore, match="over 3 files"):
        vectors.VectorIndex(path, parts[:2])


def test_rows_whose_file_is_gone_are_not_found(large):
    _, path, parts = large
    index = vectors.VectorIndex(path, [parts[0], None, parts[2]])
    query = numpy.asarray(parts[1][1000], numpy.float32)
    there = numpy.ones(12_000, bool)
    there[5000:9000] = False
    for allowed in (None, numpy.ones(12_000, bool), numpy.arange(12_000) % 3 == 0):
        found, _ = index.search(query, 10, allowed)
        both = there if allowed is None else there & allowed
        assert both[found].all()
        assert recall_of(found, parts, query, 10, both) >= 0.9


def count_coded(monkeypatch):
    coded, encode = [], codes.encode
    monkeypatch.setattr(codes, "encode", lambda run, trained: coded.append(len(run)) or encode(run, trained))
    return coded


def test_a_part_more_or_less_leaves_the_others_as_they_are(tmp_path, always_lists, monkeypatch):
    parts = on_disk(tmp_path / "parts", [family_vectors(2000, seed) for seed in range(4)])
    coded = count_coded(monkeypatch)
    vectors.build(tmp_path / "first", parts[:3])
    assert sum(coded) == 6000
    coded.clear()
    vectors.build(tmp_path / "more", parts, reuse=tmp_path / "first")
    assert sum(coded) == 2000, "only what is new"
    coded.clear()
    fewer = [parts[3], parts[1]]
    vectors.build(tmp_path / "fewer", fewer, reuse=tmp_path / "more")
    assert coded == []
    shutil.rmtree(tmp_path / "first")  # an older index is not needed by a later one
    for path, those in ((tmp_path / "more", parts), (tmp_path / "fewer", fewer)):
        index = vectors.VectorIndex(path, those)
        queries = queries_near(those, 30)
        assert len(index) == sum(map(len, those))
        mean = numpy.mean([recall_of(index.search(query, 10)[0], those, query, 10) for query in queries])
        assert mean >= 0.95
    assert len(list((tmp_path / "fewer" / "blocks").iterdir())) == 8


def test_an_index_that_is_outgrown_or_damaged_is_not_taken_over(tmp_path, always_lists, monkeypatch):
    parts = [family_vectors(1000, seed) for seed in range(6)]
    vectors.build(tmp_path / "small", parts[:1])
    coded = count_coded(monkeypatch)
    vectors.build(tmp_path / "grown", parts, reuse=tmp_path / "small")
    assert sum(coded) == 6000
    (tmp_path / "grown" / "trained.npz").write_bytes(b"?")
    coded.clear()
    vectors.build(tmp_path / "again", parts, reuse=tmp_path / "grown")
    assert sum(coded) == 6000


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy
from featurestore.search import vectors
from featurestore.search.vectors import building
building.FLAT_NUMBERS, building.BLOCK = 0, 512
folder = Path(sys.argv[1])
parts = [numpy.load(folder / "parts" / f"{n}.npy", mmap_mode="r") for n in range(3)]
def progress(stage, total):
    done = []
    def advance(count):
        done.append(count)
        if stage == sys.argv[2] and len(done) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
    return advance
if sys.argv[2] == "kinds":
    building._Build.measure_kinds = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
vectors.build(folder / "index", parts, progress=progress)
"""


@pytest.mark.parametrize(
    ("stage", "step", "left"),
    [("training clusters", 3, 4500), ("coding vectors", 5, 4500 - 2476), ("measuring recall", 1, 0), ("kinds", 0, 0)],
)
def test_a_killed_build_goes_on(tmp_path, always_lists, monkeypatch, stage, step, left):
    parts = on_disk(tmp_path / "parts", numpy.split(family_vectors(4500), [1452, 3000]))
    child = [sys.executable, "-c", KILLED, str(tmp_path), stage, str(step)]
    assert subprocess.run(child, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "index").exists()
    coded = count_coded(monkeypatch)
    vectors.build(tmp_path / "index", parts)
    assert sum(coded) == left
    coded.clear()
    vectors.build(tmp_path / "whole", parts)
    assert sum(coded) == 4500
    one, other = (vectors.VectorIndex(tmp_path / name, parts) for name in ("index", "whole"))
    assert one.about == other.about
    for query in queries_near(parts, 10):
        for mine, theirs in zip(one.search(query, 20), other.search(query, 20), strict=True):
            assert list(mine) == list(theirs)


def test_a_half_written_block_is_coded_again(tmp_path, always_lists, monkeypatch):
    parts = [family_vectors(2000)]
    monkeypatch.setattr(codes, "pack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        vectors.build(tmp_path / "index", parts, work=tmp_path / "work")
    monkeypatch.undo()
    monkeypatch.setattr(building, "FLAT_NUMBERS", 0)
    monkeypatch.setattr(building, "BLOCK", 512)
    blocks = sorted((tmp_path / "work" / "blocks").iterdir())
    blocks[1].write_bytes(blocks[1].read_bytes()[:-1])
    (tmp_path / "work" / "blocks" / "stranger-0.npy").write_bytes(b"")
    coded = count_coded(monkeypatch)
    vectors.build(tmp_path / "index", parts, work=tmp_path / "work")
    assert coded == [512]
    assert len(list((tmp_path / "index" / "blocks").iterdir())) == 4 and not (tmp_path / "work").exists()


def test_two_builds_of_one_index(tmp_path, always_lists):
    parts = [family_vectors(1000)]

    def progress(stage, total):
        with pytest.raises(Conflict, match="another process is building"):
            vectors.build(tmp_path / "index", parts)
        return lambda count: None

    vectors.build(tmp_path / "index", parts, progress=progress)
    assert len(vectors.VectorIndex(tmp_path / "index", parts)) == 1000


@pytest.mark.parametrize("parts", [[numpy.zeros((700, 8), numpy.float16)], [numpy.ones((300, 3)), numpy.ones((2, 3))]])
def test_vectors_that_are_all_alike(tmp_path, always_lists, parts):
    vectors.build(tmp_path / "index", parts)
    index = vectors.VectorIndex(tmp_path / "index", parts)
    found, scores = index.search(numpy.ones(parts[0].shape[1]), 5)
    assert len(found) == 5
    numpy.testing.assert_allclose(scores, float(parts[0].any()), atol=1e-6)


def test_a_store_whose_space_grew_large(tmp_path, monkeypatch):
    """The same answers from lists as from an exact index, also when a dictionary is gone and before indexing again."""
    store = tiny.write_tiny_store(tmp_path / "s")
    ids = [f"tiny/0-res/{feature}" for feature in (0, 3, 11, 21)]

    def answers(names):
        return [[(hit.id, pytest.approx(hit.score, abs=2e-3)) for hit in store.nearest(name, k=6)] for name in names]

    before = answers(ids)
    monkeypatch.setattr(building, "FLAT_NUMBERS", 0)
    with store.writer("test") as writer:
        writer.remove("decoder_index", tiny.MODEL)
    said = store.index()
    assert re.search(r"48 vectors, recall (0.9\d\d|1.000) measured on 48 queries", said[0])
    assert answers(ids) == before
    with store.writer("test") as writer:
        writer.remove_dictionary("tiny/1-res")
    left = answers(ids)
    assert all(hit.startswith("tiny/0-res/") for hits in left for hit, _ in hits)
    coded = count_coded(monkeypatch)
    assert "24 vectors" in store.index()[0]
    assert tiny.D_SAE not in coded and answers(ids) == left  # the labels' vectors are coded anew, the decoder's are not


def test_small_indexes_are_exact(tmp_path):
    parts = [family_vectors(1500), family_vectors(500, 1)]
    vectors.build(tmp_path / "index", parts)
    index = vectors.VectorIndex(tmp_path / "index", parts)
    assert index.about == {"kind": "flat", "rows": 2000} and (tmp_path / "index").is_file()
    for query in queries_near(parts, 10):
        allowed = numpy.random.default_rng(1).random(2000) < 0.1
        assert list(index.search(query, 10, allowed)[0]) == list(nearest_of(parts, query, 10, allowed))
    with pytest.raises(BadStore, match="has 2000 rows, not 1500"):
        vectors.VectorIndex(tmp_path / "index", parts[:1])
    (tmp_path / "index").write_bytes((tmp_path / "index").read_bytes()[:5000])
    with pytest.raises(BadStore, match="run `featurestore index --rebuild`"):
        vectors.VectorIndex(tmp_path / "index", parts)


def test_float16_is_widened_rightly():
    every = numpy.arange(2**16, dtype=numpy.uint16).view(numpy.float16)
    finite = every[numpy.isfinite(every)]
    assert numpy.array_equal(rows.as_float32(finite[None]), finite[None].astype(numpy.float32))


def test_best_breaks_ties_by_row():
    rng = numpy.random.default_rng(0)
    cosines = rng.integers(0, 5, 500).astype(numpy.float32)
    numbers = rng.permutation(500)
    for k in (1, 17, 499, 500, 900):
        found, scores = rows.best(numbers, cosines, k)
        truth = sorted(zip(-cosines, numbers, strict=True))[:k]
        assert list(found) == [row for _, row in truth] and list(scores) == [-score for score, _ in truth]


def test_exact_scan_of_many_rows_keeps_the_best(monkeypatch):
    monkeypatch.setattr(rows, "KEPT", 64)
    parts = numpy.split(family_vectors(1000), [300, 301])
    query = queries_near(parts, 1)[0]
    direction = rows.direction_of(query, DIM)
    every = rows.VectorRows(parts)
    for among in (None, numpy.arange(0, 1000, 3)):
        allowed = numpy.ones(1000, bool) if among is None else numpy.isin(numpy.arange(1000), among)
        found, scores = every.nearest(direction, 50, among)
        assert list(found) == list(nearest_of(parts, query, 50, allowed))
        numpy.testing.assert_allclose(scores, cosines_of(parts, query)[found], atol=2e-6)


def test_how_far_to_look_between_and_beyond_the_depths_that_were_measured():
    measured = plan.Plan(
        depths=(10, 100),
        gaps=(0.1, 0.2),
        probes=(2, 8),
        candidates=(256, 512),
        slack=0,
        asked=1,
        reached=1,
        queries=1,
        rows=1,
    )
    found = [measured.reach(depth) for depth in (1, 10, 10**1.5, 100, 1000)]
    numpy.testing.assert_allclose(found, [(0.1, 2), (0.1, 2), (0.15, 4), (0.2, 8), (0.3, 32)])
    cosines = numpy.array([0.2, 0.9, 0.7, 0.85], numpy.float32)
    probe = codes.Probe(numpy.zeros(1), cosines, numpy.argsort(-cosines))
    assert [probe.within(gap, probe.order) for gap in (0, 0.06, 0.3, 2)] == [1, 2, 3, 4]
    assert probe.within(0.2, probe.order[1:]) == 2, "the nearest of those lists counts, not of all"


def test_candidates_are_compared_until_the_slack_says_enough():
    rng = numpy.random.default_rng(0)
    exact = rng.random(3000).astype(numpy.float32)
    estimates = exact + rng.uniform(-0.05, 0.05, 3000).astype(numpy.float32)
    order = numpy.argsort(-estimates)
    asked = []

    def cosines(some):
        asked.extend(some.tolist())
        return exact[some]

    found, scores = plan.compare(order, estimates[order], 10, 0.05, cosines)
    assert list(found) == list(numpy.argsort(-exact)[:10]), "an error of at most the slack changes nothing"
    assert list(scores) == list(exact[found])
    assert len(asked) == len(set(asked)) < 1000, "and not all were compared"


def test_rows_go_to_their_nearest_cluster():
    matrix = vectors.unit(family_vectors(5000))
    found = clusters.train(matrix.astype(numpy.float16), 90)
    assert found.centroids.shape == (90, DIM) and found.starts[-1] == 90
    cosines = matrix @ found.centroids.T
    assigned = clusters.assign(matrix, found)
    assert (assigned == cosines.argmax(axis=1)).mean() > 0.85
    assert (cosines.max(axis=1) - cosines[numpy.arange(5000), assigned]).mean() < 0.02


def test_memory_while_coding_does_not_grow_with_the_rows(tmp_path):
    """What is held at once is a run of rows, whatever the file: the peak for four times the rows is about the same."""
    code = """
import resource, sys, numpy
from pathlib import Path
from featurestore.search.vectors import clusters, codes
part = numpy.load(sys.argv[1], mmap_mode="r")
rotation = codes.rotation(512)
some = codes.unit(part[:300]) @ rotation
trained = codes.Trained(rotation, clusters.train(some, 20))
codes.encode(part[: int(sys.argv[2])], trained)
print(int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) >= 0, end=" ")
peak = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData")]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read from /proc")
    numpy.save(tmp_path / "x.npy", numpy.random.default_rng(0).random((49_152, 512), numpy.float32).astype("f2"))
    peaks = []
    for count in (16_384, 49_152):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "x.npy"), str(count)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        peaks.append(int(done.stdout.split()[-1]))
    mapped = (49_152 - 16_384) * 512 * 2 // 1024
    assert peaks[1] - peaks[0] < 1.5 * mapped, "beyond the mapped file itself, little"
