"""Weights of a dictionary: found by the store's word, held to its hash, as tensors and as sae_lens's object."""

import msgspec
import numpy
import pytest
import torch

import featurestore
from featurestore import BadRequest, NotFound, Unavailable
from featurestore.client import Client
from featurestore.web import create_app
from ingest.activating import _find_model
from ingest.harvest import store_rows
from tests.ingest.weights import saelens_files
from tests.support import writer_jobs
from tests.support.servers import real_server


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A harvested store of a small model, and where its weights are."""
    folder = tmp_path_factory.mktemp("world")
    writer_jobs.make_world(folder)
    featurestore.create(folder / "s").close()
    writer_jobs.harvesting(str(folder / "s"), str(folder))
    return folder


@pytest.fixture(scope="module")
def local(world):
    with featurestore.connect(world / "s") as store:
        yield store


@pytest.fixture(scope="module")
def remote(local):
    with real_server.serving(create_app(local)) as url, Client(url) as client:
        yield client


@pytest.fixture(params=["local", "remote"])
def door(request):
    return request.getfixturevalue(request.param)


def test_tensors_are_those_of_the_file(door):
    entry = door.dictionaries()[0]
    sae = door.sae(entry.dictionary)
    assert sae.hash == entry.weights_hash and sae.d_sae == entry.d_sae
    assert {"W_enc", "b_enc", "W_dec", "b_dec"} <= set(sae.tensors())
    x = torch.randn(5, sae.d_in, generator=torch.Generator().manual_seed(1))
    assert sae.decode(sae.encode(x), x).shape == (5, sae.d_out)


def test_whole_matrices(door, local):
    name = door.dictionaries()[0].dictionary
    sae = door.sae(name)
    decoder, encoder = door.vectors(dictionary=name), door.vectors(dictionary=name, encoder=True)
    numpy.testing.assert_array_equal(encoder, sae.W_enc.float().T.numpy())
    numpy.testing.assert_array_equal(decoder, sae.W_dec.half().numpy())
    assert (decoder.dtype, encoder.dtype) == (numpy.float16, numpy.float32)
    numpy.testing.assert_array_equal(decoder[3].astype(numpy.float32), door.vector(f"{name}/3"))
    table = door.vectors_to_arrow(name, encoder=True)
    assert table["id"][3].as_py() == f"{name}/3" and table["vector"][3].as_py() == encoder[3].tolist()


def test_by_name_place_and_environment(world, local, monkeypatch):
    entry = local.dictionaries()[0]
    monkeypatch.setenv("FEATURESTORE", str(world / "s"))
    for sae in (
        featurestore.sae(entry.dictionary),
        featurestore.sae(entry.dictionary, local),
        featurestore.sae(entry.dictionary, world / "s"),
        featurestore.sae(entry.weights_location),
        featurestore.sae(entry.dictionary, local, weights=entry.weights_location),
    ):
        assert sae.hash == entry.weights_hash


def test_other_weights_are_refused(local, tmp_path):
    first, second = local.dictionaries()[:2]
    with pytest.raises(Unavailable, match="with other weights than are at"):
        local.sae(first.dictionary, weights=second.weights_location)
    with pytest.raises(Unavailable, match="are not at hand"):
        local.sae(first.dictionary, weights=tmp_path / "none")
    with pytest.raises(NotFound, match="no dictionary"):
        local.sae("no/such")
    with pytest.raises(NotFound, match="no weights at"):
        featurestore.sae(str(tmp_path / "none"))


def test_another_model_is_refused(local):
    """A text is run by the model that the store was harvested from, and by no newer version of it."""
    model = local.dictionaries()[0]
    assert local.activating("a b", dictionary=model.dictionary) is not None
    with pytest.raises(Unavailable, match="was harvested from another version of"):
        _find_model(msgspec.structs.replace(model, model_hash="0" * 16))


def test_without_weights(tiny_store):
    with featurestore.connect(tiny_store) as store:
        with pytest.raises(Unavailable, match="does not say where the weights of tiny/0-res are"):
            store.sae("tiny/0-res")
        with pytest.raises(Unavailable, match="does not say where"):
            store.vectors(dictionary="tiny/0-res", encoder=True)
        with pytest.raises(BadRequest, match="either ids or dictionary"):
            store.vectors()


@pytest.mark.filterwarnings("ignore")  # theirs, when they are imported
@pytest.mark.parametrize("case", [case for case in saelens_files.cases() if case.is_read], ids=str)
def test_sae_lens_computes_the_same(tmp_path, case):
    """Where sae_lens is installed: its object encodes and decodes as ours does, whatever was folded in."""
    ours = featurestore.sae(str(saelens_files.write(tmp_path, case)))
    try:
        theirs = ours.to_sae_lens()
    except Unavailable as exc:
        pytest.skip(str(exc))
    x = torch.randn(7, ours.d_in, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(x.clone()), theirs.encode(x.clone()), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(ours.decode(ours.encode(x.clone()), x.clone()), theirs(x), rtol=1e-3, atol=1e-3)
    assert theirs.cfg.metadata.hook_name == ours.hook_point


def test_the_id_on_neuronpedia_comes_with_the_weights(tmp_path, local):
    """From the metadata that SAELens keeps, into the row of a dictionary; another text is left out."""
    case = next(case for case in saelens_files.cases() if case.is_read and not case.is_transcoder)
    metadata = {"hook_name": "blocks.1.hook_resid_post", "model_name": "gpt2"}
    for number, (id, read) in enumerate({"gpt2-small/1-res-jb": "gpt2-small/1-res-jb", "no id": None}.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        saelens_files.write(folder, case, metadata=metadata | {"neuronpedia_id": id})
        sae = featurestore.sae(str(folder))
        assert sae.neuronpedia_id == read
        assert store_rows.make_dictionary_row("m", "s", sae, None)["neuronpedia_id"] == read
