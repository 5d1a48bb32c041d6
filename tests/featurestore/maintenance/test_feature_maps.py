"""Maps of features: a table in the store, made once, made again for other vectors, shown as bytes."""

import numpy
import pytest

from featurestore import NotFound
from featurestore.cli.main import main
from featurestore.web import create_app
from tests.support import tiny

HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("maps") / "s") as opened:
        opened.index(map=True)
        yield opened


def read_data(http, path):
    raw = http.get(path).data
    (count,) = numpy.frombuffer(raw, "<u4", 1)
    return int(count), raw[4:]


def test_every_dictionary_has_a_map_that_is_made_once(store, invoke):
    rows = store.sql("select dictionary, count(*) n, min(x) low, max(y) high from map_points group by all").to_pylist()
    sizes = {entry.dictionary: entry.d_sae for entry in store.dictionaries()}
    assert {row["dictionary"]: row["n"] for row in rows} == sizes
    assert all(row["low"] >= -1 and row["high"] <= 1 for row in rows)
    assert store.index(map=True) == []
    assert store.check().problems == ()
    before = store.info().rows["map_points"]
    again = invoke(main, ["index", "--map", "--store", store.location])
    assert (again.exit_code, "a map of" in again.output) == (0, False)
    assert store.info().rows["map_points"] == before


def test_a_map_goes_with_its_dictionary(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        opened.index(map=True)
        opened.remove("tiny/0-res")
        left = opened.sql("select distinct dictionary from map_points").to_pylist()
        assert [row["dictionary"] for row in left] == ["tiny/1-res"]
        assert opened.check().problems == ()


def test_the_data_of_the_page_are_the_table(store):
    http = create_app(store).test_client()
    count, raw = read_data(http, "/map/tiny/0-res/data")
    rows = store.sql("select feature, x, y from map_points where dictionary = 'tiny/0-res' order by feature")
    assert count == rows.num_rows == len(raw) // 12
    numpy.testing.assert_array_equal(numpy.frombuffer(raw, "<u4", count), rows["feature"].to_numpy())
    numpy.testing.assert_array_equal(numpy.frombuffer(raw, "<f4", count, 4 * count), rows["x"].to_numpy())
    numpy.testing.assert_array_equal(numpy.frombuffer(raw, "<f4", count, 8 * count), rows["y"].to_numpy())


def test_a_column_is_a_number_for_each_point(store):
    http = create_app(store).test_client()
    wanted = store.sql("select max_activation v, state from features where dictionary = 'tiny/0-res' order by feature")
    count, raw = read_data(http, "/map/tiny/0-res/data?column=max_activation")
    values = numpy.frombuffer(raw, "<f4", count)
    expected = [numpy.nan if value is None else value for value in wanted["v"].to_pylist()]
    numpy.testing.assert_allclose(values, numpy.array(expected, "f4"))
    assert numpy.isnan(values).any()
    count, raw = read_data(http, "/map/tiny/0-res/data?column=state")
    names = ("live", "always-on", "dead", "unharvested")
    assert [names[int(n)] for n in numpy.frombuffer(raw, "<f4", count)] == wanted["state"].to_pylist()
    refused = http.get("/map/tiny/0-res/data?column=label; drop", headers=HTML)
    assert refused.status_code == 400 and "is not one of state" in refused.text


def test_pages_lead_to_the_map_or_say_how_to_make_one(store, tiny_store):
    import featurestore

    http = create_app(store).test_client()
    assert 'href="/map/tiny/0-res"' in http.get("/dictionaries/tiny/0-res").text
    page = http.get("/map/tiny/0-res?text=numbers&column=state").text
    assert "<noscript>" in page and 'value="numbers"' in page and "<option selected>state</option>" in page
    with featurestore.connect(tiny_store) as bare:
        answer = create_app(bare).test_client().get("/map/tiny/0-res", headers=HTML)
    assert answer.status_code == NotFound.status and "featurestore index --map" in answer.text
