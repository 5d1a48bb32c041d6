"""Where weights are looked for, what users say about them, files that are broken, and the hub's cache."""

import os

import pytest
import torch

from featurestore import BadRequest, NotFound, Unavailable
from ingest import weights
from ingest.weights import hub, listing
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
    ("content", "words"),
    [
        (b"", "is empty; fetch it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "is a pointer of git-lfs, .*: run git lfs pull",
        ),
        (b"\x00" * 200, "cannot be read: .*; fetch it again"),
    ],
)
@pytest.mark.parametrize("name", ["params.safetensors", "params.npz", "ae.pt"])
def test_files_that_are_none(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadRequest, match=rf"{name} {words}"):
        weights.read(tmp_path)


def test_truncated_safetensors(folder):
    file = folder / "sae_weights.safetensors"
    for size in (4, 40, file.stat().st_size - 1):
        kept = file.read_bytes()[:size]
        other = folder.parent / f"cut-{size}"
        other.mkdir()
        (other / "cfg.json").write_bytes((folder / "cfg.json").read_bytes())
        (other / file.name).write_bytes(kept)
        with pytest.raises(BadRequest, match=r"sae_weights\.safetensors cannot be read: .*; fetch it again"):
            weights.read(other)


def test_weights_that_are_written_anew_do_not_change_those_that_were_read(folder):
    sae = weights.read(folder)
    before = sae.W_enc.clone()
    file = folder / "sae_weights.safetensors"
    file.write_bytes(b"\x00" * file.stat().st_size)
    torch.testing.assert_close(sae.W_enc, before, rtol=0, atol=0)


def test_tensors_of_whole_numbers(tmp_path):
    w = tensors(**{name: array for name, array in made().items() if name != "affine"}) | {"b_enc": torch.ones(12).int()}
    save(tmp_path / "gemma-scope-2b-pt-res" / "layer_1" / "params.npz", w)
    with pytest.raises(BadRequest, match=r"b_enc is of type torch\.int32; floating point numbers are wanted"):
        weights.read(tmp_path / "gemma-scope-2b-pt-res" / "layer_1")


def test_dictionaries_are_told_from_names_alone():
    names = [
        "README.md",
        "layer_10/width_16k/average_l0_71/params.npz",
        "layer_2/width_16k/average_l0_71/params.npz",
        "resid_post/layer_7_width_16k_l0_small/params.safetensors",
        "resid_post/layer_7_width_16k_l0_small/config.json",
        "clt/width_262k/params_layer_0.safetensors",
        "saes/a/sae_weights.safetensors",
        "saes/a/sparsity.safetensors",
        "layers.5.mlp/sae.safetensors",
        "trainer_0/ae.pt",
        "trainer_0/checkpoints/ae_5.pt",
        "L3R-8x/checkpoints/final.safetensors",
        "W_enc_0.safetensors",
        "W_dec_0.safetensors",
        "layer0.sae.pt",
        "optimizer.pt",
        "mine.pth",
    ]
    assert listing.dictionaries(names) == [
        "L3R-8x",
        "W_enc_0.safetensors",
        "clt/width_262k/params_layer_0.safetensors",
        "layer0.sae.pt",
        "layer_2/width_16k/average_l0_71",
        "layer_10/width_16k/average_l0_71",
        "layers.5.mlp",
        "mine.pth",
        "resid_post/layer_7_width_16k_l0_small",
        "saes/a",
        "trainer_0",
        "trainer_0/checkpoints/ae_5.pt",
    ]


@pytest.mark.parametrize(
    ("given", "name", "place"),
    [
        ("mid=./sae", "mid", "./sae"),
        ("mid=./sae?scale=1.7&k=3", "mid", "./sae?scale=1.7&k=3"),
        ("/a/sae?scale=1.7", "sae", None),
        ("/a/b=c/sae", "sae", None),
        ("/a/layer_12/width_16k/average_l0_71", "layer_12-width_16k-average_l0_71", None),
        ("/a/layer_12/width_16k/average_l0_71/params.npz", "layer_12-width_16k-average_l0_71", None),
        ("/a/resid_post_mlp_v5_32k/autoencoders/8.pt", "resid_post_mlp_v5_32k-autoencoders-8", None),
        ("/a/clt?layer=3", "clt-3", None),
        ("/a/W_enc_3.safetensors", "W_enc_3", None),
        ("/a/layer7.sae.pt", "layer7", None),
        ("hf://org/repo//layers.5.mlp@main", "layers.5.mlp", None),
        ("hf://org/repo@refs/pr/1", "repo", None),
    ],
)
def test_what_a_dictionary_is_called(given, name, place):
    assert listing.split_name(given) == (name, place or given)


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
