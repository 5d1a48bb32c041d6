"""Answers about what failed name the store, and not where it lies."""

from pathlib import Path

import flask
import msgspec
import pytest

from featurestore.storage.locations import hide_path
from featurestore.web import create_app
from featurestore.web.security.places import HiddenPlaces
from tests.support import tiny

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
    places = HiddenPlaces(location, CACHE, list)
    assert places.hide_in(flask.Response(text, 500)).get_data(as_text=True) == shown
    assert places.hide_in(flask.Response(text, 400)).get_data(as_text=True) == text  # a sender's own words


def test_streams_are_left_as_they_are():
    answer = flask.Response(iter(["/data/x.features"]), 500)
    assert HiddenPlaces("/data/x.features", CACHE, list).hide_in(answer).is_streamed


PLACES = {
    "import_location": "/data/team/labels.csv",
    "model_location": "/data/team/models/gpt2",
    "weights_location": "/data/team/weights/8-res",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("served") / "tiny.features"
    plain = tiny.dictionary_row
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "dictionary_row", lambda source, layer: plain(source, layer) | PLACES)
        with tiny.build_tiny_store(place, index=False) as built:
            built.isolate_sql(processes=1)
            yield built


def test_no_answer_says_where_models_and_weights_lie(store, monkeypatch):
    monkeypatch.setattr("featurestore.search.activating._model_runner", lambda: None)
    http = create_app(store).test_client()
    shown = {name: place.rpartition("/")[2] for name, place in PLACES.items()}
    assert PLACES.items() <= msgspec.structs.asdict(store.dictionaries()[0]).items()
    for url in ("/v1/dictionaries/tiny/0-res", "/v1/dictionaries"):
        answer = http.get(url).json
        assert shown.items() <= answer.get("dictionaries", [answer])[0].items()
    columns = ", ".join(PLACES)
    for view in ("dictionaries", "stored.dictionaries"):
        answer = http.get("/v1/sql", query_string={"sql": f"select {columns} from {view} limit 1"})
        assert answer.status_code != 200 or answer.json["rows"] == [list(shown.values())]
    urls = [
        *("/", "/dictionaries/tiny/0-res", "/features/tiny/0-res/3", "/v1/info", "/v1/coverage", "/openapi.json"),
        *("/v1/features/tiny/0-res/3", "/v1/search?text=self", "/v1/activating?text=self", "/v1/jobs", "/llms.txt"),
        *("/v1/matrices/tiny/0-res?encoder=true", "/v1/sql?sql=from+dictionaries", "/v1/graphs", "/v1/lists"),
        *("/v1/sql?sql=from+dictionaries&format=csv", "/v1/compare?id=tiny/0-res&id=tiny/1-res", "/healthz"),
        *("/v1/nothing", "/v1/features/tiny/0-res/999", "/v1/sql?sql=from+read_csv('x')", "/metrics"),
    ]
    for url in urls:
        answer = http.get(url)
        assert "/data/team" not in answer.text and str(store.location) not in answer.text, url
    refusal = http.get("/v1/activating?text=self")
    assert refusal.status_code == 503 and "'gpt2' is where the store says" in refusal.json["detail"]


def test_places_of_this_machine_alone_are_shortened():
    kept = ["hf://org/x//a", "org/x", "./gpt2", "https://host/x", "s3://bucket/x", None]
    assert [hide_path(place) for place in kept] == kept
    hidden = ["/a/b", "/a/b/", "~/a/b", "file:///a/b", r"C:\a\b", r"\\host\a\b"]
    assert {hide_path(place) for place in hidden} == {"b"}
