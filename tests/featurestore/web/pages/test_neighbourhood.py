"""The list of a neighbourhood stops where cosines are no larger than chance makes them."""

import math

import numpy
import pytest

import featurestore
from featurestore.web import create_app
from featurestore.web.pages import neighbourhood
from featurestore.web.pages.neighbourhood import Chance, estimate_chance

HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


def test_chance_is_what_random_directions_have(store):
    chance = estimate_chance(store, "tiny/0-res")
    assert chance == Chance(min(1.0, math.sqrt(2 * math.log(48) / 8)), 48, 8)
    rng = numpy.random.default_rng(0)
    rows = rng.normal(size=(4096, 256))
    rows /= numpy.linalg.norm(rows, axis=1, keepdims=True)
    nearest = numpy.sort(rows[:64] @ rows.T, axis=1)[:, -2]
    assert nearest.mean() == pytest.approx(math.sqrt(2 * math.log(4096) / 256), abs=0.03)


def test_the_list_stops_and_says_why(store, monkeypatch):
    monkeypatch.setattr(neighbourhood, "estimate_chance", lambda store, name: Chance(0.5, 48, 8))
    page = create_app(store).test_client().get("/neighbourhood/tiny/0-res/8?k=8", headers=HTML).text
    shown, hidden = page.split("The list stops at cosine 0.500")
    nodes = store.neighbourhood("tiny/0-res/8", 8).nodes[1:]
    near = [node.id for node in nodes if node.score >= 0.5]
    assert 0 < len(near) < len(nodes)
    assert shown.count('class="place"') == len(near) and hidden.count('class="place"') == len(nodes) - len(near)
    assert f"{len(nodes) - len(near)} below it" in hidden


def test_a_drawing_has_a_limit_and_says_where_the_rest_is(store, monkeypatch):
    monkeypatch.setattr(neighbourhood, "MOST_NEAREST", 2)
    page = create_app(store).test_client().get("/neighbourhood/tiny/0-res/8?k=5", headers=HTML).text
    assert page.count('class="ring1"') == 2 * 2, "two nearest in the drawing for screens and in that for phones"
    assert 'This page draws 2 nearest at most; <a href="/v1/neighbourhood/tiny/0-res/8?k=5">' in page
