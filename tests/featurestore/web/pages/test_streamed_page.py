"""Pages in two parts: what comes first, compression part by part, and what goes wrong after the head was sent."""

import gzip
import http.client
import re
import threading
import zlib

import pyarrow
import pytest

import featurestore
from featurestore.errors import BadStore, TooManyRequests, Unavailable
from featurestore.search.searcher import Searcher
from featurestore.web import create_app
from featurestore.web.pages.streamed_page import FAILED
from featurestore.web.serving.dispatch import Dispatcher
from featurestore.web.serving.listener import Listener
from featurestore.web.serving.sockets import listen_at

PATH = "/features/tiny/0-res/8"
HTML = {"Accept": "text/html"}
NEAREST = b"Nearest decoder vectors"


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(store):
    return create_app(store).test_client()


def get_parts(client, encoding="identity", path=PATH):
    """The parts of an answer's body as they are sent, without buffering."""
    answer = client.get(path, headers=HTML | {"Accept-Encoding": encoding}, buffered=False)
    assert answer.status_code == 200
    assert answer.headers.get("Content-Encoding", "identity") == encoding
    assert "Content-Length" not in answer.headers
    with answer:
        return [bytes(part) for part in answer.response if part]


def test_all_that_needs_no_search_comes_first(client):
    first, second = get_parts(client)
    assert b'<h2 id="examples">Examples</h2>' in first and b"Effect on logits" in first
    assert NEAREST not in first and NEAREST in second and second.rstrip().endswith(b"</html>")
    assert b"pause" not in first + second
    assert second.count(b'<a class="label') == 8


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_each_part_can_be_read_before_the_next_one_comes(client, encoding):
    plain = get_parts(client)
    parts = get_parts(client, encoding)
    whole = b"".join(parts)
    if encoding == "gzip":
        assert zlib.decompressobj(wbits=31).decompress(parts[0]) == plain[0]
        assert gzip.decompress(whole) == b"".join(plain)
    else:
        stream = pyarrow.CompressedInputStream(pyarrow.BufferReader(parts[0]), "zstd")
        assert stream.read(len(plain[0])) == plain[0]
        assert pyarrow.CompressedInputStream(pyarrow.BufferReader(whole), "zstd").read() == b"".join(plain)
    assert len(whole) < len(b"".join(plain)) / 2


def test_the_answer_to_head_says_how_long_the_page_is(client):
    answer = client.head(PATH, headers=HTML)
    assert answer.status_code == 200 and answer.data == b""
    assert answer.content_length == len(b"".join(get_parts(client)))
    packed = client.head(PATH, headers=HTML | {"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip" and packed.content_length < answer.content_length


def fail(monkeypatch, error):
    def search(*_arguments, **_named):
        raise error

    monkeypatch.setattr(Searcher, "run", search)


def test_an_error_after_the_head_is_told_by_the_page(client, monkeypatch, caplog):
    fail(monkeypatch, TooManyRequests("too many searches <now>"))
    page = b"".join(get_parts(client)).decode()
    assert "They could not be found: too many searches &lt;now&gt;" in page and page.rstrip().endswith("</html>")
    assert "too many searches" in caplog.text
    for error in (BadStore("/secret/place/index is damaged"), RuntimeError("secret"), MemoryError()):
        fail(monkeypatch, error)
        page = b"".join(get_parts(client)).decode()
        assert f"They could not be found: {FAILED}" in page and "secret" not in page and "To copy" in page
    assert "RuntimeError: secret" in caplog.text


def test_what_fails_before_the_head_is_a_whole_error_page(client):
    missing = client.get("/features/tiny/0-res/999999", headers=HTML)
    assert missing.status_code == 404 and "Not here" in missing.text and missing.content_length == len(missing.data)


@pytest.mark.parametrize("error", [BadStore, Unavailable])
def test_what_fails_on_a_text_names_no_place(client, store, monkeypatch, error):
    def fail(*_, **__):
        raise error(f"{store.location}/features/x.parquet is missing")

    monkeypatch.setattr(type(store), "activating", fail)
    answer = client.get(f"{PATH}/on-text?text=numbers", headers=HTML)
    assert answer.status_code == error.status and "tiny.features/features/x.parquet is missing" in answer.text
    assert str(store.location) not in answer.text


def test_a_reader_that_leaves_early_ends_the_page(client):
    under_way = re.compile(r"featurestore_requests_under_way [0-9.]+")
    before = under_way.search(client.get("/metrics").text)[0]
    for _ in range(3):
        answer = client.get(PATH, headers=HTML, buffered=False)
        assert NEAREST not in next(iter(answer.response))
        answer.close()
    assert under_way.search(client.get("/metrics").text)[0] == before


def test_a_connection_goes_on_after_a_page_in_parts(store):
    server = Listener(create_app(store), listen_at("127.0.0.1", 0), Dispatcher(2))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", int(server.effective_port), timeout=30)
    for method in ("GET", "HEAD", "GET"):
        connection.request(method, PATH, headers=HTML)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200 and (NEAREST in body) == (method == "GET")
    connection.close()

    def end():
        server.close()
        server._map.clear()

    server.trigger.pull_trigger(end)
    thread.join(5)
