"""What a page weighs over the wire, with its style sheets and scripts: at most 60 kB."""

import gzip
import re

import pytest

import featurestore
from featurestore.web import create_app

MOST = 60_000  # bytes
ROWS = "SELECT * FROM features ORDER BY ALL"
LONG = "SELECT dictionary, feature, tokens, activations, array_to_string(tokens, '') AS text FROM examples"
PATHS = [
    "/",
    "/?text=exception+handling&k=50",
    "/?near=tiny/0-res/8&k=50",
    "/features/tiny/0-res/8",
    "/neighbourhood/tiny/0-res/8?k=20",
    "/dictionaries/tiny/0-res",
    "/text",
    "/lists",
    "/graphs",
    "/compare?id=tiny/0-res/8&id=tiny/0-res/9",
    "/sql",
    f"/sql?sql={ROWS}&x=density&y=max_activation",
    f"/sql?sql={LONG}",
    "/sql?sql=SELECT range AS n, md5(range::VARCHAR) AS text FROM range(100000)&x=n&y=n",
    "/docs",
]


@pytest.fixture(scope="module")
def http(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield create_app(store).test_client()


def weigh(http, path):
    """The bytes of an answer as a browser gets it that takes gzip, and its text."""
    answer = http.get(path, headers={"Accept": "text/html,*/*", "Accept-Encoding": "gzip"})
    assert answer.status_code == 200, answer.text[:500]
    assert answer.headers.get("Content-Encoding") == "gzip" or len(answer.data) < 1024
    packed = answer.headers.get("Content-Encoding") == "gzip"
    with answer:
        return len(answer.data), gzip.decompress(answer.data).decode() if packed else answer.text


@pytest.mark.parametrize("path", PATHS)
def test_pages_are_light(http, path):
    size, page = weigh(http, path)
    parts = {link: weigh(http, link)[0] for link in re.findall(r'(?:href|src)="(/static/[^"]+)"', page)}
    assert {"/static/style.css", "/static/page.js"} <= set(parts)
    assert size + sum(parts.values()) <= MOST, (size, parts)
