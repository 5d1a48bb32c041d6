"""Files of tensors: broken ones are refused by name, and read tensors do not change with their file."""

import io
import json
import zipfile

import numpy
import pytest
import safetensors.torch
import torch

from featurestore import BadRequest
from ingest import weights
from ingest.weights.tensors import Tensors
from tests.support import small_models
from tests.support.published_weights import made, save, tensors

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def folder(tmp_path):
    return small_models.write_sae(tmp_path / "sae", hook=HOOK)


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


def test_tensors_without_numbers_of_their_own_are_refused(tmp_path):
    file = tmp_path / "x.pt"
    torch.save({"sparse": torch.eye(3).to_sparse(), "meta": torch.empty(3, 3, device="meta")}, file)
    for name in ("sparse", "meta"):
        with pytest.raises(BadRequest, match=f"{name} is a .* tensor; save it as a dense one"):
            Tensors(file).take(name, "d n")


def test_a_header_of_an_npz_file_that_promises_364_tib(tmp_path):
    stream = io.BytesIO()
    numpy.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (10**14,)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("W_enc.npy", stream.getvalue())
    with pytest.raises(BadRequest, match="cannot be read"):
        Tensors(tmp_path / "x.npz").take("W_enc", "n")


@pytest.mark.parametrize("architecture", [["standard"], {"a": 1}, 5, True])
def test_an_architecture_that_is_no_word(tmp_path, architecture):
    (tmp_path / "cfg.json").write_text(json.dumps({"architecture": architecture, "d_in": 4, "d_sae": 8}))
    safetensors.torch.save_file({"W_enc": torch.zeros(4, 8)}, tmp_path / "sae_weights.safetensors")
    with pytest.raises(BadRequest, match="architecture is .*; a word is wanted"):
        weights.read(str(tmp_path))


def test_a_small_file_of_endless_lists_is_refused(tmp_path):
    """One list many times in another, and so on: nothing in it is a value, and to look at all would take for ever."""
    empty = []
    for _ in range(8):
        empty = [empty] * 1000
    torch.save({"W": torch.zeros(1), "x": empty}, tmp_path / "w.pt")
    with pytest.raises(BadRequest, match="nested more than"):
        Tensors(tmp_path / "w.pt", flat=True)


@pytest.mark.parametrize("value", [torch.tensor(1j), 10**400, "k"])
def test_what_is_no_number_is_said(tmp_path, value):
    torch.save({"k": value}, tmp_path / "w.pt")
    with pytest.raises(BadRequest, match="k is .*one number is wanted"):
        Tensors(tmp_path / "w.pt", flat=True).number("k")
