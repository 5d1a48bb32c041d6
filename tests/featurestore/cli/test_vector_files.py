"""Vectors that commands read from files."""

import numpy
import pytest

import featurestore
from featurestore import BadRequest


def test_probes_are_read_from_files(tmp_path):
    import torch
    from safetensors.torch import save_file

    from featurestore.cli import vector_files

    vector = torch.tensor([0.5, -1.0, 2.0])
    numpy.save(tmp_path / "v.npy", vector.numpy())
    numpy.save(tmp_path / "m.npy", numpy.stack([vector, 2 * vector]))
    save_file({"a": vector, "b": vector.bfloat16()[None]}, tmp_path / "v.safetensors")
    torch.save(vector, tmp_path / "v.pt")
    torch.save({"w": torch.stack([vector, vector])}, tmp_path / "d.pt")
    for name in ("v.npy", "m.npy::0", "v.safetensors:a", "v.safetensors:b", "v.pt", "d.pt:w:1"):
        assert vector_files.is_file(name)
        numpy.testing.assert_array_equal(vector_files.read(str(tmp_path / name)), vector.numpy())
    assert not vector_files.is_file("gpt2-small/8-res-jb/12")
    (tmp_path / "x.pt").write_bytes(b"junk")
    (tmp_path / "x.npy").write_bytes(b"junk")
    (tmp_path / "x.safetensors").write_bytes(b"junk")
    torch.save([1, 2], tmp_path / "list.pt")
    for name, kind, words in [
        ("m.npy", BadRequest, r"shape \(2, 3\); one vector is wanted, or a row's number as in FILE::0"),
        ("m.npy::7", featurestore.NotFound, "no row 7"),
        ("v.safetensors", BadRequest, "2 tensors; say which"),
        ("v.safetensors:c", featurestore.NotFound, "no tensor 'c'; there are: a, b"),
        ("none.npy", featurestore.NotFound, "no file"),
        ("x.pt", BadRequest, "loads safely"),
        ("x.npy", BadRequest, "not a .npy file"),
        ("x.safetensors", BadRequest, "not a readable .safetensors file"),
        ("list.pt", BadRequest, "holds a list"),
    ]:
        with pytest.raises(kind, match=words):
            vector_files.read(str(tmp_path / name))
