"""Models and weights that a store names are opened where the user has harvested from them, or says so."""

import os
import pickle
import shutil
from pathlib import Path

import httpx2
import pyarrow
import pytest

import featurestore
import featurestore.weights
from featurestore import BadRequest, Unavailable
from featurestore.cli.main import main
from featurestore.client import Client
from featurestore.extension.locations import remember_locations
from featurestore.search import activating
from featurestore.storage.user_files import holds_data, is_remembered
from featurestore.web import create_app
from tests.support import tiny

NAME = "tiny/0-res"
ASKS = {
    "activating": lambda store: store.activating("some text", NAME),
    "activating of features": lambda store: store.activating("some text", features=[f"{NAME}/0"]),
    "contrast": lambda store: store.contrast(["some text"], ["other text"], NAME),
    "in SQL": lambda store: store.sql("SELECT * FROM activating('some text', dictionary := 'tiny/0-res')"),
}


@pytest.fixture
def opened(monkeypatch):
    """The places that were opened, in place of opening them."""
    opened = []

    def run(dictionaries, text):
        opened.extend((row.model_location, row.weights_location) for row in dictionaries)
        return [text], {row.dictionary: activating_nothing() for row in dictionaries}

    monkeypatch.setattr(activating, "_model_runner", lambda: run)
    return opened


def activating_nothing():
    import numpy

    return numpy.empty(0, numpy.int32), numpy.empty(0, numpy.int32), numpy.empty(0, numpy.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_store):
    """A store from elsewhere, which names places of this machine; this user has named none so far."""
    monkeypatch.setenv("FEATURESTORE_STATE", str(tmp_path / "state"))
    folder = shutil.copytree(tiny_store, tmp_path / "copy")
    with featurestore.connect(folder) as store, store.writer("tests") as writer:
        row = tiny.dictionary_row("0-res", 0) | {"model_location": "/their/model", "weights_location": "their/weights"}
        writer.remove("dictionaries", NAME)
        writer.add("dictionaries", pyarrow.Table.from_pylist([row]), key=NAME)
    return folder


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_nothing_that_only_the_store_names_is_opened(folder, opened, ask):
    with featurestore.connect(folder) as store, pytest.raises(Unavailable, match="--allow-store-locations"):
        ask(store)
    assert opened == []


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_what_the_user_has_harvested_from_is_opened(folder, opened, ask):
    remember_locations("/their/model")
    with featurestore.connect(folder) as store:
        with pytest.raises(Unavailable, match="their/weights"):
            ask(store)
        remember_locations("their/weights", None)
        ask(store)
    assert set(opened) == {("/their/model", "their/weights")}


def read_weights_of(store):
    store.sae(NAME)


def read_encoder_of(store):
    store.vectors(dictionary=NAME, encoder=True)


@pytest.mark.parametrize("ask", [read_weights_of, read_encoder_of])
def test_weights_that_only_the_store_names_are_read_by_no_door(folder, monkeypatch, ask):
    read = []
    monkeypatch.setattr(featurestore.weights, "_find_reader", lambda: lambda *asked: read.append(asked) or 1 / 0)
    with featurestore.connect(folder) as store, Client("http://x", transport=wsgi(store)) as client:
        for door in (store, client):
            with pytest.raises(Unavailable, match="their/weights.*--allow-store-locations"):
                ask(door)
        assert read == []
        remember_locations("their/weights")
        with pytest.raises(ZeroDivisionError):
            ask(store)
        assert len(read) == 1


def wsgi(store):
    return httpx2.WSGITransport(app=create_app(store))


def test_a_user_who_trusts_the_store_says_so(folder, opened, monkeypatch, invoke):
    with featurestore.connect(folder, allow_store_locations=True) as store:
        store.activating("some text", NAME)
    command = ["activating", "some text", "--dictionary", NAME, "--store", str(folder)]
    refused = invoke(main, command)
    assert refused.exit_code != 0 and "--allow-store-locations" in refused.output
    assert invoke(main, [*command, "--allow-store-locations"]).exit_code == 0
    assert "FEATURESTORE_ALLOW_STORE_LOCATIONS" not in os.environ
    monkeypatch.setenv("FEATURESTORE_ALLOW_STORE_LOCATIONS", "1")
    assert invoke(main, command).exit_code == 0
    assert len(opened) == 3
    with pytest.raises(BadRequest, match="where the service runs"):
        featurestore.connect("http://127.0.0.1:1", allow_store_locations=True)


def test_locations_are_remembered_once_and_as_they_are(folder, tmp_path):
    odd = "/a/place with\nlines and \u00e9\\n"
    for _ in range(2):
        remember_locations(odd, None, "gpt2")
    assert is_remembered(odd) and is_remembered("gpt2") and not is_remembered("/a/place with")
    assert len((tmp_path / "state" / "locations").read_text().splitlines()) == 2


def test_without_a_writable_home_nothing_is_remembered_and_nothing_fails(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEATURESTORE_STATE", str(tmp_path / "file"))
    remember_locations("gpt2")
    assert not is_remembered("gpt2")


def test_the_demo_is_ours(folder, tmp_path):
    import featurestore_demo

    inside = Path(featurestore_demo.__file__).parent
    assert is_remembered(str(inside / "model"))
    assert not is_remembered(str(inside / ".." / "elsewhere"))
    copies = [shutil.copytree(inside / part, tmp_path / part) for part in ("model", "dictionaries/2-res-2k")]
    assert all(is_remembered(str(copy)) for copy in copies)
    (copies[0] / "config.json").write_text("{}")
    (copies[1] / "more.json").write_text("{}")
    assert not any(is_remembered(str(copy)) for copy in copies)


@pytest.fixture
def data(tmp_path):
    """A folder of this machine that holds data alone."""
    data = tmp_path / "data"
    (data / "part").mkdir(parents=True)
    (data / ".cache").mkdir()
    for name in ("config.json", "model.safetensors", "part/tokens.TXT", ".cache/download.lock"):
        (data / name).write_text("")
    return data


def name_places(folder, place):
    with featurestore.connect(folder) as store, store.writer("tests") as writer:
        row = tiny.dictionary_row("0-res", 0) | {"model_location": str(place), "weights_location": str(place)}
        writer.remove("dictionaries", NAME)
        writer.add("dictionaries", pyarrow.Table.from_pylist([row]), key=NAME)


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_data_of_this_machine_is_opened_for_who_works_on_it_and_by_no_service(folder, opened, data, ask):
    name_places(folder, data)
    with featurestore.connect(folder) as store:
        ask(store)
    assert set(opened) == {(str(data), str(data))}
    with featurestore.connect(folder) as served:
        served.isolate_sql(1)
        with pytest.raises(Unavailable, match="by no service"):
            ask(served)
    with featurestore.connect(folder, allow_store_locations=True) as served:
        served.isolate_sql(1)
        ask(served)
        assert pickle.loads(pickle.dumps(served))._may_open("gpt2")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "modeling.py", "sae.pt", "part/weights.pkl", "noname"])
def test_pickles_and_code_are_no_data(data, name):
    assert holds_data(str(data))
    (data / name).write_text("")
    assert not holds_data(str(data))


def test_pipes_links_and_names_are_no_data(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data", "owner/name", "gpt2", "hf://owner/name", f"{data}/../data", f"{data}\0", "/"):
        assert not holds_data(name), name
    (data / "link").symlink_to(tmp_path)
    assert not holds_data(str(data))
    (data / "link").unlink()
    os.mkfifo(data / "pipe.json")
    assert not holds_data(str(data))
