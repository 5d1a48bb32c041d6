"""The MCP server pointed at the URL of a service: what the service guards is guarded, over pipes and over HTTP."""

import json
import os
import sys

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

import featurestore
from featurestore.mcp import http
from featurestore.mcp.server import create_server
from featurestore.web import Settings, create_app
from featurestore.web.security import keys
from tests.featurestore.mcp.test_server import TOOLS, ask, listening
from tests.support import ROOT, tiny
from tests.support.servers import real_server

SEARCH = ("search", {"text": "exception handling", "k": 3})
STATEMENT = ("sql", {"sql": "select n: count(*) from features"})
SUBQUERY = ("search", {"text": "self", "where": "feature in (select max(feature) from features)"})
MISSING = ("feature", {"id": "tiny/0-res/99"})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("url") / "s") as opened:
        yield opened


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Keys by name, and the file that has them."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    scopes = {"reader": ("read",), "analyst": ("read", "sql"), "writer": ("read", "sql", "write")}
    return {name: keys.create(path, name, each) for name, each in scopes.items()}, path


@pytest.fixture(scope="module")
def url(store, given):
    """A service with keys that takes writes."""
    app = create_app(store, Settings(keys=keys.Keys(given[1]), writes=True))
    with real_server.serving(app) as address:
        yield address


def connect(url, key):
    return featurestore.connect(url.replace("://", f"://any:{key}@"))


def tell(result):
    """A tool's answer as JSON; of an error its text, behind what the package says of every error."""
    text = result.content[0].text
    return text.partition(": ")[2] if result.is_error else json.loads(text)


def stdio(url, key=None):
    """The command, pointed at the URL by a client that starts it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEATURESTORE")}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"FEATURESTORE_KEY": key} if key else {})
    return StdioServerParameters(command=sys.executable, args=["-m", "featurestore.cli", "mcp", url], env=environment)


def test_over_pipes_a_reader_reads_and_what_the_service_refuses_is_the_tools_error(store, url, given):
    search, feature, names, statement, subquery, missing = map(
        tell,
        ask(
            stdio(url, given[0]["reader"]),
            SEARCH,
            ("feature", {"id": "tiny/0-res/8", "examples": 1}),
            ("dictionaries", {}),
            STATEMENT,
            SUBQUERY,
            MISSING,
        ),
    )
    wanted = store.search("exception handling", k=3)
    assert [(hit["id"], hit["label"]) for hit in search["hits"]] == [(hit.id, hit.label) for hit in wanted]
    assert feature["label"] == store.feature("tiny/0-res/8").label and len(feature["examples"]) == 2
    assert [each["dictionary"] for each in names["dictionaries"]] == ["tiny/0-res", "tiny/1-res"]
    assert statement.startswith("forbidden: ") and "sql" in statement
    assert "subquer" in subquery
    assert missing.startswith("not_found: ") and "d_sae is 24" in missing


def test_without_a_key_the_session_begins_and_every_tool_says_what_is_missing(url):
    for answer in map(tell, ask(stdio(url), SEARCH, STATEMENT, ("graph", {}))):
        assert answer.startswith("unauthorized: ") and "FEATURESTORE_KEY" in answer


def test_over_http(store, url, given):
    with (
        connect(url, given[0]["analyst"]) as remote,
        listening(http.create_app(remote, None, frozenset({"127.0.0.1"}))) as address,
    ):
        search, statement, subquery, missing = map(tell, ask(address, SEARCH, STATEMENT, SUBQUERY, MISSING))
        assert [hit["id"] for hit in search["hits"]] == [hit.id for hit in store.search("exception handling", k=3)]
        assert statement["rows"] == [[48]]
        assert {hit["id"] for hit in subquery["hits"]} <= {"tiny/0-res/23", "tiny/1-res/23"}
        assert missing.startswith("not_found: ")

        async def read():
            async with Client(address) as client:
                page = await client.read_resource("featurestore://features/tiny/0-res/8")
                with pytest.raises(Exception, match="d_sae is 24"):
                    await client.read_resource("featurestore://features/tiny/0-res/99")
                return page.contents[0].text

        assert anyio.run(read).startswith("# tiny/0-res/8\n")


def test_a_callers_key_is_not_widened_by_that_of_the_server(url, given):
    """The service sees the server's key, which may run SQL; the caller's may not."""
    with (
        connect(url, given[0]["analyst"]) as remote,
        listening(http.create_app(remote, keys.Keys(given[1]), frozenset({"127.0.0.1"}))) as address,
    ):
        for name, refused in (("reader", [False, True, True]), ("analyst", [False, False, False])):
            connections = httpx2.AsyncClient(headers={"Authorization": f"Bearer {given[0][name]}"})
            client = streamable_http_client(address, http_client=connections)
            results = ask(client, SEARCH, STATEMENT, SUBQUERY, connections=connections)
            assert [result.is_error for result in results] == refused


def test_a_key_that_may_write_writes_nothing(store, url, given):
    version = store.version
    with connect(url, given[0]["writer"]) as remote:

        async def list_tools():
            async with Client(create_server(remote)) as client:
                return [tool.name for tool in (await client.list_tools()).tools]

        assert anyio.run(list_tools) == TOOLS
        (dropped,) = ask(create_server(remote), ("sql", {"sql": "drop view features"}))
        assert dropped.is_error and "only reading is possible" in dropped.content[0].text
    assert store.version == version


def test_a_service_that_is_gone_is_told_as_such():
    with featurestore.client.Client("http://127.0.0.1:9", retries=0) as remote:
        (result,) = ask(create_server(remote), SEARCH)
        assert result.is_error and tell(result).startswith("unavailable: ")
