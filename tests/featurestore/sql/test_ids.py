"""Views with rows about features begin with the feature's id, and searches in SQL have it too."""

import pytest

import featurestore

VIEWS = ("features", "labels", "best_labels", "votes", "scores", "examples", "map_points", "list_features")


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.mark.parametrize("view", [*VIEWS, "graph_nodes"])
def test_a_view_begins_with_the_id(store, view):
    rows = store.sql(f"FROM {view}")
    assert rows.column_names[0] == "id"
    assert [row["id"] for row in rows.to_pylist() if row["dictionary"]] == [
        f"{row['dictionary']}/{row['feature']}" for row in rows.to_pylist() if row["dictionary"]
    ]


def test_features_begin_with_id_and_label(store):
    rows = store.sql("FROM features")
    assert rows.column_names[:4] == ["id", "label", "dictionary", "feature"]
    assert rows.num_rows == 48


@pytest.mark.parametrize("search", ["search('self')", "keyword('self')", "semantic('self')", "nearest('tiny/0-res/3')"])
def test_searches_are_joined_by_id(store, search):
    joined = store.sql(f"SELECT id, rank, label FROM {search} JOIN features USING (id) ORDER BY rank").to_pylist()
    ranked = store.sql(f"SELECT * FROM {search}")
    assert ranked.column_names[0] == "id"
    assert [row["id"] for row in joined] == ranked["id"].to_pylist()
    assert len(joined) > 1


def test_conditions_take_it(store):
    condition = "id IN ('tiny/0-res/3', 'tiny/1-res/5')"
    assert [page.id for page in store.features_where(condition, 0)] == ["tiny/0-res/3", "tiny/1-res/5"]
    assert {hit.id for hit in store.search("self", where=condition)} <= {"tiny/0-res/3", "tiny/1-res/5"}
