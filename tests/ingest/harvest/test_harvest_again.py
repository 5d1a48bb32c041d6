"""A harvest interrupted, split over workers or done in rounds gives the tables of one that was not; and what it leaves
out."""

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy
import pytest
import torch

import featurestore
from featurestore import BadRequest, BadStore, Unavailable
from featurestore.cli.main import main
from featurestore.tables import completeness
from featurestore.tables import writer as store_writer
from ingest import weights
from ingest.corpus import corpus as corpora
from ingest.harvest import forward_pass, resources, shards, store_rows
from ingest.harvest.checkpoint import Checkpoint
from ingest.harvest.forward_pass import FeatureStatistics, ForwardPass, InputCache, Inputs
from ingest.harvest.harvest import harvest
from ingest.harvest.plan import HarvestOptions
from ingest.harvest.resources import split_into_rounds
from ingest.harvest.shards import SHARD, cut_shards, join_shards
from ingest.harvest.weight_harvest import harvest_weights
from ingest.model.model import Model
from ingest.statistics.accumulator import BYTES_PER_FEATURE
from tests.support import small_models

HOOK = "blocks.1.hook_resid_post"
TEXTS = small_models.TEXTS * 3 + [("four", "x = [1, 2, 3]\n" * 9), ("five", "class A:\n    pass\n"), ("empty", "")]
FEW = 4096  # features of a shard of `small_shards`
WIDE = FEW + 20
MOST = slice(300, -40)  # silent features of wide dictionaries: others, of both shards, fire


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("again")
    model = Model(str(small_models.write_model(root / "model")))
    saes = {
        "1-res": weights.read(small_models.write_sae(root / "1-res", hook=HOOK, seed=1)),
        "2-tc": weights.read(
            small_models.write_sae(root / "2-tc", seed=2, hook="blocks.2.mlp.hook_in", out="blocks.2.hook_mlp_out")
        ),
    }
    return root, model, saes


@pytest.fixture
def small_units(monkeypatch):
    monkeypatch.setattr(forward_pass, "UNIT_TOKENS", 22)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of FEW features, in harvests and in what the store's writer expects."""
    assert shards.SHARD == store_writer.SHARD_FEATURES
    monkeypatch.setattr(shards, "SHARD", FEW)
    for module in (store_writer, completeness):
        monkeypatch.setattr(module, "SHARD_FEATURES", FEW)


def content(store):
    """The bytes of every part of what is counted, by table, key and shard."""
    folder = store.location
    return {
        (part.table, part.key, part.shard): hashlib.sha256((folder / part.file).read_bytes()).hexdigest()
        for table in ("features", "examples", "contexts", "documents", "tokens")
        for part in _snapshot(folder).parts(table)
    }


def _snapshot(folder):
    from featurestore.storage.directory import Directory

    return Directory(folder).snapshot()


def a_store(path):
    store = featurestore.create(path)
    object.__setattr__(store, "location", path)
    return store


def stopped_before_writing(model, saes, folder):
    """The checkpoint of a harvest that ended before it wrote."""
    kept = folder / "kept"
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("ingest.harvest.harvest._write_store", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        harvest(
            a_store(folder / "a"),
            model,
            saes,
            TEXTS,
            model_id="small",
            options=HarvestOptions(checkpoint=kept, every=0),
        )
    return kept


def test_an_interrupted_harvest_goes_on_where_it_stopped(world, small_units, tmp_path, monkeypatch):
    _, model, saes = world
    whole = a_store(tmp_path / "whole")
    harvest(whole, model, saes, TEXTS, model_id="small")
    store, kept = a_store(tmp_path / "store"), tmp_path / "kept"
    count, calls = ForwardPass.count, []

    def interrupted(self, unit, counted, cache=None):
        calls.append(unit.start)
        if len(calls) in (3, 4, 9):
            raise KeyboardInterrupt
        count(self, unit, counted, cache)

    monkeypatch.setattr(ForwardPass, "count", interrupted)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            harvest(store, model, saes, TEXTS, model_id="small", options=HarvestOptions(checkpoint=kept, every=0))
        assert store.info().commit == 0
    report = harvest(store, model, saes, TEXTS, model_id="small", options=HarvestOptions(checkpoint=kept, every=0))
    done = [start for n, start in enumerate(calls, 1) if n not in (3, 4, 9)]
    assert len(done) == len(set(done)), "a unit was counted twice"
    assert 0 < report.resumed < 1
    assert content(store) == content(whole)
    assert not kept.exists()


def test_a_checkpoint_of_another_harvest_is_not_taken(world, small_units, tmp_path):
    _, model, saes = world
    kept = stopped_before_writing(model, saes, tmp_path)
    for n, changed in enumerate(({"seed": 1}, {"max_norm": 0.0}, {"context_size": 9}, {"exclude_special": True})):
        report = harvest(
            a_store(tmp_path / f"b{n}"),
            model,
            saes,
            TEXTS,
            model_id="small",
            options=HarvestOptions(checkpoint=kept, **changed),
        )
        assert report.resumed == 0
    assert len(list(kept.iterdir())) == 1  # the first one's is there still


def test_a_damaged_checkpoint_is_told(world, small_units, tmp_path):
    _, model, saes = world
    kept = stopped_before_writing(model, saes, tmp_path)
    file = next(kept.rglob("*.npz"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadStore, match="cannot be read .* delete it to begin anew"):
        harvest(
            featurestore.connect(tmp_path / "a"),
            model,
            saes,
            TEXTS,
            model_id="small",
            options=HarvestOptions(checkpoint=kept),
        )


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_workers_over_disjoint_units_in_any_order_count_the_same(world, small_units, workers):
    _, model, saes = world
    corpus = corpora.tokenise(model.tokenizer, TEXTS)
    points = {source: model.hook_point(sae.hook_point) for source, sae in saes.items()}
    whole_pass = ForwardPass(model, saes, points, corpus, corpus.contexts(small_models.CONTEXT - 1), [model.bos])
    spans = {source: (0, sae.d_sae) for source, sae in saes.items()}
    alone = whole_pass.begin(spans)
    for unit in whole_pass.units:
        whole_pass.count(unit, alone)
    parts = []
    for mine in numpy.array_split(numpy.random.default_rng(workers).permutation(len(whole_pass.units)), workers):
        counted = whole_pass.begin(spans)
        for number in mine:
            whole_pass.count(whole_pass.units[number], counted)
        parts.append({source: FeatureStatistics.from_state(one.state(), seed=0) for source, one in counted.items()})
    for source in saes:
        merged = parts[0][source]
        for part in parts[1:]:
            merged.merge(part[source])
        assert store_rows.make_example_rows(source, corpus.id, merged).equals(
            store_rows.make_example_rows(source, corpus.id, alone[source])
        )
        ours, theirs = store_rows.make_statistics_columns(merged), store_rows.make_statistics_columns(alone[source])
        for name, column in ours.items():
            assert (
                numpy.array_equal(column, theirs[name])
                if isinstance(column, numpy.ndarray)
                else column.equals(theirs[name])
            )


def test_what_is_counted_is_cut_into_shards_and_joined_again(world, small_units):
    _, model, saes = world
    corpus = corpora.tokenise(model.tokenizer, TEXTS)
    points = {source: model.hook_point(sae.hook_point) for source, sae in saes.items()}
    whole_pass = ForwardPass(model, saes, points, corpus, corpus.contexts(small_models.CONTEXT - 1), [model.bos])
    spans = {"1-res": (0, 20)}
    whole, half = whole_pass.begin(spans), whole_pass.begin(spans)
    for number, unit in enumerate(whole_pass.units):
        whole_pass.count(unit, whole)
        if number % 2:
            whole_pass.count(unit, half)
    parts = list(cut_shards(whole["1-res"], 7))
    assert [(part.first, part.last) for part in parts] == [(0, 7), (7, 14), (14, 20)]
    rows, columns = (
        store_rows.make_example_rows("d", "c", whole["1-res"]),
        store_rows.make_statistics_columns(whole["1-res"]),
    )
    for part in parts:
        some = rows.filter([part.first <= feature < part.last for feature in rows["feature"].to_pylist()])
        assert store_rows.make_example_rows("d", "c", part).equals(some)
        for name, column in store_rows.make_statistics_columns(part).items():
            assert column.tolist() == columns[name][part.first : part.last].tolist()
        assert part.counts == whole["1-res"].counts
    same(pickle.loads(pickle.dumps(parts[1])), parts[1])
    same(join_shards(parts, "cpu"), whole["1-res"])
    # Joined, it can be counted on.
    again = {"1-res": join_shards(list(cut_shards(half["1-res"], 7)), "cpu")}
    for unit in whole_pass.units[::2]:
        whole_pass.count(unit, again)
    same(again["1-res"], whole["1-res"])


def same(one, other):
    ours, theirs = one.state(), other.state()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert numpy.array_equal(ours[name], theirs[name]), name


def test_dictionaries_wider_than_memory_are_counted_in_rounds(world, small_shards, tmp_path):
    root, model, _ = world
    wide = weights.read(small_models.write_sae(root / "wide", hook=HOOK, d_sae=WIDE, seed=3, silent=MOST))
    assert split_into_rounds({"wide": WIDE}, memory=1) == [{"wide": (0, FEW)}, {"wide": (FEW, WIDE)}]
    stores = [a_store(tmp_path / "one"), a_store(tmp_path / "many")]
    for store, memory in zip(stores, (8 << 30, 1), strict=True):
        harvest(
            store,
            model,
            {"wide": wide},
            small_models.TEXTS[:2],
            model_id="small",
            options=HarvestOptions(memory=memory),
        )
    one, many = map(content, stores)
    assert one == many
    assert sum(table == "features" for table, _, _ in one) == 2


def test_rounds_hold_every_feature_once():
    for memory in (1, 3 * SHARD * 8192, 100 * SHARD * 8192):
        sizes = {"a": 10, "b": 5 * SHARD + 7, "c": SHARD, "d": 3}
        spans = {source: [] for source in sizes}
        for one in split_into_rounds(sizes, memory):
            assert sum(last - first for first, last in one.values()) <= max(SHARD, memory // 8192)
            for source, span in one.items():
                spans[source].append(span)
        for source, size in sizes.items():
            assert [first for first, _ in spans[source]] == [0, *(last for _, last in spans[source][:-1])]
            assert spans[source][-1][1] == size
            assert all(first % SHARD == 0 for first, _ in spans[source])


def test_attention_sinks_and_special_tokens_are_left_out_and_counted(world, tmp_path):
    _, _, saes = world
    folder = small_models.write_model(tmp_path / "model")
    model = Model(str(folder))
    with torch.no_grad():  # one token's stream is a hundred times as long as the others'
        token = model.tokenizer.encode("=")[0]
        model.language_model.transformer.wte.weight[token] *= 100
    model.tokenizer.add_special_tokens({"additional_special_tokens": ["y"]})
    texts = [("a", "x = 1\ny = 22\nfor name in names: <bos> print(name)")]
    ids = model.tokenizer.encode(texts[0][1])
    sinks, special, bos = ids.count(token), ids.count(model.tokenizer.convert_tokens_to_ids("y")), ids.count(0)
    assert (sinks, special, bos) == (2, 1, 1)
    counted = {}
    for n, given in enumerate(({}, {"exclude_special": True}, {"max_norm": 0})):
        store = featurestore.create(tmp_path / f"s{n}")
        report = harvest(
            store, model, {"1-res": saes["1-res"]}, texts, model_id="small", options=HarvestOptions(**given)
        )
        one = store.dictionary("small/1-res")
        counted[n] = report.counted["small/1-res"]
        assert one.tokens_counted == counted[n]
        excluded = report.excluded["small/1-res"]
        assert one.tokens_excluded == sum(excluded.values())
        assert excluded["special"] == (special if n == 1 else 0)
        assert (excluded["sinks"] >= sinks) == (n < 2)
        contexts = -(-len(ids) // (one.context_size - 1))
        assert excluded["bos"] == contexts + bos  # each context's own, and the one in the text
        assert counted[n] + excluded["special"] + excluded["sinks"] == len(ids) - bos
    assert counted[2] == len(ids) - bos


def test_weights_alone_say_norms_and_logits(world, tmp_path):
    _, model, saes = world
    harvested, alone, bare = (featurestore.create(tmp_path / name) for name in ("harvested", "alone", "bare"))
    harvest(harvested, model, saes, small_models.TEXTS, model_id="small")
    harvest_weights(alone, saes, model_id="small", model=model)
    harvest_weights(bare, saes, model_id="small")
    columns = "dictionary, feature, decoder_norm, encoder_norm, encoder_decoder_cosine"
    logits = "top_logits, bottom_logits, logit_mean, logit_std, logit_skewness, logit_kurtosis, logit_histogram"
    statement = f"SELECT {columns}, {logits} FROM features ORDER BY ALL"
    assert harvested.sql(statement).equals(alone.sql(statement))
    statement = f"SELECT {columns} FROM features ORDER BY ALL"
    assert harvested.sql(statement).equals(bare.sql(statement))
    page = alone.feature("small/1-res/0")
    assert (page.state, page.density, page.examples, page.coactive) == ("unharvested", None, (), ())
    assert len(page.top_logits) == 20
    assert bare.feature("small/1-res/0").top_logits == ()
    for store in (alone, bare):
        store.index()
        assert store.nearest("small/1-res/0", k=3, all=True).hits
        assert store.check().problems == ()


def test_workers_are_a_clusters(world, invoke):
    root, _, _ = world
    done = invoke(main, ["harvest", "--store", "s", "--weights", str(root / "1-res"), "--workers", "2"])
    assert (done.exit_code, "name the cluster with --ray" in done.stderr) == (2, True)


def test_weights_alone_from_the_command_line(world, tmp_path, invoke):
    root, _, _ = world
    given = ["harvest", "--store", str(tmp_path / "s"), "--weights", str(root / "1-res")]
    done = invoke(main, given)
    assert done.exit_code == 0, done.output
    assert "small/1-res" in done.stdout  # the name its config has
    assert featurestore.connect(tmp_path / "s").info().features == 20
    done = invoke(main, [*given, "--text", str(root)])
    assert (done.exit_code, "--model DIR" in done.stderr) == (2, True)


def test_no_space_is_told_before_any_work(world, tmp_path, monkeypatch):
    _, model, saes = world
    store = featurestore.create(tmp_path / "store")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    monkeypatch.setattr(ForwardPass, "count", lambda *given: pytest.fail("the model ran"))
    with pytest.raises(
        Unavailable,
        match=f"no space: the harvest writes some .* MB to {store.location}, but there is 0.0 MB left",
    ):
        harvest(store, model, saes, small_models.TEXTS, model_id="small")
    assert store.info().commit == 0


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_no_space_for_what_is_kept_is_told_before_any_work(world, small_units, tmp_path, monkeypatch):
    _, model, saes = world
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", mounted]).returncode:
        pytest.skip("mounting needs root")
    try:
        store = featurestore.create(tmp_path / "store")
        with monkeypatch.context() as patched:
            patched.setattr(ForwardPass, "count", lambda *given: pytest.fail("the model ran"))
            with pytest.raises(Unavailable, match=f"no space: .* MB to {mounted}/store.harvest, but there is 0.2 MB"):
                harvest(
                    store,
                    model,
                    saes,
                    TEXTS,
                    model_id="small",
                    options=HarvestOptions(checkpoint=mounted / "store.harvest"),
                )
        assert not list(mounted.iterdir())
        # What was not foreseen, since others fill the disk meanwhile, is told as well.
        monkeypatch.setattr("ingest.harvest.resources.check_space", lambda wanted: None)
        (mounted / "another's").write_bytes(bytes(195 << 10))
        with pytest.raises(Unavailable, match="what is counted cannot be kept in .* goes on from what was kept before"):
            harvest(
                store,
                model,
                saes,
                TEXTS,
                model_id="small",
                options=HarvestOptions(checkpoint=mounted / "store.harvest", every=0),
            )
        with pytest.raises(Unavailable, match="what the dictionaries read cannot be kept in .* goes on from there"):
            InputCache(mounted / "inputs", "cpu").put(
                slice(0, 1), {"a": Inputs(torch.zeros(9000), *[torch.zeros(0)] * 2, 0, 0)}
            )
        assert not list((mounted / "inputs").iterdir())
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert store.info().commit == 0


def test_no_more_is_kept_than_was_foreseen(world, small_shards, tmp_path, monkeypatch):
    root, model, _ = world
    wide = weights.read(small_models.write_sae(root / "kept", hook=HOOK, d_sae=WIDE, seed=3, silent=MOST))
    plans, lay = [], []
    write = Checkpoint.write

    def watched(self, *given):
        write(self, *given)
        lay.append(resources.measure_folder(self.folder))

    monkeypatch.setattr(Checkpoint, "write", watched)
    store, kept = featurestore.create(tmp_path / "store"), tmp_path / "kept"
    harvest(
        store,
        model,
        {"wide": wide},
        TEXTS[:2],
        model_id="m",
        announce=plans.append,
        options=HarvestOptions(memory=1, checkpoint=kept, every=0),
    )
    (plan,) = plans
    assert (plan.features, plan.rounds, plan.tokens) == (WIDE, 2, sum(len(text) for _, text in TEXTS[:2]) + 1)
    assert plan.counts == FEW * BYTES_PER_FEATURE
    assert max(lay) < plan.beside
    assert sum(one.bytes for one in _snapshot(tmp_path / "store").all()) < plan.stored


def test_documents_are_split_by_their_tokens(world, tmp_path):
    _, model, saes = world
    store = featurestore.create(tmp_path / "store")
    texts = [(f"{n}", f"text {n} of some") for n in range(40)]
    report = harvest(store, model, {"1-res": saes["1-res"]}, texts, model_id="small")
    wanted = [
        hashlib.sha256(numpy.array(model.tokenizer.encode(text), "<i4").tobytes()).digest()[0] % 4 == 0
        for _, text in texts
    ]
    assert store.sql("SELECT held_out FROM documents ORDER BY document")["held_out"].to_pylist() == wanted
    assert report.held_out_documents == sum(wanted) > 3
    examples = store.feature("small/1-res/0").examples
    assert {one.held_out for one in examples} == {True, False}
    assert all(one.held_out == wanted[one.document] for one in examples)
    top = [one for one in examples if one.band == "top"]
    assert [one.activation for one in top] == sorted((one.activation for one in top), reverse=True)
    assert [one.rank for one in top] == list(range(len(top)))
    assert sum(one.held_out for one in top) <= 10
    assert sum(not one.held_out for one in top) <= 20


def test_a_corpus_of_one_document_holds_none_out(world, tmp_path):
    _, model, saes = world
    for n in range(8):  # some of these would be held out
        store = featurestore.create(tmp_path / f"s{n}")
        texts = [("a", f"text {n} of some")]
        assert harvest(store, model, {"1-res": saes["1-res"]}, texts, model_id="m").held_out_documents == 0


def test_harvests_options_are_refused_in_words(world, tmp_path):
    _, model, saes = world
    store = featurestore.create(tmp_path / "store")
    with pytest.raises(BadRequest, match="context size 1000: the model sees 2 to 32 tokens"):
        harvest(store, model, saes, small_models.TEXTS, model_id="small", options=HarvestOptions(context_size=1000))
