"""The queries of docs/queries.md run, and find something."""

import re

import pytest

import featurestore
from tests.support import ROOT, tiny, writer_jobs

TEXT = (ROOT / "docs" / "queries.md").read_text("utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


def test_there_are_twenty():
    assert len(QUERIES) >= 20
    assert len(set(QUERIES)) == len(QUERIES)


@pytest.mark.parametrize("query", [q for q in QUERIES if "activating(" not in q], ids=lambda q: q.split("\n")[0][:40])
def test_it_finds_something(store, query):
    found = store.sql(query)
    assert found.num_rows > 0
    assert len(set(found.column_names)) == found.num_columns


def test_what_fires_on_a_text(tmp_path):
    (query,) = [q for q in QUERIES if "activating(" in q]
    writer_jobs.make_world(tmp_path)
    featurestore.create(tmp_path / "s").close()
    writer_jobs.harvesting(str(tmp_path / "s"), str(tmp_path))
    with featurestore.connect(tmp_path / "s") as store:
        found = store.sql(query.replace("density < 0.5", "density < 1")).to_pylist()
        assert found and {row["token"] for row in found} <= set("raise ValueError(name)")


def test_disagreement_puts_labels_without_a_common_word_first(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s", index=False)
    rows = [
        {
            "dictionary": "tiny/0-res",
            "feature": 5,
            "label": words,
            "explainer": who,
            "tool": "t",
            "created_at": tiny.WHEN,
        }
        for who, words in (("a", "alpha beta"), ("b", "gamma delta"))
    ]
    with store.writer("tests") as writer:
        writer.add("labels", tiny.table(rows), key="tiny/0-res")
    (query,) = [q for q in QUERIES if "other_label" in q]
    found = store.sql(query).to_pylist()
    pairs = [(row["label"], row["other_label"]) for row in found if row["feature"] == 5]
    assert ("alpha beta", "gamma delta") in pairs
    assert all(not set(a.lower().split()) & set(b.lower().split()) for a, b in pairs[:3])
