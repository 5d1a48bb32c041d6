"""The page of a comparison: what it shows, what leads to it, and what it says of mistakes."""

import re

import pytest

import featurestore
from featurestore.web import create_app

HTML = {"Accept": "text/html"}
FEATURES = "/compare?id=tiny/0-res/8&id=tiny/0-res/3&id=tiny/1-res/8"


@pytest.fixture(scope="module")
def http(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield create_app(store).test_client()


def test_features_side_by_side_are_the_json_of_the_same_name(http):
    page = http.get(FEATURES, headers=HTML).text
    link = re.search(r'href="(/v1/compare[^"]+)">JSON', page)[1].replace("&amp;", "&")
    answer = http.get(link).json
    assert answer["kind"] == "features"
    shown = re.findall(r'<td class="num cell[^"]*">([^<]+)</td>', page)
    assert shown == [f"{cosine:.2f}" for row in answer["cosines"] for cosine in row]
    assert len(re.findall(r'<div class="turn">', page)) == sum(len(each["features"]) for each in answer["examples"])
    assert page.count("Compare without ") == 3


def test_two_features_cannot_be_fewer(http):
    assert "Compare without " not in http.get("/compare?id=tiny/0-res/8&id=tiny/0-res/3", headers=HTML).text


def test_dictionaries_with_their_matches(http):
    page = http.get("/compare?id=tiny/0-res&id=tiny/1-res&k=2", headers=HTML).text
    assert len(re.findall(r'title="side by side"', page)) == 2
    more = re.search(r'href="(/compare[^"]+)">more matches', page)[1].replace("&amp;", "&")
    assert len(re.findall(r'title="side by side"', http.get(more, headers=HTML).text)) == 8
    turned = re.search(r'href="([^"]+)">the other way', page)[1].replace("&amp;", "&")
    assert ">tiny/1-res in tiny/0-res<" in http.get(turned, headers=HTML).text


def test_ids_in_other_forms_and_empty_boxes(http):
    page = http.get("/compare?id=tiny@0-res:8&id=&id=+tiny/0-res/3+", headers=HTML)
    assert page.status_code == 200 and page.text.count('<td class="num cell') == 4
    blank = http.get("/compare?id=&id=", headers=HTML)
    assert blank.status_code == 200 and "tick them" in blank.text


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("id=tiny/0-res/8", 400, "alone is nothing to compare"),
        ("id=tiny/0-res/8&id=tiny/1-res", 400, "is a dictionary and"),
        ("id=tiny/0-res/8&id=tiny/0-res/99", 404, "no feature 99"),
        ("&".join(f"id=tiny/0-res/{n}" for n in range(9)), 400, "9 features are too many"),
        ("id=tiny/0-res/8&id=<script>", 400, "&lt;script&gt;"),
    ],
)
def test_mistakes_are_said_beside_the_form(http, query, status, message):
    answer = http.get(f"/compare?{query}", headers=HTML)
    assert answer.status_code == status
    assert message in answer.text and "<script>alert" not in answer.text and 'name="id"' in answer.text


def test_searches_and_feature_pages_lead_to_it(http):
    assert 'action="/compare"' in http.get("/?text=exception+handling", headers=HTML).text
    assert 'action="/compare"' in http.get("/features/tiny/0-res/8", headers=HTML).text
    assert '<a href="/compare"' in http.get("/", headers=HTML).text


def test_a_link_of_another_site_compares_no_dictionaries(http):
    elsewhere = HTML | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    page = http.get("/compare?id=tiny/0-res&id=tiny/1-res", headers=elsewhere).text
    assert "nothing was compared" in page and "Best matches" not in page
    assert "nothing was compared" not in http.get(FEATURES, headers=elsewhere).text
