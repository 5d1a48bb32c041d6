"""Dictionaries that never fire, and those with negative activations, through the whole of a store."""

import numpy
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

import featurestore
from featurestore import connect
from featurestore.cli.main import main
from featurestore.extension.commands import build_index, connect_local
from ingest import weights
from ingest.harvest.harvest import harvest
from ingest.model.model import Model
from ingest.statistics.encode import encode_active
from tests.support import small_models

HOOK = "blocks.1.hook_resid_post"
D_SAE = 20


def write_signed(folder):
    """An AbsTopK dictionary: most of its features fire in both directions."""
    small_models.write_sae(folder, hook=HOOK, d_sae=D_SAE, seed=3, architecture="abstopk", k=4)
    found = small_models.tensors(small_models.WIDTH, D_SAE, small_models.WIDTH, 3)
    found.pop("threshold")
    found["b_enc"][-1] = 0
    save_file(found, folder / "sae_weights.safetensors")
    return folder


def write_sized(folder, size):
    """The usual dictionary with activations `size` times as large."""
    small_models.write_sae(folder, hook=HOOK, seed=1)
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    save_file(tensors | {name: tensors[name] * size for name in ("W_enc", "b_enc", "threshold")}, path)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("odd")
    model = Model(str(small_models.write_model(root / "model")))
    folders = {
        "dead": small_models.write_sae(root / "dead", hook=HOOK, seed=1, silent=slice(None)),
        "signed": write_signed(root / "signed"),
        "usual": small_models.write_sae(root / "usual", hook=HOOK, seed=1),
        "faint": write_sized(root / "faint", 1e-5),
        "loud": write_sized(root / "loud", 1e10),
    }
    saes = {source: weights.read(folder) for source, folder in folders.items()}
    store = featurestore.create(root / "store")
    report = harvest(store, model, saes, small_models.TEXTS, model_id="small")
    build_index(connect_local(str(root / "store")))
    return root, model, saes, connect(root / "store"), report


def test_a_dictionary_that_never_fires_is_one_like_any_other(world):
    root, _, _, store, report = world
    assert report.dead["small/dead"] == D_SAE and report.l0["small/dead"] == 0
    page = store.feature("small/dead/3")
    assert page.state == "dead" and page.max_activation is None and not page.examples
    for all_features in (False, True):
        store.search("name", over="tokens", mode="keyword", within=["small/dead"], all=all_features)
    assert list(store.search("name", over="tokens", mode="keyword", within=["small/usual"], all=True))
    assert CliRunner().invoke(main, ["check", "--store", str(root / "store")]).exit_code == 0
    assert store.activating("import os", dictionary="small/dead").features == ()


def test_the_largest_activation_is_largest_by_magnitude(world):
    _, model, saes, store, _ = world
    rows = store.sql(
        "SELECT feature, max_activation, (SELECT e.activation FROM examples e WHERE e.dictionary = f.dictionary "
        "AND e.feature = f.feature AND e.band = 'top' ORDER BY e.rank LIMIT 1) AS strongest "
        "FROM features f WHERE dictionary = 'small/signed' AND active_tokens > 0 ORDER BY feature"
    ).to_pylist()
    assert any(row["max_activation"] < 0 for row in rows) and any(row["max_activation"] > 0 for row in rows)
    assert [row["max_activation"] for row in rows] == [row["strongest"] for row in rows]
    dense = _encode_all(model, saes["signed"])
    for row in rows:
        column = dense[:, row["feature"]]
        numpy.testing.assert_allclose(row["max_activation"], column[numpy.abs(column).argmax()], rtol=1e-4)


def _encode_all(model, sae):
    """Activations (tokens, n) of every token, one context at a time."""
    parts = []
    for _, text in small_models.TEXTS:
        ids = small_models.tokenizer().encode(text)
        for start in range(0, len(ids), small_models.CONTEXT - 1):
            point = model.hook_point(*sae.reads)
            run = torch.tensor([[0, *ids[start : start + small_models.CONTEXT - 1]]])
            x = model.read(run, [point])[point.name][0, 1:]
            feature, position, value = encode_active(sae, x, 0, sae.d_sae)
            dense = numpy.zeros((len(x), sae.d_sae))
            dense[position.numpy(), feature.numpy()] = value.numpy()
            parts.append(dense)
    return numpy.concatenate(parts)


def test_marks_and_shares_go_by_magnitude(world):
    _, _, _, store, _ = world
    negative = store.sql(
        "SELECT feature FROM features WHERE dictionary = 'small/signed' AND max_activation < -1 ORDER BY feature"
    )["feature"][0].as_py()
    page = store.feature(f"small/signed/{negative}")
    example = page.examples[0]
    strongest = example.tokens[numpy.abs(example.activations).argmax()]
    marked = example.marked(0.5 * abs(page.max_activation))
    assert f"<<{strongest}>>" in marked
    silent = [token for token, value in zip(example.tokens, example.activations, strict=True) if value == 0]
    assert silent and marked.count("<<") <= len(example.tokens) - len(silent)
    answer = store.activating("def f(x): return x", dictionary="small/signed")
    shown = [abs(feature.activation / feature.max_activation) for feature in answer.features if feature.max_activation]
    assert any(feature.activation < 0 for feature in answer.features) and all(share >= 0 for share in shown)


def test_a_store_whose_only_dictionary_never_fires(world, tmp_path):
    _, model, saes, _, _ = world
    store = featurestore.create(tmp_path / "store")
    harvest(store, model, {"dead": saes["dead"]}, small_models.TEXTS, model_id="small")
    build_index(connect_local(str(tmp_path / "store")))
    opened = connect(tmp_path / "store")
    for all_features in (False, True):
        opened.search("name", over="tokens", mode="keyword", all=all_features)
        opened.search("name", all=all_features)
    done = CliRunner().invoke(main, ["label", "--store", str(tmp_path / "store")])
    assert done.exit_code == 0 or "no feature" in done.output + str(done.exception), done.output


def test_structural_features_are_told_apart(world):
    """Shares of firings on first tokens and after breaks, against the tokens of the corpus themselves."""
    _, model, saes, store, _ = world
    ids = [small_models.tokenizer().encode(text) for _, text in small_models.TEXTS]
    size = small_models.CONTEXT - 1
    is_first = numpy.concatenate([numpy.arange(len(document)) % size == 0 for document in ids])
    newline = small_models.tokenizer().encode("\n")[0]
    dot, mark = (small_models.tokenizer().encode(sign)[0] for sign in ".!")
    after = numpy.concatenate(
        [[False, *(token in (newline, dot, mark) for token in document[:-1])] for document in ids]
    )
    dense = _encode_all(model, saes["signed"]) != 0
    rows = store.sql(
        "SELECT feature, first_token_share AS f, after_break_share AS a, top_token_share AS t, distinct_tokens AS d "
        "FROM features "
        "WHERE dictionary = 'small/signed' AND active_tokens > 0"
    ).to_pylist()
    tokens = numpy.concatenate(ids)
    for row in rows:
        fires = dense[:, row["feature"]]
        counts = numpy.bincount(tokens[fires])
        assert row["t"] == pytest.approx(counts.max() / fires.sum(), abs=1e-6)
        assert row["d"] == numpy.count_nonzero(counts)
        assert row["f"] == pytest.approx(is_first[fires].mean(), abs=1e-6)
        assert row["a"] == pytest.approx(after[fires].mean(), abs=1e-6)
    assert any(row["f"] for row in rows) and any(row["a"] for row in rows)


@pytest.mark.parametrize(("source", "size"), [("usual", 1), ("faint", 1e-5), ("loud", 1e10)])
def test_bins_and_deviations_follow_the_size_of_activations(world, source, size):
    _, model, saes, store, _ = world
    dense = _encode_all(model, saes[source])
    scale = store.dictionary(f"small/{source}").histogram_scale
    assert scale is None if size == 1 else abs(scale - numpy.log2(size)) < 6
    rows = store.sql(
        "SELECT feature, mean_activation, std_activation, histogram, active_tokens FROM features "
        f"WHERE dictionary = 'small/{source}' AND active_tokens > 0"
    ).to_pylist()
    edges = numpy.array(featurestore.HISTOGRAM_EDGES) * 2.0 ** (scale or 0)
    for row in rows:
        values = dense[:, row["feature"]]
        values = values[values != 0]
        assert row["active_tokens"] == len(values)
        assert row["mean_activation"] == pytest.approx(values.mean(), rel=1e-4)
        assert row["std_activation"] == pytest.approx(values.std(), rel=1e-3, abs=size * 1e-5)
        bins = numpy.clip(numpy.searchsorted(edges, values, side="right") - 1, 0, 63)
        numpy.testing.assert_array_equal(row["histogram"], numpy.bincount(bins, minlength=64))
        page = store.feature(f"small/{source}/{row['feature']}")
        assert page.histogram_edges[10] == pytest.approx(edges[10])
    assert len(rows) > 5
    bands = store.sql(
        "SELECT band_low, band_high, activation FROM examples "
        f"WHERE dictionary = 'small/{source}' AND band <> 'top' AND band_high IS NOT NULL"
    ).to_pylist()
    assert bands
    assert all(row["band_low"] <= row["activation"] * 1.0001 and row["activation"] <= row["band_high"] for row in bands)
