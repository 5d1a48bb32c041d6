"""What the page of SQL offers is what a statement may name."""

import pytest

import featurestore
from featurestore.sql.search_functions import NAMES
from featurestore.web.pages.statement.names import list_searches, list_views


def test_views_have_the_columns_that_they_have(tiny_store):
    with featurestore.connect(tiny_store) as store:
        for view in list_views():
            assert store.sql(f"FROM {view.name} LIMIT 0").column_names == [column.name for column in view.columns]
    features = next(view for view in list_views() if view.name == "features")
    assert next(column.fields for column in features.columns if column.name == "top_logits") == ("token", "value", "id")


def test_every_function_of_tables_is_offered():
    assert [search.name for search in list_searches()] == list(NAMES)


@pytest.mark.parametrize("search", [search for search in list_searches() if search.first == "graph"])
def test_functions_of_graphs_take_their_arguments(graph_store, search):
    values = {"node_threshold": "0.9", "edge_threshold": "0.9", "k": "2", "start": "null", "cosine": "0.5"}
    for name in search.arguments:
        table = graph_store.sql(f"FROM {search.name}('colons', {name} := {values[name]})")
        assert table.column_names == search.columns


@pytest.mark.parametrize(
    "search", [search for search in list_searches() if search.first != "graph" and search.name != "activating"]
)
def test_searches_take_their_arguments(tiny_store, search):
    values = {
        "k": "3",
        "within": "'tiny/0-res'",
        "among": "['tiny/0-res/1', 'tiny/0-res/8']",
        "where": "'feature > 0'",
        "all": "true",
        "structural": "false",
        "over": "['labels']",
        "space": "null",
        "unlike": "['tiny/0-res/2']",
        "opposite": "false",
    }
    first = "'tiny/0-res/3'" if search.name == "nearest" else "'brackets'"
    with featurestore.connect(tiny_store) as store:
        for name in search.arguments:
            table = store.sql(f"FROM {search.name}({first}, {name} := {values[name.strip(chr(34))]})")
            assert table.column_names == search.columns
