"""Answers as tables of Arrow, pandas and Polars: the fields of the values, and the same types whatever they are."""

import datetime
import pickle
import sys

import httpx2
import msgspec
import numpy
import pandas
import polars
import pyarrow
import pytest

import featurestore
from featurestore import Unavailable
from featurestore.client import Client
from featurestore.values.graphs import Graphs
from featurestore.values.hits import Activating, ActiveFeature, Contrast, Duplicates, Edge, Neighbourhood
from featurestore.values.jobs import Job, Jobs
from featurestore.web import create_app

ANSWERS = {
    "hits": lambda s: s.search("exception handling", k=4),
    "dictionaries": lambda s: s.dictionaries(),
    "features": lambda s: s.features(["tiny/0-res/8", "tiny/0-res/22"]),
    "neighbourhood": lambda s: s.neighbourhood("tiny/0-res/3"),
    "duplicates": lambda s: s.duplicates("tiny/0-res", cosine=0.5),
    "features compared": lambda s: s.compare("tiny/0-res/8", "tiny/0-res/3", "tiny/0-res/22"),
    "dictionaries compared": lambda s: s.compare("tiny/0-res", "tiny/1-res"),
}


@pytest.fixture(scope="module")
def local(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.mark.parametrize("name", ANSWERS)
def test_tables_hold_the_fields_of_the_rows(local, name):
    found = ANSWERS[name](local)
    table = found.to_arrow()
    names = ("matches", "pairs", "edges")
    rows = next((getattr(found, name) for name in names if hasattr(found, name)), None) or list(found)
    assert len(rows) == table.num_rows > 0
    # By JSON, which knows neither tuples nor structs.
    assert msgspec.json.decode(msgspec.json.encode(table.to_pylist())) == msgspec.json.decode(msgspec.json.encode(rows))
    assert table.column_names == list(type(rows[0]).__struct_fields__)


@pytest.mark.parametrize("name", ANSWERS)
def test_pandas_and_polars_have_the_same_rows(local, name):
    found = ANSWERS[name](local)
    table = found.to_arrow()
    assert isinstance(found.to_pandas(), pandas.DataFrame) and isinstance(found.to_polars(), polars.DataFrame)
    assert list(found.to_pandas().columns) == table.column_names == found.to_polars().columns
    assert len(found.to_pandas()) == table.num_rows
    assert found.to_polars().to_dicts() == table.to_pylist()


@pytest.mark.parametrize("name", ANSWERS)
def test_a_client_gives_the_same_tables(local, name):
    with Client("http://x", transport=httpx2.WSGITransport(app=create_app(local))) as remote:
        assert ANSWERS[name](remote).to_arrow().equals(ANSWERS[name](local).to_arrow())


def test_what_is_empty_has_its_columns(local):
    hits = local.search("exception handling", k=4)
    empty = msgspec.structs.replace(hits, hits=())
    assert empty.to_arrow().schema == hits.to_arrow().schema
    assert featurestore.Features().to_arrow().schema == local.features(["tiny/0-res/8"]).to_arrow().schema
    assert featurestore.Dictionaries().to_arrow().schema == local.dictionaries().to_arrow().schema
    for made, of in (
        (Activating(text="", tokens=(), features=()), ActiveFeature),
        (Neighbourhood(id="", nodes=(), edges=()), Edge),
    ):
        assert made.to_arrow().column_names == list(of.__struct_fields__)
    assert Contrast(texts=1, against=1, features=()).to_polars().height == 0
    assert Duplicates(dictionary="", compared=0, pairs=()).to_pandas().empty
    assert hits.to_arrow().schema.field("score").type == pyarrow.float64()


def test_lists_of_values_are_lists(local):
    found = local.dictionaries()
    assert found == list(found) and isinstance(found, list)
    again = pickle.loads(pickle.dumps(found))
    assert again == found and again.to_arrow().equals(found.to_arrow())
    assert msgspec.json.encode(found) == msgspec.json.encode(list(found))


def test_rows_as_they_come_can_be_had_whole(local):
    statement = "SELECT dictionary, feature, top_logits FROM features ORDER BY ALL"
    whole = local.sql(statement).to_arrow()
    assert whole.equals(local.stream(statement).to_arrow())
    assert local.stream(statement).to_polars().equals(polars.from_arrow(whole))
    assert local.stream(statement).to_pandas().equals(whole.to_pandas())
    assert polars.DataFrame(local.stream(statement)).equals(polars.from_arrow(whole)), "by the Arrow stream protocol"


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_what_is_not_installed_is_named_with_the_remedy(local, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    for found in (local.search("self"), local.dictionaries(), local.stream("SELECT 1")):
        with pytest.raises(Unavailable, match=rf"{name} is not installed: pip install 'featurestore\[{name}\]'"):
            getattr(found, f"to_{name}")()


def test_objects_with_keys_of_their_own_are_json():
    began = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    job = Job(id="index-0", kind="index", about="", state="done", began=began, changed=began, result={"rows": 3})
    table = Jobs([job, msgspec.structs.replace(job, result=None)]).to_arrow()
    assert table["result"].to_pylist() == ['{"rows":3}', None]
    assert Jobs().to_arrow().schema == table.schema
    assert Jobs([job]).df()["id"].tolist() == ["index-0"]


def test_frames_begin_with_what_names_their_rows(local):
    """The id of a feature, or else the name of what the row is."""
    remote = Client("http://x", transport=httpx2.WSGITransport(app=create_app(local)))
    for store in (local, remote):
        first = {
            "id": [store.scores("tiny/0-res/8"), store.examples("tiny/0-res/8"), store.search("self"), store.jobs()],
            "dictionary": [store.dictionaries()],
            "graph": [store.graphs()],
            "list": [store.lists()],
        }
        for name, answers in first.items():
            assert [answer.df().columns[0] for answer in answers] == [name] * len(answers)


def test_a_table_has_notes_as_sentences():
    assert "note_codes" not in Graphs().to_arrow().column_names
    assert "notes" in Graphs().to_arrow().column_names


def test_slices_of_answers_are_answers(local):
    hits = local.search("exception handling", k=4)
    first = hits[:2]
    assert isinstance(first, featurestore.Hits) and list(first) == list(hits)[:2] and first.query == hits.query
    assert hits[-1] == list(hits)[-1] and list(hits[::-1]) == list(hits)[::-1] and hits[numpy.int64(1)] == hits[1]
    assert first.to_arrow().equals(hits.to_arrow().slice(0, 2)) and "".join(first.notes) in first._repr_html_()
    assert first.next is None, "the next page begins behind hits that the slice has not"
    assert len(hits[4:]) == 0 and hits[4:].to_arrow().schema == hits.to_arrow().schema
    for listing, of in (
        (local.dictionaries(), featurestore.Dictionaries),
        (local.features(["tiny/0-res/8", "tiny/0-res/3"]), featurestore.Features),
    ):
        assert isinstance(listing[:1], of) and listing[:1] == list(listing)[:1]
        assert listing[:1].to_arrow().equals(listing.to_arrow().slice(0, 1)) and listing[1] == list(listing)[1]


def test_completion_shows_the_public_names():
    assert set(dir(featurestore)) == {*featurestore.__all__, "__version__"}
    assert all(hasattr(featurestore, name) for name in dir(featurestore))
