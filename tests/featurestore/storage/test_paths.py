"""Paths carry no data: neither where a store lies nor what its dictionaries are called changes a value."""

import pytest

import featurestore
from tests.support import tiny

STATEMENT = "SELECT feature, density, label, explainer, layer, state FROM features ORDER BY feature, explainer"
PLACES = ["layer=5/s", "label=evil/density=0.5/s", "feature=1/s", "a[12]*?/s", "it's/s", "x{1,2}/ü s"]
NAMES = ["label=evil", "density=0.5", "dictionary=other", "feature=3", "a[12]*?", "ü'x"]


def write(folder, source="0-res"):
    """A store of one dictionary with labels, written in two commits, so that compact has something to merge."""
    name = f"{tiny.MODEL}/{source}"
    with featurestore.create(folder) as store:
        with store.writer("tests") as writer:
            rows = [tiny.dictionary_row(source, 0) | {"corpus": None, "tokenizer": None}]
            writer.add("dictionaries", _table(rows, "dictionaries"), key=name)
            writer.add("features", _table(tiny.feature_rows(name), "features"), key=name)
            writer.add_vectors(name, tiny.vectors(0))
        labels = tiny.label_rows(name)
        for half in (labels[::2], labels[1::2]):
            with store.writer("tests") as writer:
                writer.add("labels", _table(half, "labels"), key=name)
    return folder


def _table(rows, table):
    import pyarrow

    from featurestore.tables import schema

    wanted = schema.arrow_schema(table)
    return pyarrow.Table.from_pylist(rows, pyarrow.schema([field for field in wanted if field.name in rows[0]]))


def answers(folder, source="0-res"):
    """What the store says, before and after compact."""
    id = f"{tiny.MODEL}/{source}/3"
    found = []
    with featurestore.connect(folder) as store:
        for _ in range(2):
            store.index()
            found.append(
                (
                    store.sql(STATEMENT).to_pylist(),
                    [hit.feature for hit in store.search("exception", mode="keyword", where="density > 0")],
                    [hit.feature for hit in store.nearest(id, where="layer = 0")],
                    store.feature(id).label,
                    store.feature(id).density,
                )
            )
            store.compact()
        assert store.check().problems == ()
    return found


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    return answers(write(tmp_path_factory.mktemp("plain") / "s"))


@pytest.fixture(autouse=True)
def by_words(monkeypatch):
    from featurestore.search import embedders

    monkeypatch.setattr(embedders, "available", lambda setting: False)


@pytest.mark.parametrize("place", PLACES)
def test_where_a_store_lies_changes_nothing(tmp_path, wanted, place):
    (tmp_path / place).parent.mkdir(parents=True)
    assert answers(write(tmp_path / place)) == wanted


@pytest.mark.parametrize("source", NAMES)
def test_what_a_dictionary_is_called_changes_nothing(tmp_path, wanted, source):
    assert answers(write(tmp_path / "s", source), source) == wanted
