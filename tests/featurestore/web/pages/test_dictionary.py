"""The page of a dictionary: which features it lists, and the numbers beside them."""

import re

import pytest

import featurestore
from featurestore.web import create_app

PATH = "/dictionaries/tiny/0-res"


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.fixture(scope="module")
def http(store):
    return create_app(store).test_client()


def listed(page):
    return [int(n) for n in re.findall(r'<td class="num"><a href="/features/tiny/0-res/(\d+)">', page)]


def expected(store, condition="state = 'live'", order="feature"):
    statement = f"select feature from features where dictionary = 'tiny/0-res' and {condition} order by {order}"
    return store.sql(statement)["feature"].to_pylist()


def test_live_features_by_index_come_first(store, http):
    assert listed(http.get(PATH).text) == expected(store)
    assert listed(http.get(f"{PATH}?state=all").text) == expected(store, "true")
    assert listed(http.get(f"{PATH}?state=dead&order=index").text) == expected(store, "state = 'dead'")


def test_a_jump_begins_at_an_index(store, http):
    assert listed(http.get(f"{PATH}?first=7&state=all").text) == expected(store, "feature >= 7")
    beyond = http.get(f"{PATH}?first=9999")
    assert beyond.status_code == 400 and "features, from 0" in beyond.text


def test_a_condition_and_a_text_filter(store, http):
    condition = "max_activation > 2 or density < 0.1"
    page = http.get(PATH, query_string={"where": condition})
    assert page.status_code == 200 and listed(page.text) == expected(store, f"({condition})")
    hits = store.search("exception handling", within="tiny/0-res", k=50)
    page = http.get(PATH, query_string={"text": "exception handling"}).text
    assert listed(page) == [int(hit.id.rpartition("/")[2]) for hit in hits]
    both = http.get(PATH, query_string={"text": "exception handling", "where": "feature = 8"}).text
    assert set(listed(both)) <= {8}
    assert "No feature matches" in http.get(PATH, query_string={"where": "feature < 0"}).text


@pytest.mark.parametrize("where", ["nose = 1", "feature =", "true) or (dictionary = 'tiny/1-res'", "select 1; drop"])
def test_a_wrong_condition_is_an_error_on_the_page(http, where):
    page = http.get(PATH, query_string={"where": where}, headers={"Accept": "text/html"})
    assert page.status_code == 400 and 'role="alert"' in page.text
    assert "/features/tiny/1-res" not in page.text


def test_l0_is_the_sum_of_the_densities(store, http):
    total = store.sql("select sum(density) s from features where dictionary = 'tiny/0-res'")["s"][0].as_py()
    shown = re.search(r">L0</dt><dd>([\d.,]+)</dd>", http.get(PATH).text)[1]
    assert float(shown) == pytest.approx(total, rel=0.01)
