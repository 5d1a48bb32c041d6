"""The map of a file of no known format: how it is written, and what it refuses."""

import pytest

from featurestore import BadRequest
from ingest.weights.place import Place
from ingest.weights.tensor_map import TensorPath, find_map, parse, parse_path, read_file


def test_written_in_short():
    map = parse("W_enc:encoder.weight.T,b_enc:bias[3],activation:topk,k:32,subtract_b_dec:true", "?map=")
    assert map.parts == {"W_enc": TensorPath("encoder.weight", None, True), "b_enc": TensorPath("bias", 3)}
    assert map.settings == {"activation": "topk", "k": 32, "subtract_b_dec": True}
    assert parse(str(map), "again") == parse(str(map), "again")
    assert str(parse(str(map), "again")) == str(map)


def test_written_as_toml(tmp_path):
    (tmp_path / "map.toml").write_text('W_dec = "dict"\nk = 4\nhook_point = "blocks.1.hook_z"\nignore = ["a", "b"]\n')
    map = find_map(Place(tmp_path, str(tmp_path), ""))
    assert (map.parts, map.file) == ({"W_dec": TensorPath("dict")}, tmp_path / "map.toml")
    assert map.settings == {"k": 4, "hook_point": "blocks.1.hook_z", "ignore": ("a", "b")}
    (tmp_path / "sae.pt.map.toml").write_text('W_dec = "other"\n')
    assert find_map(Place(tmp_path / "sae.pt", "", "")).parts["W_dec"].name == "other"
    assert find_map(Place(tmp_path / "another.pt", "", "")) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("W_enc", "'W_enc' is no entry of a map"),
        ("W_enc:a,W_enc:b", "W_enc is given twice"),
        ("W_enk:a", "there is no 'W_enk' in a map; there are W_enc, b_enc"),
        ("b_enc:a", "neither W_enc nor W_dec is named"),
        ("W_enc:a,activation:tanh", "activation is 'tanh'; it is one of relu"),
        ("W_enc:a,context_size:many", "context_size is 'many'"),
    ],
)
def test_refused(text, said):
    with pytest.raises(BadRequest) as refused:
        parse(text, "here")
    assert said in str(refused.value) and str(refused.value).startswith("here: ")


def test_refused_files(tmp_path):
    with pytest.raises(BadRequest, match="there is no such file"):
        read_file(tmp_path / "no.toml")
    (tmp_path / "bad.toml").write_text("W_enc = [1]\n")
    with pytest.raises(BadRequest, match="the name of a tensor is wanted"):
        read_file(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text("W_enc =\n")
    with pytest.raises(BadRequest, match="cannot be read"):
        read_file(tmp_path / "bad.toml")


@pytest.mark.parametrize("text", ["a", "a.T", "a.b[3]", "0.encoder.weight[12].T"])
def test_paths_are_written_as_they_are_read(text):
    assert str(parse_path(text)) == text
