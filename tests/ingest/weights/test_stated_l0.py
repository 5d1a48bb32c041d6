"""Where the L0 that files state is found."""

import json

import numpy
import pytest

from ingest.weights.place import Place
from ingest.weights.stated_l0 import find_stated_l0
from tests.support.published_weights import save, tensors


def place(path, words=""):
    return Place(path, str(path), words or path.name)


@pytest.mark.parametrize(
    ("words", "stated"),
    [
        ("layer_3/average_l0_71", 71),
        ("width_16k/l0-12.5", 12.5),
        ("sae_L0_50", 50),
        ("l0_small", None),
        ("level0_71", None),
        ("layer_10", None),
    ],
)
def test_the_path(tmp_path, words, stated):
    answer = find_stated_l0(place(tmp_path, words))
    assert (answer and answer[0]) == stated


def test_measurements_beside_it_win_over_the_path_and_a_config_over_them(tmp_path):
    (tmp_path / "eval_results.json").write_text(json.dumps({"metrics": {"sparsity": {"l0": 31.5}}}))
    here = place(tmp_path, "average_l0_71")
    assert find_stated_l0(here) == (31.5, "eval_results.json: metrics.sparsity.l0 31.5")
    here.configs[tmp_path / "cfg.json"] = {"trainer": {"target_l0": 20}, "l0": True}
    assert find_stated_l0(here) == (20.0, "cfg.json: trainer.target_l0 20")


def test_densities_add_up(tmp_path):
    densities = numpy.array([0.5, 0.25, 1e-10], numpy.float32)
    save(tmp_path / "sparsity.safetensors", tensors(sparsity=numpy.log10(densities)))
    value, where = find_stated_l0(place(tmp_path))
    assert value == pytest.approx(0.75, rel=1e-4)
    assert where.startswith("sparsity.safetensors")


def test_broken_measurements_say_nothing(tmp_path):
    (tmp_path / "metrics.json").write_text("{")
    (tmp_path / "sparsity.safetensors").write_bytes(b"broken")
    assert find_stated_l0(place(tmp_path)) is None
