"""Dictionaries in a folder and their names, by file names alone."""

import pytest

from ingest.weights import listing


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


def test_every_reader_stands_in_the_table_of_formats():
    """docs/weights.md lists what is read; what the table does not have, nobody finds."""
    from ingest.weights.formats import READERS
    from tests.support import ROOT

    table = (ROOT / "docs" / "weights.md").read_text("utf-8").split("## Formats")[1].split("\n## ")[0].lower()
    assert [reader.FORMAT for reader in READERS if reader.FORMAT.split()[0].lower() not in table] == ["mapped"]
    assert "by a map" in table
