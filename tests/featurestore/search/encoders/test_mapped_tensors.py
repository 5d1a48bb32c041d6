"""Tensors of a safetensors file, as the package writes it."""

import numpy
import pytest
import safetensors.numpy

from featurestore.search.encoders.mapped_tensors import map_tensors


def test_tensors_are_what_was_written(tmp_path):
    rng = numpy.random.default_rng(0)
    tensors = {
        "whole": rng.standard_normal((3, 5)).astype(numpy.float32),
        "half": rng.standard_normal(7).astype(numpy.float16),
        "one": numpy.array(2.5),
    }
    file = tmp_path / "some.safetensors"
    safetensors.numpy.save_file(tensors | {"ids": numpy.arange(4)}, file, {"format": "pt"})
    mapped = map_tensors(file)
    assert mapped.keys() == tensors.keys()
    for name, tensor in tensors.items():
        numpy.testing.assert_array_equal(mapped[name], tensor)
        assert mapped[name].dtype == tensor.dtype and not mapped[name].flags.writeable


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234",
        (10**9).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[[",
        (64).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'.ljust(64) + b"1234",
        (64).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,8]}}'.ljust(64) + b"12345678",
    ],
)
def test_damaged_files(tmp_path, content):
    file = tmp_path / "some.safetensors"
    file.write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's error among them
        map_tensors(file)
