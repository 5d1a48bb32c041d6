"""Every route of the service and of others' interfaces, asked with right values and wrong ones: no error of ours."""

import json
import logging
import random
import re
from urllib.parse import quote

import pytest

from featurestore.web import Settings, create_app

# Texts stand for themselves in a URL; what else is there is written as JSON.
WRONG = (
    *(None, True, -1, 0, 1e308, 2**63, 2**200, "", "x" * 3000, "\0", "e\u0301", "../../etc/passwd", "@x", "@", "{}"),
    *([], [None], [[]], [[[[]]]], {}, {"a": {}}, {"id": None}, "NaN", "tiny/0-res", f"tiny/0-res/{'9' * 60}", "%00"),
    *([{"id": "tiny/0-res/5", "note": 5}], "((((", "error('x')", ["a"] * 1001, "a/b/c/d", "\r\nX: y", "\ud7ff"),
)
RIGHT = (
    "tiny/0-res/8",
    ["tiny/0-res/8", "tiny/1-res/3"],
    "density > 0",
    "exception",
    3,
    0.5,
    ["tiny/0-res"],
    True,
    "8",
)
PARTS = (
    "tiny",
    "0-res",
    "8",
    "colons",
    "few",
    "x",
    "..",
    "%2e%2e",
    "%00",
    "a%2Fb",
    "e%CC%81",
    "-1",
    "9" * 40,
    "*",
    "@",
)
PAGES = (
    *(
        "/features/tiny/0-res/{a}",
        "/dictionaries/tiny/{a}",
        "/graphs/{a}",
        "/lists/{a}",
        "/neighbourhood/tiny/0-res/{a}",
    ),
    *("/features/tiny/0-res/{a}?embed=true", "/compare?id={a}&id=tiny/0-res/8", "/text?text={a}", "/sql?sql={a}"),
    *("/?text=x&where={a}", "/?near={a}", "/dictionaries/tiny/0-res?map={a}", "/search?text={a}&among=@few"),
)
FOREIGN = (
    *("/api/feature/tiny/0-res/{a}", "/api/source/tiny/{a}", "/api/explanation/search-all", "/api/search-all"),
    *("/api/graph/tiny/{a}", "/api/graph/list-owned", "/api/activation/new", "/api/vector/get", "/save_graph/{a}"),
    *("/graph_data/{a}.json", "/data/graph-metadata.json", "/api/v1/features/search", "/api/lists/list", "/api/{a}"),
)
NAMES = (
    "modelId",
    "query",
    "layers",
    "sourceSet",
    "features",
    "index",
    "text",
    "slug",
    "qParams",
    "customText",
    "prompt",
)


@pytest.fixture(scope="module")
def http(graph_store):
    graph_store.save_list("few", ["tiny/0-res/8", "tiny/1-res/3"])
    return create_app(graph_store, Settings(writes=True, compat=("neuronpedia", "graphs", "goodfire"))).test_client()


def fill(path, rng):
    return re.sub(r"\{[^}]+\}", lambda _: rng.choice(PARTS[:5] if rng.random() < 0.6 else PARTS), path)


def pick(names, rng):
    chosen = rng.sample(names, min(len(names), rng.randint(0, 4)))
    return {name: rng.choice(RIGHT if rng.random() < 0.4 else WRONG) for name in chosen}


def make_request(operations, schemas, rng):
    """Returns the method, the URL and the body of a request to a route that is picked by chance."""
    kind = rng.random()
    if kind < 0.3:
        path = fill(rng.choice(PAGES if kind < 0.15 else FOREIGN), rng)
        method = rng.choice(("GET", "GET", "POST")) if kind >= 0.15 else "GET"
        return method, path, pick(NAMES, rng) if method == "POST" else None
    path, method, operation = rng.choice(operations)
    names = [parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in content:
        content = schemas[content["$ref"].rpartition("/")[2]]
    if method in ("POST", "PUT"):
        body = pick(list(content.get("properties", ())), rng)
        return method, fill(path, rng), rng.choice(WRONG) if rng.random() < 0.05 else body
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in pick(names, rng).items()}
    query = "&".join(f"{name}={quote(value, errors='surrogatepass')}" for name, value in texts.items())
    return method, f"{fill(path, rng)}?{query}", None


def send_requests(http, seed, count):
    """Sends requests; returns how many were answered with which status."""
    rng, statuses = random.Random(seed), {}
    document = http.get("/openapi.json").json
    operations = [
        (path, method.upper(), operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        # Removing what the others need is left out, and so are processes.
        if method in ("get", "post", "put") and "/jobs" not in path
    ]
    for _ in range(count):
        method, url, body = make_request(operations, document["components"]["schemas"], rng)
        sent = (
            {} if body is None and method == "GET" else {"data": json.dumps(body), "content_type": "application/json"}
        )
        answer = http.open(url, method=method, **sent)
        text = answer.get_data()
        assert answer.status_code < 500 or answer.status_code in (501, 503), (method, url, body, text[:500])
        assert b"Traceback" not in text, (method, url, body)
        if answer.status_code >= 400 and url.startswith("/v1"):
            assert answer.mimetype == "application/problem+json", (method, url, body)
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
    return statuses


def test_some_requests_to_every_kind_of_route(http, caplog):
    with caplog.at_level(logging.ERROR):
        statuses = send_requests(http, seed=1, count=250)
    assert statuses[200] > 25 and statuses[400] > 50
    assert [record for record in caplog.records if record.name == "featurestore.web"] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_thousands_of_requests_to_every_kind_of_route(http, caplog, seed):
    with caplog.at_level(logging.ERROR):
        send_requests(http, seed, count=1000)
    assert [record for record in caplog.records if record.name == "featurestore.web"] == []
