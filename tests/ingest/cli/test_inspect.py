"""`featurestore inspect` on weights alone, and beside a model."""

import json
from pathlib import Path

import pytest

from featurestore.cli.main import main
from ingest import weights
from tests.ingest.weights.readers.test_gemma_scope import first
from tests.support import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")
DEMO = ROOT / "featurestore_demo"


@pytest.fixture(scope="module")
def text():
    return str(Path(json.__file__).parent / "decoder.py")


@pytest.fixture(scope="module")
def sae():
    return weights.read(DEMO / "dictionaries" / "2-res-2k")


def test_command_on_weights_alone(tmp_path, invoke):
    folder = first(tmp_path)
    done = invoke(main, ["inspect", str(folder)])
    assert done.exit_code == 0, done.output
    assert "promised by" in done.stdout and "the path: average_l0_71" in done.stdout
    assert "not in the files" in done.stdout
    found = json.loads(invoke(main, ["inspect", str(folder), "--lean", "--json"]).stdout)
    assert (found["promised_l0"], found["d_sae"], found["format"]) == ([71, 71], 12, "Gemma Scope")


def test_command_says_what_fits(sae, text, invoke):
    arguments = ["--model", str(DEMO / "model"), "--text", text, "--tokens", "150"]
    wrong = f"{sae.location}?subtract_b_dec=false"
    done = invoke(main, ["inspect", wrong, *arguments])
    assert done.exit_code == 0, done.output
    assert f"This fits: b_dec subtracted. Read it as {sae.location}?subtract_b_dec=true" in done.stdout
    found = json.loads(invoke(main, ["inspect", wrong, *arguments, "--json"]).stdout)
    assert found["fits"] == "b_dec subtracted"
    assert found["location_that_fits"] == f"{sae.location}?subtract_b_dec=true"
    assert found["alternatives"][0]["reading"] == "as read"
    right = json.loads(invoke(main, ["inspect", sae.location, *arguments, "--json"]).stdout)
    assert (right["fits"], right["alternatives"]) == ("as read", None)


def test_command_needs_what_it_compares_on(sae, invoke):
    done = invoke(main, ["inspect", sae.location, "--alternatives"])
    assert (done.exit_code, "--alternatives needs --model DIR and --text PATH" in done.stderr) == (2, True)
