"""No answer of any route, of other services' interfaces too, has a path of the machine that serves it."""

import re

import pytest

import featurestore
from featurestore.web import create_app
from featurestore.web.settings import Settings
from tests.support import tiny

PARTS = {"model": "tiny", "source": "0-res", "index": "3", "id": "tiny/0-res/3", "modelId": "tiny", "layer": "0-res"}
BODIES = (None, {"zz": 1}, {"text": "x", "ids": ["a/b/1"], "modelId": "tiny", "sourceSet": "res"})


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "s.features"
    with tiny.write_tiny_store(path) as store:
        settings = Settings(compat=frozenset({"neuronpedia", "goodfire"}), writes=True)
        yield create_app(store, settings).test_client(), str(path.parent)


def list_requests(app):
    """Every route, with parts that are there and with parts that are not, as (method, path, body)."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint.endswith("static"):
            continue
        for known in (True, False):
            path = re.sub(r"<(?:[^:<>]+:)?(\w+)>", lambda m: PARTS.get(m[1], "zz") if known else "zz%25zz", rule.rule)  # noqa: B023
            for method in sorted(rule.methods - {"OPTIONS", "HEAD"}):
                if method in ("POST", "PUT"):
                    yield from ((method, path, body) for body in BODIES)
                else:
                    yield method, path, None
                    yield method, f"{path}?zz=1", None


def test_no_answer_has_a_path_of_the_machine(http):
    client, folder = http
    count = 0
    for method, path, body in list_requests(client.application):
        answer = client.open(path, method=method, json=body)
        headers = " ".join(map(str, answer.headers.values()))
        assert folder not in answer.text + headers, (method, path)
        assert featurestore.__file__ not in answer.text, (method, path)
        assert answer.status_code < 500 or answer.status_code in (501, 503), (method, path, answer.text)
        count += 1
    assert count > 200
