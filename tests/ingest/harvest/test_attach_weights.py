"""Weights join an imported dictionary if they are its own: its vectors, norms and logits are those of a harvest."""

import datetime

import numpy
import pyarrow
import pytest
from click.testing import CliRunner

import featurestore
from featurestore import BadRequest, Conflict, NotFound
from ingest import weights
from ingest.cli.attach_weights import attach_weights as command
from ingest.cli.import_files import import_files
from ingest.harvest.attach_weights import attach_weights
from ingest.harvest.weight_harvest import harvest_weights
from ingest.model.model import Model
from tests.support import small_models

HOOK = "blocks.1.hook_resid_post"
WHEN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A model, its dictionary's weights and another's, and a store with what a harvest of the weights says."""
    folder = tmp_path_factory.mktemp("attach")
    model = Model(str(small_models.write_model(folder / "small")))
    saes = {
        seed: weights.read(str(small_models.write_sae(folder / f"sae{seed}", hook=HOOK, seed=seed))) for seed in (0, 1)
    }
    with featurestore.create(folder / "harvested") as store:
        harvest_weights(store, {"ours": saes[0]}, model_id="small", model=model)
        rows = store.sql("FROM stored.features ORDER BY feature")
    return folder, model, saes, rows


@pytest.fixture
def store(tmp_path, world):
    """A store with an import of the dictionary: labels, density and the texts of its top tokens."""
    tops = [[{"token": effect["token"], "value": 9.0} for effect in row] for row in world[3]["top_logits"].to_pylist()]
    with featurestore.create(tmp_path / "s") as opened:
        with opened.writer("tests") as writer:
            row = {"dictionary": "small/theirs", "model": "small", "source": "theirs", "kind": "sae", "d_sae": 20}
            row |= {"tool": "tests", "created_at": WHEN, "origin": "import", "import_format": "dashboards"}
            writer.add("dictionaries", pyarrow.Table.from_pylist([row]), key="small/theirs")
            features = [
                {"dictionary": "small/theirs", "feature": n, "density": 0.25, "top_logits": tops[n]}
                for n in range(20)
                if n != 5
            ]
            writer.add("features", pyarrow.Table.from_pylist(features), key="small/theirs")
            label = {"dictionary": "small/theirs", "feature": 3, "label": "theirs", "explainer": "x"}
            label |= {"tool": "tests", "created_at": WHEN}
            writer.add("labels", pyarrow.Table.from_pylist([label]), key="small/theirs")
        yield opened


def test_weights_give_what_the_import_lacks(store, world):
    _, model, saes, harvested = world
    with pytest.raises(NotFound, match="attach-weights small/theirs"):
        store.vector("small/theirs/3")
    report = attach_weights(store, "small/theirs", saes[0], model)
    assert (report.features, report.logits) == (20, True)
    assert report.compared == report.agreeing > 10
    assert numpy.allclose(store.vector("small/theirs/3"), saes[0].W_dec[3].numpy(), atol=1e-3)
    rows = store.sql("FROM stored.features ORDER BY feature")
    for name in ("decoder_norm", "encoder_norm", "logit_mean", "logit_std", "logit_histogram", "bottom_logits"):
        assert rows[name].to_pylist() == harvested[name].to_pylist(), name
    # What the import says stays; what it does not say is computed.
    tops, ours = rows["top_logits"].to_pylist(), harvested["top_logits"].to_pylist()
    assert {effect["value"] for effect in tops[3]} == {9.0}
    assert tops[5] == ours[5]
    assert rows["density"].to_pylist() == [None if n == 5 else 0.25 for n in range(20)]
    feature = store.feature("small/theirs/3")
    assert feature.label == "theirs"
    assert feature.logit_histogram_edges[-1] == pytest.approx(ours[3][0]["value"])
    dictionary = store.dictionary("small/theirs")
    assert (dictionary.origin, dictionary.space, dictionary.layer) == ("import", "small", 1)
    assert dictionary.weights_hash == saes[0].hash
    assert store.check().problems == ()
    store.index()
    assert len(store.nearest("small/theirs/3", k=5, all=True)) == 5
    with pytest.raises(Conflict, match="has decoder vectors already"):
        attach_weights(store, "small/theirs", saes[0], model)
    # A harvest of one's own stands beside it, in the same space.
    harvest_weights(store, {"ours": saes[0]}, model_id="small", model=model)
    nearest = next(hit for hit in store.nearest("small/theirs/3", k=3, all=True))
    assert (nearest.id, round(nearest.score, 2)) == ("small/ours/3", 1.0)


def test_weights_of_another_dictionary_are_refused(store, world, tmp_path):
    _, model, saes, _ = world
    with pytest.raises(BadRequest, match=r"not those of small/theirs: of 1\d features with .* tokens, \d raise"):
        attach_weights(store, "small/theirs", saes[1], model)
    wide = weights.read(str(small_models.write_sae(tmp_path / "wide", hook=HOOK, d_sae=24)))
    with pytest.raises(BadRequest, match="its d_sae is 20, theirs 24"):
        attach_weights(store, "small/theirs", wide)
    with pytest.raises(NotFound):
        store.vector("small/theirs/3")


def test_the_command_says_what_was_compared(store, world):
    place = ["small/theirs", "--weights", str(world[0] / "sae0"), "--store", store.location, "--no-index"]
    result = CliRunner().invoke(command, place)
    assert result.exit_code == 0, result.output
    assert "20 decoder vectors and norms" in result.stdout
    assert "not compared: name the --model" in result.stdout
    assert store.vector("small/theirs/0").shape == (small_models.WIDTH,)


def test_a_number_of_features_that_was_counted_grows_to_that_of_the_weights(world, tmp_path):
    _, model, saes, harvested = world
    labels = tmp_path / "labels.csv"
    labels.write_text("index,label\n3,three\n11,eleven\n")
    words = ["labels", str(labels), "--dictionary", "small/theirs", "--store", str(tmp_path / "s"), "--no-index"]
    result = CliRunner().invoke(import_files, words)
    assert result.exit_code == 0, result.output
    with featurestore.connect(tmp_path / "s") as store:
        assert store.dictionary("small/theirs").d_sae == 12
        assert attach_weights(store, "small/theirs", saes[0], model).features == 20
        assert store.dictionary("small/theirs").d_sae == 20
        rows = store.sql("FROM stored.features ORDER BY feature")
        assert rows["feature"].to_pylist() == list(range(20))
        assert rows["decoder_norm"].to_pylist() == harvested["decoder_norm"].to_pylist()
        assert rows["top_logits"].to_pylist() == harvested["top_logits"].to_pylist()
        assert numpy.allclose(store.vector("small/theirs/19"), saes[0].W_dec[19].numpy(), atol=1e-3)
        assert store.feature("small/theirs/11").label == "eleven"
        assert store.check().problems == ()
    assert CliRunner().invoke(import_files, words).exit_code == 0  # the same again changes nothing
