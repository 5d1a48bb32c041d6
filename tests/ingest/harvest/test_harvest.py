"""A harvest of a small real model against a dense NumPy reference, and what it refuses."""

import json

import numpy
import pytest
import torch
from transformers import GPT2LMHeadModel

import featurestore
from featurestore import BadRequest, Conflict
from featurestore.cli.main import main
from ingest import weights
from ingest.harvest.harvest import harvest
from ingest.harvest.plan import HarvestOptions
from ingest.model.model import Model
from tests.support import small_models

HOOK = "blocks.1.hook_resid_post"
TRANSCODER = {"hook": "blocks.2.mlp.hook_in", "out": "blocks.2.hook_mlp_out"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Model, dictionaries and a harvested store."""
    root = tmp_path_factory.mktemp("harvest")
    model = Model(str(small_models.write_model(root / "model")))
    saes = {
        "1-res": weights.read(small_models.write_sae(root / "1-res", hook=HOOK, seed=1)),
        "2-tc": weights.read(small_models.write_sae(root / "2-tc", seed=2, **TRANSCODER)),
    }
    store = featurestore.create(root / "store")
    report = harvest(store, model, saes, small_models.TEXTS, model_id="small")
    return root, model, saes, store, report


@pytest.fixture(scope="module")
def reference(world):
    """Dense activations of each dictionary: {source: [(document, start, (tokens, n) array)]}, from plain
    transformers."""
    root, _, _, _, _ = world
    model = GPT2LMHeadModel.from_pretrained(root / "model").eval()
    tokenizer = small_models.tokenizer()
    out = {"1-res": [], "2-tc": []}
    for document, (_, text) in enumerate(small_models.TEXTS):
        ids = tokenizer.encode(text)
        for start in range(0, len(ids), small_models.CONTEXT - 1):
            run = [0, *ids[start : start + small_models.CONTEXT - 1]]
            caught = {}
            handle = model.transformer.h[2].mlp.register_forward_pre_hook(lambda m, a, c=caught: c.update(x=a[0]))
            with torch.no_grad():
                hidden = model(torch.tensor([run]), output_hidden_states=True).hidden_states
            handle.remove()
            for source, inputs, seed, subtract in (("1-res", hidden[2], 1, True), ("2-tc", caught["x"], 2, False)):
                t = {
                    k: v.numpy()
                    for k, v in small_models.tensors(small_models.WIDTH, 20, small_models.WIDTH, seed).items()
                }
                x = inputs[0, 1:].numpy() - (t["b_dec"] if subtract else 0)
                pre = x @ t["W_enc"] + t["b_enc"]
                out[source].append((document, start, numpy.where(pre > t["threshold"], numpy.maximum(pre, 0), 0)))
    return out


@pytest.mark.parametrize("source", ["1-res", "2-tc"])
def test_statistics_equal_dense(world, reference, source):
    store = world[3]
    flat = numpy.concatenate([acts for _, _, acts in reference[source]])
    active = flat != 0
    rows = store.sql(f"SELECT * FROM features WHERE dictionary = 'small/{source}' ORDER BY feature").to_pylist()
    assert len(rows) == 20
    assert active.any(0).sum() >= 10, "the reference must have something to compare"
    edges = numpy.array(featurestore.HISTOGRAM_EDGES)
    for i, row in enumerate(rows):
        values = flat[active[:, i], i].astype(float)
        assert row["active_tokens"] == len(values)
        assert row["density"] == pytest.approx(len(values) / len(flat))
        assert row["active_contexts"] == sum(bool((acts[:, i] != 0).any()) for _, _, acts in reference[source])
        bins = numpy.clip(numpy.searchsorted(edges, values, side="right") - 1, 0, 63)
        assert row["histogram"] == numpy.bincount(bins, minlength=64).tolist()
        if len(values):
            assert row["mean_activation"] == pytest.approx(values.mean(), rel=1e-4)
            assert row["std_activation"] == pytest.approx(values.std(), rel=1e-3, abs=1e-4)
            assert row["max_activation"] == pytest.approx(values.max(), rel=1e-4)
            assert row["state"] in ("live", "always-on")
        else:
            assert row["state"] == "dead"
            assert row["mean_activation"] is row["max_activation"] is None
    assert rows[19]["state"] == "dead"


def test_first_and_last_firing_equal_dense(world, reference):
    store = world[3]
    begins = numpy.cumsum([0, *(len(text.encode()) for _, text in small_models.TEXTS)])
    places = numpy.concatenate(
        [begins[document] + start + numpy.arange(len(acts)) for document, start, acts in reference["1-res"]]
    )
    flat = numpy.concatenate([acts for _, _, acts in reference["1-res"]])
    for i in range(20):
        page, mine = store.feature(f"small/1-res/{i}", examples=0), places[flat[:, i] != 0]
        wanted = (mine.min(), mine.max()) if len(mine) else (None, None)
        assert (page.first_active, page.last_active) == wanted


def test_contexts_and_coactive_features_equal_dense(world, reference):
    store = world[3]
    rows = store.sql("SELECT * FROM contexts WHERE dictionary = 'small/1-res'").to_pylist()
    assert len(rows) == len(reference["1-res"])  # there are fewer than are drawn
    for row in rows:
        acts = next(a for d, s, a in reference["1-res"] if (d, s) == (row["document"], row["start"]))
        assert row["length"] == len(acts)
        assert row["features"] == numpy.flatnonzero(acts.any(0)).tolist()
        numpy.testing.assert_allclose(row["peaks"], acts.max(0)[acts.any(0)], rtol=1e-3, atol=1e-4)
    active = numpy.concatenate([acts for _, _, acts in reference["1-res"]]) != 0
    for i in range(20):
        found = store.feature(f"small/1-res/{i}", examples=0).coactive
        jaccard = {
            j: (active[:, i] & active[:, j]).sum() / (active[:, i] | active[:, j]).sum()
            for j in range(20)
            if j != i and (active[:, i] & active[:, j]).sum() >= 2
        }
        assert [one.jaccard for one in found] == pytest.approx(sorted(jaccard.values(), reverse=True)[:10])
        assert all(one.jaccard == pytest.approx(jaccard[one.feature]) for one in found)


def test_examples_equal_dense(world, reference):
    store = world[3]
    for i in range(19):
        page = store.feature(f"small/1-res/{i}")
        peaks = sorted((float(acts[:, i].max()) for _, _, acts in reference["1-res"] if acts[:, i].any()), reverse=True)
        top = [example for example in page.examples if example.band == "top"]
        # Equal texts in two documents differ in the last bit, so values are compared, then each at its place.
        assert [example.activation for example in top] == pytest.approx(peaks[:20], rel=1e-4)
        assert len({(example.document, example.start) for example in top}) == len(top)
        for example in top:
            document, begin = example.document, example.start // 11 * 11
            acts = next(a for d, s, a in reference["1-res"] if (d, s) == (document, begin))
            numpy.testing.assert_allclose(example.activations, acts[:, i], rtol=1e-3, atol=1e-4)
            assert example.activation == example.activations[example.position - example.start]
            text = small_models.TEXTS[document][1].encode()[example.start : example.start + len(example.tokens)]
            assert "".join(example.tokens) == text.decode(errors="replace")


def test_sampled_bands_stand_for_every_active_token(world):
    store = world[3]
    table = store.sql(
        "SELECT dictionary, feature, sum(weight) AS stood_for FROM examples WHERE band <> 'top' GROUP BY ALL"
    ).to_pylist()
    assert table
    active = {
        (row["dictionary"], row["feature"]): row["active_tokens"]
        for row in store.sql("SELECT dictionary, feature, active_tokens FROM features").to_pylist()
    }
    for row in table:
        assert row["stood_for"] == pytest.approx(active[row["dictionary"], row["feature"]])
    outside = "SELECT count(*) AS n FROM examples WHERE activation < band_low OR activation >= band_high"
    assert store.sql(outside)["n"].to_pylist() == [0]


def test_logits_equal_dense(world):
    root, _, _, store, _ = world
    model = GPT2LMHeadModel.from_pretrained(root / "model")
    gain = model.transformer.ln_f.weight.detach().numpy()
    unembedding = model.lm_head.weight.detach().numpy() * gain
    W_dec = small_models.tensors(small_models.WIDTH, 20, small_models.WIDTH, 1)["W_dec"].numpy()
    logits = (W_dec - W_dec.mean(1, keepdims=True)) @ unembedding.T
    for i in (0, 7):
        page = store.feature(f"small/1-res/{i}")
        wanted = numpy.sort(logits[i])
        numpy.testing.assert_allclose([e.value for e in page.top_logits], wanted[::-1][:20], rtol=1e-4)
        numpy.testing.assert_allclose([e.value for e in page.bottom_logits], wanted[:20], rtol=1e-4)
        best = small_models.tokenizer().decode([int(logits[i].argmax())])
        assert page.top_logits[0].token == best
        away = (logits[i] - logits[i].mean()) / logits[i].std()
        found = (page.logit_mean, page.logit_std, page.logit_skewness, page.logit_kurtosis)
        assert found == pytest.approx((logits[i].mean(), logits[i].std(), (away**3).mean(), (away**4).mean()), abs=1e-4)
        bins = numpy.histogram(logits[i], 40)[0]
        assert sum(page.logit_histogram) == len(logits[i])
        assert numpy.abs(bins - page.logit_histogram).sum() <= 2  # one on an edge may fall on either side


def test_vectors_and_provenance(world):
    _, model, saes, store, report = world
    numpy.testing.assert_array_equal(
        store.vector("small/2-tc/3"), saes["2-tc"].W_dec[3].numpy().astype(numpy.float16).astype(numpy.float32)
    )
    one = store.dictionary("small/2-tc")
    assert (one.kind, one.layer, one.site, one.space) == ("transcoder", 2, "mlp_in", "small")
    assert (one.weights_hash, one.model_hash) == (saes["2-tc"].hash, model.hash)
    assert (
        one.tokens_counted == report.counted["small/2-tc"] == sum(len(text.encode()) for _, text in small_models.TEXTS)
    )
    assert one.tokens_excluded == report.excluded["small/2-tc"]["bos"] == report.contexts


def test_batches_do_not_matter(world, tmp_path, monkeypatch):
    _, model, saes, store, _ = world
    monkeypatch.setattr("ingest.harvest.forward_pass.UNIT_TOKENS", 11)
    monkeypatch.setattr("ingest.statistics.encode.TILE_ELEMENTS", 20)
    other = featurestore.create(tmp_path / "other")
    harvest(other, model, saes, small_models.TEXTS, model_id="small")
    question = "SELECT * EXCLUDE (activation, activations) FROM stored.examples ORDER BY ALL"
    assert store.sql(question).equals(other.sql(question))


def test_activating_equals_the_reference(world, reference):
    _, _, _, store, _ = world
    text = small_models.TEXTS[2][1]
    found = store.activating(text, dictionary="small/1-res", k=1000, order="activation")
    flat = numpy.concatenate([acts for document, _, acts in reference["1-res"] if document == 2])
    assert len(found.tokens) == len(flat)
    assert "".join(found.tokens) == text
    assert {feature.feature for feature in found.features} == set(numpy.flatnonzero(flat.any(0)).tolist())
    for feature in found.features:
        numpy.testing.assert_allclose(feature.activations, flat[:, feature.feature], rtol=1e-3, atol=1e-4)
    values = [feature.activation for feature in found.features]
    assert values == sorted(values, reverse=True)


def test_second_harvest_is_a_conflict_unless_replaced(world, tmp_path):
    _, model, saes, _, _ = world
    store = featurestore.create(tmp_path / "again")
    harvest(store, model, {"1-res": saes["1-res"]}, small_models.TEXTS, model_id="small")
    with pytest.raises(Conflict, match="small/1-res already"):
        harvest(store, model, {"1-res": saes["1-res"]}, small_models.TEXTS, model_id="small")
    harvest(
        store,
        model,
        {"1-res": saes["1-res"]},
        small_models.TEXTS[:1],
        model_id="small",
        options=HarvestOptions(replace=True),
    )
    assert store.dictionary("small/1-res").tokens_counted == len(small_models.TEXTS[0][1])
    assert store.info().features == 20


def refused(world, tmp_path, match, kind=BadRequest, *, documents=small_models.TEXTS, model=None, **sae):
    """The harvest is refused with these words and the store stays empty."""
    store = featurestore.create(tmp_path / "store")
    read = weights.read(small_models.write_sae(tmp_path / "sae", **({"hook": HOOK} | sae)))
    with pytest.raises(kind, match=match):
        harvest(store, model or world[1], {"x": read}, documents, model_id="small")
    assert store.info().commit == 0
    assert [path.name for path in (tmp_path / "store").rglob("*.parquet")] == []


def test_refuses_weights_of_another_model(world, tmp_path):
    refused(world, tmp_path, "reads vectors of 10 numbers, but .* has 16", d_in=10)


def test_refuses_a_layer_that_is_not_there(world, tmp_path):
    refused(world, tmp_path, "the model has layers 0 to 2", hook="blocks.9.hook_resid_post")


def test_refuses_an_unknown_hook(world, tmp_path):
    refused(world, tmp_path, "hook_resid_post", hook="blocks.1.hook_nonsense")


def test_refuses_an_empty_corpus(world, tmp_path):
    refused(world, tmp_path, "corpus is empty", documents=[("a", "")])


def test_refuses_nan(world, tmp_path):
    folder = small_models.write_model(tmp_path / "nan")
    broken = GPT2LMHeadModel.from_pretrained(folder)
    with torch.no_grad():
        broken.transformer.h[0].mlp.c_fc.weight[0, 0] = float("nan")
    broken.save_pretrained(folder)
    refused(world, tmp_path, "NaN or infinity at blocks.1.hook_resid_post in document 'one'", model=Model(str(folder)))


def test_an_interrupted_harvest_leaves_the_store_as_it_was(world, tmp_path, monkeypatch):
    _, model, saes, _, _ = world
    store = featurestore.create(tmp_path / "store")

    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("ingest.harvest.store_rows.make_example_rows", interrupt)
    with pytest.raises(KeyboardInterrupt):
        harvest(store, model, saes, small_models.TEXTS, model_id="small")
    assert store.info().commit == 0
    assert list((tmp_path / "store").rglob("*.parquet")) == []


def test_settings_are_recorded(world):
    settings = json.loads(world[3].dictionary("small/1-res").settings)
    assert settings["context_size"] == small_models.CONTEXT


def test_a_refused_first_harvest_leaves_no_store(world, tmp_path, invoke):
    (tmp_path / "a.txt").write_text("hello")
    wrong = small_models.write_sae(tmp_path / "sae", hook=HOOK, d_in=10)
    given = ["--model", str(world[0] / "model"), "--weights", str(wrong), "--text", str(tmp_path / "a.txt")]
    done = invoke(main, ["harvest", "--store", str(tmp_path / "s"), *given])
    assert (done.exit_code, "has 16" in done.stderr) == (2, True)
    assert not (tmp_path / "s").exists()
