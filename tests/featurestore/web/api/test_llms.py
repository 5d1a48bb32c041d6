"""Texts for language models: what the service is, without a key, and nothing of what the store holds."""

import pytest

import featurestore
from featurestore.web import Settings, create_app
from featurestore.web.security import keys


@pytest.fixture(scope="module")
def http(tiny_store, tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    keys.create(path, "somebody")
    with featurestore.connect(tiny_store) as store:
        yield create_app(store, Settings(keys=keys.Keys(path))).test_client()


@pytest.mark.parametrize("path", ["/llms.txt", "/llms-full.txt"])
def test_it_is_text_for_everybody(http, path):
    answer = http.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert answer.text.startswith("# featurestore\n")
    assert "tiny/0-res" not in answer.text
    assert http.get(f"{path}?x=1").status_code == 400
    assert http.get("/v1/dictionaries").status_code == 401


def test_the_full_text_has_every_route_and_column(http):
    text = http.get("/llms-full.txt").text
    for path in http.get("/openapi.json").json["paths"]:
        assert f" {path}\n" in text
    assert "- `density` DOUBLE" in text and "- `cursor`" in text
