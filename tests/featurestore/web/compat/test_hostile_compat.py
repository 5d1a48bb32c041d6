"""Requests that strangers send to the routes of other services: each is answered, and no guard is weaker there."""

import json
import logging
import re

import pytest

from featurestore.web import Settings, create_app
from featurestore.web.compat import COMPAT
from featurestore.web.security import keys
from tests.featurestore.web.test_hostile_requests import BODIES
from tests.support import attribution_graphs, tiny

JSON = "application/json"
# What takes the place of a part of a path; of a number only digits come as far as the route.
PARTS = ("tiny", "x", "..", "%2e%2e%2f", "%00", "%ff", "-1", "1e3", "9" * 400, "٣", "a" * 2000, "<b>", "'", "0-res")
# Fields that some route reads, with values that none takes.
FIELDS = ("modelId", "source", "layer", "index", "offset", "query", "text", "layers", "listId", "features", "name")
VALUES = ("null", "3", "-1", "1e999", '"\\u0000"', '"../.."', "[]", "[[]]", "{}", '"' + "x" * 5000 + '"', "true")
FOREIGN = [
    f'{{"modelId": "tiny", "source": "0-res", "layer": "0-res", "index": "1", "query": "self", "{name}": {value}}}'
    for name in FIELDS
    for value in VALUES
]
LISTS = ["[{}]", "[null]", '[{"modelId": "tiny", "layer": "0-res", "index": "x"}]', "[" + "{}," * 5000 + "{}]"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("compat") / "s") as opened:
        opened.add_graph(attribution_graphs.graph(), map=["tiny/{layer}-res"])
        yield opened


@pytest.fixture(scope="module")
def app(store):
    return create_app(store, Settings(compat=frozenset(COMPAT), writes=True))


@pytest.fixture(scope="module")
def routes(app):
    """Method and path, with names of parts, of every route of another service."""
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.partition(".")[0] in COMPAT]
    return sorted((method, rule.rule) for rule in rules for method in rule.methods - {"HEAD", "OPTIONS"})


def fill(path, part, number="3"):
    return re.sub(r"<int:\w+>", number, re.sub(r"<(path:)?\w+>", part, path))


def check(answer, path):
    """An answer is JSON or a file, and no failure of ours."""
    status, content = answer.status_code, answer.get_data()
    assert status < 500 or status in (501, 503), (path[:200], status, content[:300])
    if status >= 400 and answer.mimetype == "application/json":
        assert json.loads(content) and len(content) < 20_000, path[:200]
    assert b"Traceback" not in content and b"/site-packages/" not in content


def test_there_are_routes_of_each(routes):
    assert len(routes) > 40
    paths = " ".join(path for _, path in routes)
    assert all(part in paths for part in ("/api/feature/", "/api/inference/v1/", "/graph_data/", "/save_graph/"))


def test_parts_of_paths(app, routes, caplog):
    http = app.test_client()
    with caplog.at_level(logging.ERROR):
        for method, path in routes:
            if "<" in path:
                for part in PARTS:
                    check(http.open(fill(path, part), method=method, data=b"{}"), (method, path, part)[1] + part)
                for number in ("0", "9" * 19, "9" * 400):
                    check(http.open(fill(path, "tiny", number), method=method, data=b"{}"), path + number)
    assert not [record for record in caplog.records if record.exc_info]


def test_bodies(app, routes, caplog):
    http = app.test_client()
    posts = [path for method, path in routes if method == "POST"]
    with caplog.at_level(logging.ERROR):
        for path in posts:
            named = fill(path, "colons")
            for body in (*BODIES[::5], *FOREIGN, *LISTS) if "rest" not in path else BODIES[:9]:
                check(http.post(named, data=body.encode("utf-8", "surrogatepass"), content_type=JSON), named + body)
    assert not [record for record in caplog.records if record.exc_info]


def test_fields_of_gets(app, routes):
    http = app.test_client()
    for method, path in routes:
        if method == "GET":
            named = fill(path, "tiny")
            for query in (
                "x=1",
                "query=%00",
                "page=-1",
                "page=9e99",
                "perPage=" + "9" * 50,
                "feature_id=" + "x&feature_id=" * 300,
            ):
                check(http.get(f"{named}?{query}"), named + query)


@pytest.mark.parametrize(
    "range_",
    ["bytes=-1", "bytes=9-1", "bytes=0-0,5-9", f"bytes={'9' * 400}-", "bytes=a-b", "lines=0-1", "bytes=-", "bytes=٣-٤"],
)
def test_ranges_of_bins(app, range_):
    answer = app.test_client().get("/features/layer_0.bin", headers={"Range": range_.encode().decode("latin-1")})
    assert answer.status_code in (206, 400, 416)
    assert len(answer.data) <= 1_000_000


def test_a_service_with_keys_asks_for_one_on_every_route(store, routes, tmp_path):
    """Also a reader's key writes nothing, and unknown hosts and sites are refused."""
    reader = keys.create(tmp_path / "keys.json", "reader")
    settings = Settings(
        compat=frozenset(COMPAT), writes=True, keys=keys.Keys(tmp_path / "keys.json"), hosts=frozenset({"localhost"})
    )
    http = create_app(store, settings).test_client()
    version = store.version
    writes = ("/save_graph/", "/list/new", "/list/add-features")
    for method, path in routes:
        named = fill(path, "colons")
        assert http.open(named, method=method, data=b"{}", content_type=JSON).status_code == 401, named
        for headers in ({"Authorization": "Bearer fsk_0_0"}, {"X-Api-Key": "x" * 300}):
            assert http.open(named, method=method, data=b"{}", headers=headers, content_type=JSON).status_code == 401, (
                named
            )
        key = {"X-Api-Key": reader}
        for more in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (
                http.open(named, method=method, data=b"{}", headers=key | more, content_type=JSON).status_code == 403
            ), (named, more)
        if any(each in path for each in writes):
            assert http.open(named, method=method, data=b"{}", headers=key, content_type=JSON).status_code == 403, named
    assert store.version == version


def test_a_service_without_writes_takes_none(store, routes):
    http = create_app(store, Settings(compat=frozenset(COMPAT))).test_client()
    for path in ("/save_graph/colons", "/api/list/new", "/api/list/add-features"):
        assert http.post(path, data=b'{"name": "x", "qParams": {}}', content_type=JSON).status_code == 403
