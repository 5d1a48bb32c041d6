"""Where weights are looked for, what users say about them, files that are broken, and the hub's cache."""

import os

import pytest
import torch

from featurestore import BadRequest, NotFound, Unavailable
from ingest import weights
from ingest.weights import hub
from ingest.weights.place import split_options, with_options
from tests.support import small_models
from tests.support.published_weights import made, save, tensors

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def folder(tmp_path):
    return small_models.write_sae(tmp_path / "sae", hook=HOOK)


def test_a_single_file_is_read_with_what_lies_beside_it(folder):
    assert weights.read(folder / "sae_weights.safetensors").hash == weights.read(folder).hash


def test_what_the_user_says_goes_before_what_the_files_say(folder):
    plain = weights.read(folder)
    said = weights.read(
        f"{folder}?hook_point=blocks.2.hook_resid_pre&subtract_b_dec=false&scale=2&threshold_times=3&prepend_bos=no"
        "&context_size=64&centred=true&model_name=mine&fold_value_biases=true"
    )
    assert (said.hook_point, said.subtract_b_dec, said.norm, said.scale) == (
        "blocks.2.hook_resid_pre",
        False,
        "scale",
        2,
    )
    assert (said.prepend_bos, said.context_size, said.centred, said.model_name) == (False, 64, True, "mine")
    assert (said.reads, plain.reads) == (("blocks.2.hook_resid_pre", True, True), (HOOK, False, False))
    torch.testing.assert_close(said.threshold, 3 * plain.threshold)
    again = weights.read(said.location)
    assert (again.location, again.hook_point, again.scale) == (said.location, said.hook_point, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("hok_point=x", "there is no option 'hok_point'; there are layer, hook_point"),
        ("scale=much", "scale is 'much'; a number is wanted"),
        ("scale=-1", r"scale is -1\.0; a number above 0 is wanted"),
        ("centred=maybe", "centred is 'maybe'; true or false is wanted"),
        ("k=3", "k is 3; jumprelu of 20 features cannot have it"),
    ],
)
def test_options_that_cannot_be(folder, options, words):
    with pytest.raises(BadRequest, match=words):
        weights.read(f"{folder}?{options}")


def test_options_in_locations():
    assert split_options("hf://a/b//c@main?layer=3&scale=1.5") == ("hf://a/b//c@main", {"layer": 3, "scale": 1.5})
    assert with_options("./sae?layer=3", subtract_b_dec=True) == "./sae?layer=3&subtract_b_dec=true"
    assert with_options("./sae", hook_point="model.layers.3.mlp/x") == "./sae?hook_point=model.layers.3.mlp/x"


def test_a_path_with_a_question_mark(tmp_path):
    folder = small_models.write_sae(tmp_path / "what?", hook=HOOK)
    assert weights.read(folder).location == str(folder)


@pytest.mark.parametrize(
    ("location", "parsed"),
    [
        ("hf://org/repo", ("org/repo", "", None)),
        ("hf://org/repo@v1", ("org/repo", "", "v1")),
        ("hf://org/repo//sub/dir", ("org/repo", "sub/dir", None)),
        ("hf://org/repo//sub/dir@refs/pr/1", ("org/repo", "sub/dir", "refs/pr/1")),
        ("hf://org/repo/sub/params.npz", ("org/repo", "sub/params.npz", None)),
        (
            "hf://google/gemma-scope-2b-pt-res//layer_12/width_16k/average_l0_71/",
            (
                "google/gemma-scope-2b-pt-res",
                "layer_12/width_16k/average_l0_71",
                None,
            ),
        ),
    ],
)
def test_hub_references(location, parsed):
    assert hub.parse(location) == parsed


@pytest.mark.parametrize("location", ["hf://org", "hf://", "hf:///x", "hf://org/repo//../secret", "hf://a b/c"])
def test_hub_references_that_are_none(location):
    with pytest.raises(BadRequest, match="write hf://org/repo"):
        weights.read(location)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub cache as huggingface_hub lays it out, with one repository in it, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    root = tmp_path / "models--google--gemma-scope-2b-pt-res"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    w = {name: array for name, array in made().items() if name != "affine"}
    blob = save(root / "blobs" / "params.npz", tensors(**w))
    blob.rename(root / "blobs" / "abc")
    for layer in (12, 13):
        folder = root / "snapshots" / commit / f"layer_{layer}" / "width_16k" / "average_l0_71"
        folder.mkdir(parents=True)
        os.symlink(root / "blobs" / "abc", folder / "params.npz")
    return commit


def test_hub_from_its_cache(cache):
    location = "hf://google/gemma-scope-2b-pt-res//layer_12/width_16k/average_l0_71"
    sae = weights.read(location)
    assert (sae.location, sae.hook_point, sae.promised_l0) == (location, "blocks.12.hook_resid_post", (71, 71))
    for other in (f"{location}@main", f"{location}@{cache}", f"{location}/params.npz"):
        assert weights.read(other).hash == sae.hash
    assert weights.read(f"{location}?prepend_bos=false").location == f"{location}?prepend_bos=false"


def test_hub_places_that_hold_many_or_nothing(cache):
    with pytest.raises(BadRequest, match="holds 2 dictionaries; name one: layer_12/width_16k/average_l0_71, layer_13"):
        weights.read("hf://google/gemma-scope-2b-pt-res")
    with pytest.raises(NotFound, match="has no layer_14"):
        weights.read("hf://google/gemma-scope-2b-pt-res//layer_14")
    with pytest.raises(Unavailable, match="is not in the hub's cache"):
        weights.read("hf://google/gemma-scope-9b-pt-res//layer_14")


def test_what_is_fetched_from_the_hub():
    names = ["a/params.npz", "b/params.npz", "W_enc_1.safetensors", "W_dec_1.safetensors", "config.yaml"]
    assert hub._select_patterns("hf://o/r//a", "a", names)[0] == "a/*"
    assert hub._select_patterns("hf://o/r", "W_enc_1.safetensors", names)[:3] == [
        "W_enc_1.safetensors",
        "W_dec_1.safetensors",
        "*.json",
    ]
    with pytest.raises(BadRequest, match="holds 3 dictionaries; name one: W_enc_1"):
        hub._select_patterns("hf://o/r", "", names)
    with pytest.raises(NotFound, match="there is nothing at c"):
        hub._select_patterns("hf://o/r//c", "c", names)
