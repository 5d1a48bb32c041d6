"""Answers about what failed name the store, and not where it lies."""

from pathlib import Path

import flask
import pytest

from featurestore.web.security.places import HiddenPlaces

CACHE = Path("/home/somebody/.cache/featurestore")
HIDDEN = {
    (
        "/data/team <1>/x.features",
        "/data/team <1>/x.features/features/a/b/0.parquet: no",
    ): "x.features/features/a/b/0.parquet: no",
    ("/data/team <1>/x.features", "/data/team &lt;1&gt;/x.features/log"): "x.features/log",
    ('/data/"q"/x.features/', r"/data/\"q\"/x.features/log"): "x.features/log",
    ("s3://bucket/deep/x.features", "s3://bucket/deep/x.features/log"): "x.features/log",
    ("x.features", "x.features/log"): "x.features/log",
    ("x.features", f"{Path('x.features').absolute()}/log"): "x.features/log",
    ("x.features", f"{CACHE}/0123/log"): "the cache/0123/log",
}


@pytest.mark.parametrize(("given", "shown"), HIDDEN.items(), ids=range(len(HIDDEN)))
def test_directories_above_a_store_are_left_out(given, shown):
    location, text = given
    places = HiddenPlaces(location, CACHE)
    assert places.hide_in(flask.Response(text, 500)).get_data(as_text=True) == shown
    assert places.hide_in(flask.Response(text, 400)).get_data(as_text=True) == text  # a sender's own words


def test_streams_are_left_as_they_are():
    answer = flask.Response(iter(["/data/x.features"]), 500)
    assert HiddenPlaces("/data/x.features", CACHE).hide_in(answer).is_streamed
