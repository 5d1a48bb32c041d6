"""Keys of configs: taken, known not to matter, off, left out by the user, or refused by name."""

from pathlib import Path

import pytest

from featurestore import BadRequest
from ingest.weights.keys import check_keys, is_off, refuse_key
from ingest.weights.place import Place

FILE = Path("cfg.json")


@pytest.mark.parametrize(
    "config",
    [
        {"k": 3},
        {"lr": 1e-4, "l1_coefficient": 2, "train_batch_size_tokens": 4096, "wandb_project": "x"},
        {"reshape_activations": None, "finetuning_scaling_factor": False, "seqpos_slice": []},
    ],
)
def test_known(config):
    check_keys(Place(Path("x"), "x", ""), FILE, config, {"k"})


@pytest.mark.parametrize("key", ["finetuning_scaling_factor", "seqpos_slice", "activation_rescale", "K"])
def test_unknown_keys_are_named_with_the_way_round_them(key):
    with pytest.raises(BadRequest) as refused:
        check_keys(Place(Path("x"), "x?k=3", ""), FILE, {key: 2}, {"k"})
    assert f"{key} (2): not known here" in str(refused.value)
    assert str(refused.value).endswith(f"x?k=3&ignore={key}")
    check_keys(Place(Path("x"), "x", "", {"ignore": (key,)}), FILE, {key: 2}, {"k"})


def test_zero_is_a_value_and_not_off():
    assert not is_off(0) and not is_off("no")
    assert is_off(None) and is_off(False) and is_off("") and is_off({})


def test_refused_with_a_reason():
    error = refuse_key(Place(Path("x"), "x", ""), FILE, "norm", "y" * 90, "there is none such")
    assert "norm is 'yyy" in str(error) and "there is none such" in str(error) and "?ignore=norm" in str(error)
    assert len(str(error)) < 200
