"""A bare state dict of the demo's dictionary: what it reads, and how, is found on the model."""

import json

import pytest

from featurestore.cli.main import main
from ingest import weights
from ingest.inspection.readings import try_readings
from ingest.weights.place import Place
from ingest.weights.proposal import propose
from tests.support import ROOT
from tests.support.published_weights import save

pytestmark = pytest.mark.usefixtures("one_thread")
DEMO = ROOT / "featurestore_demo"


def bare(folder, sae, **renamed):
    """The dictionary's tensors under names that say which is which, and nothing else; `renamed` ones by others."""
    names = {"W_enc": "encoder_weights", "b_enc": "encoder_bias", "W_dec": "decoder_weights", "b_dec": "bias"} | renamed
    found = {names[part]: tensor.clone() for part, tensor in sae.tensors().items() if part in names}
    if sae.threshold is not None:
        found["log_threshold"] = sae.threshold.expand(sae.d_sae).clone()
    return save(folder / "bare.safetensors", found)


@pytest.mark.parametrize("renamed", [{}, {"W_enc": "one", "W_dec": "two"}], ids=["named", "without names"])
def test_layer_and_reading_are_found(tmp_path, sae, model, corpus, truth, renamed):
    """Its threshold is named as a logarithm and is none; whether b_dec is subtracted, no name says."""
    (proposal,) = propose(Place(file := bare(tmp_path, sae, **renamed), str(file), "bare"))
    best, *others = try_readings(proposal, model, corpus)
    assert best["hook_point"] == sae.hook_point
    assert best["l0"] == pytest.approx(truth["l0"], rel=0.02)
    assert best["variance_explained"] == pytest.approx(truth["variance_explained"], abs=0.01)
    assert all(row["variance_explained"] <= best["variance_explained"] + 0.02 for row in others)
    again = weights.read(best["location"])
    assert (again.subtract_b_dec, again.hook_point) == (sae.subtract_b_dec, sae.hook_point)


def test_the_command(tmp_path, sae, text, invoke):
    file = str(bare(tmp_path, sae))
    alone = invoke(main, ["inspect", file])
    assert alone.exit_code == 0, alone.output
    assert "no known format; it may hold one dictionary" in alone.stdout
    assert "W_enc:encoder_weights,b_enc:encoder_bias,W_dec:decoder_weights,b_dec:bias" in alone.stdout
    assert "say what it reads, with &hook_point=" in alone.stdout
    arguments = ["--model", str(DEMO / "model"), "--text", text, "--tokens", "150"]
    beside = invoke(main, ["inspect", file, *arguments])
    assert beside.exit_code == 0, beside.output
    location = beside.stdout.split("Read it as ")[1].split()[0]
    assert weights.read(location).hook_point == sae.hook_point
    report = json.loads(invoke(main, ["inspect", file, *arguments, "--json"]).stdout)
    assert report["location"] == report["readings"][0]["location"] == location
    proposed = json.loads(invoke(main, ["inspect", file, "--json"]).stdout)["proposals"]
    assert [proposal["hook_point"] for proposal in proposed] == [None]
    refused = invoke(main, ["inspect", str(tmp_path)])
    assert refused.exit_code == 0, refused.output
