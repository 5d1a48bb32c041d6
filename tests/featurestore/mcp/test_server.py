"""The MCP server, asked by the client of the package mcp: in this process, over pipes and over HTTP."""

import contextlib
import json
import os
import socket
import sys
import threading

import anyio
import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

import featurestore
from featurestore.mcp import answers, http
from featurestore.mcp.server import create_server
from featurestore.web.security import keys
from tests.support import ROOT, attribution_graphs

TOOLS = ["search", "nearest", "feature", "activating", "contrast", "compare", "sql", "dictionaries", "graph"]


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


def ask(server, *calls, connections=None, **options):
    """The results of tool calls, (name, arguments) each, over one session; `connections` are closed after it."""

    async def run():
        async with connections or contextlib.nullcontext(), Client(server, **options) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return anyio.run(run)


def call(server, name, **arguments):
    """The JSON that a tool answers with."""
    (result,) = ask(server, (name, arguments))
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)


def refuse(server, name, **arguments):
    """What a tool says of a call that it refuses."""
    (result,) = ask(server, (name, arguments))
    assert result.is_error
    return result.content[0].text


def test_tools_only_read_and_take_what_they_say(store):
    async def run():
        async with Client(create_server(store)) as client:
            assert "featurestore://schema" in client.instructions
            return (await client.list_tools()).tools

    tools = anyio.run(run)
    assert [tool.name for tool in tools] == TOOLS
    for tool in tools:
        assert tool.annotations.read_only_hint and not tool.annotations.destructive_hint
        assert tool.input_schema["additionalProperties"] is False
        assert len(tool.description) > 40
    assert sum(answers.count_tokens(tool.model_dump_json()) for tool in tools) < 5000


def test_answers_are_those_of_the_store(store):
    server = create_server(store)
    hits = call(server, "search", text="exception handling", k=3)["hits"]
    wanted = store.search("exception handling", k=3)
    assert [(hit["id"], hit["label"]) for hit in hits] == [(hit.id, hit.label) for hit in wanted]
    hits = call(server, "nearest", to="tiny/0-res/3", within=["tiny/1-res"], k=2)["hits"]
    assert [hit["id"] for hit in hits] == [hit.id for hit in store.nearest("tiny/0-res/3", within="tiny/1-res", k=2)]
    assert call(server, "nearest", to=["tiny/0-res/3", "tiny/1-res/3"], unlike=["tiny/0-res/4"], k=1)["hits"]
    page = call(server, "feature", id="tiny/0-res/8", examples=1)
    assert page["label"] == store.feature("tiny/0-res/8").label
    assert page["raises"] == [[" ValueError", 2.5], [")", 1.5]]
    assert [example["band"] for example in page["examples"]] == ["top", "[1, 2)"]
    assert page["examples"][0]["text"].startswith("def<< x>>")
    rows = call(server, "sql", sql="select dictionary, n: count(*) from features group by all order by all")
    assert rows == {"columns": ["dictionary", "n"], "rows": [["tiny/0-res", 24], ["tiny/1-res", 24]]}
    assert call(server, "sql", sql="select x: $a + 1", parameters={"a": 2})["rows"] == [[3]]
    listed = call(server, "dictionaries")["dictionaries"]
    assert [each["dictionary"] for each in listed] == ["tiny/0-res", "tiny/1-res"]
    (whole,) = call(server, "dictionaries", id="tiny/1-res")["dictionaries"]
    assert whole["d_sae"] == 24
    for told, coverage in (
        (listed[0], store.coverage()[0]),
        (listed[1], store.coverage()[1]),
        (whole, store.coverage()[1]),
    ):
        assert (told["labelled"], told["labelled_by"]) == (coverage.labelled, dict(coverage.explainers))
    assert call(server, "graph") == {"graphs": []}


def test_features_and_dictionaries_are_compared(store):
    server = create_server(store)
    ids = ["tiny/0-res/3", "tiny/1-res/3", "tiny/0-res/4"]
    answer = call(server, "compare", ids=ids)
    wanted = store.compare(ids)
    assert [feature["id"] for feature in answer["features"]] == ids
    assert answer["features"][0]["label"] == wanted.features[0].label
    assert [(pair["id"], pair["other"], pair["cosine"]) for pair in answer["pairs"]] == [
        (pair.id, pair.other, pytest.approx(pair.cosine, rel=1e-3)) for pair in wanted.pairs
    ]
    both = store.compare("tiny/0-res", "tiny/1-res", k=5)
    answer = call(server, "compare", ids=["tiny/0-res", "tiny/1-res"], k=5)
    assert (answer["compared"], answer["mutual"]) == (both.compared, both.mutual)
    assert answer["counts"]["rows"] == [[count.cosine, count.matched, count.other_matched] for count in both.counts]
    assert [(match["id"], match["other"]) for match in answer["matches"]] == [(m.id, m.other) for m in both.matches]
    lacking = call(server, "compare", ids=["tiny/0-res", "tiny/1-res"], show="other_unmatched", k=5)
    assert [match["id"] for match in lacking["other_unmatched"]] == [match.id for match in both.other_unmatched]
    # A cursor leads through the rows; what is compared is told once.
    short = call(server, "compare", ids=["tiny/0-res", "tiny/1-res"], k=20, budget=300)
    ids = [match["id"] for match in short["matches"]]
    while "next" in short:
        more = {"k": 20, "budget": 300, "cursor": short["next"]}
        short = call(server, "compare", ids=["tiny/0-res", "tiny/1-res"], **more)
        assert "compared" not in short
        ids += [match["id"] for match in short["matches"]]
    assert ids == [match.id for match in store.compare("tiny/0-res", "tiny/1-res", k=20).matches]
    assert "is a dictionary and" in refuse(server, "compare", ids=["tiny/0-res", "tiny/0-res/3"])
    assert "no dictionary" in refuse(server, "compare", ids=["tiny/0-res", "tiny/9-res"])
    assert "at least 2" in refuse(server, "compare", ids=["tiny/0-res"])


def test_cursors_lead_through_a_whole_ranking(store):
    server = create_server(store, budget=300)
    ids, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {}
        answer = call(server, "nearest", to="tiny/0-res/3", k=7, **more)
        ids += [hit["id"] for hit in answer["hits"]]
        cursor = answer.get("next")
        if cursor is None:
            break
    wanted = [hit.id for hit in store.nearest("tiny/0-res/3", k=100)]
    assert sorted(ids) == sorted(wanted) and len(set(ids)) == len(ids)
    rows, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {}
        answer = call(server, "sql", sql="select x: range from range(1500)", **more, budget=1500)
        rows += [row[0] for row in answer["rows"]]
        cursor = answer.get("next")
        if cursor is None:
            break
    assert rows == list(range(1500))


def test_mistakes_are_told_and_not_shown_as_failures(store):
    server = create_server(store)
    assert "d_sae is 24" in refuse(server, "feature", id="tiny/0-res/99")
    assert "not a feature id" in refuse(server, "feature", id="x")
    assert "only reading is possible" in refuse(server, "sql", sql="drop view features")
    assert "budget" in refuse(server, "search", text="x", budget=5)
    assert "cursor" in refuse(server, "search", text="x", cursor="nonsense")
    assert "unknown field 'limit', did you mean k?" in refuse(server, "search", text="x", limit=3)
    assert "k: 10000 is not a number of at most" in refuse(server, "search", text="x", k=10_000)
    assert "nose" in refuse(server, "search", text="x", where="nose = 1")
    assert "node" in refuse(server, "graph", node="1")


def test_resources(store):
    async def run():
        async with Client(create_server(store)) as client:
            schema = await client.read_resource("featurestore://schema")
            page = await client.read_resource("featurestore://features/tiny/0-res/8")
            with pytest.raises(Exception, match="d_sae is 24"):
                await client.read_resource("featurestore://features/tiny/0-res/99")
            with pytest.raises(Exception, match="not a feature id|Unknown"):
                await client.read_resource("featurestore://features/tiny/0-res/%2e%2e")
            return schema.contents[0].text, page.contents[0].text

    schema, page = anyio.run(run)
    assert "## features" in schema and "- `density` DOUBLE: " in schema
    assert page.startswith("# tiny/0-res/8\n") and "## Examples: top" in page


def test_a_graph_and_the_links_of_its_nodes(tmp_path):
    from tests.support import tiny

    store = tiny.write_tiny_store(tmp_path / "s")
    store.add_graph(attribution_graphs.graph(), map=["tiny/{layer}-res"])
    server = create_server(store)
    (summary,) = call(server, "graph")["graphs"]
    nodes = call(server, "graph", graph=summary["graph"])["nodes"]
    assert len(nodes) == summary["nodes"]
    target = next(node["node"] for node in nodes if node["kind"] == "logit")
    links = call(server, "graph", graph=summary["graph"], node=target)["links"]
    assert links and all("from" in link for link in links)
    assert "is no node of" in refuse(server, "graph", graph=summary["graph"], node="nowhere")
    store.close()


def test_over_pipes(tiny_store):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = ["-m", "featurestore.cli", "mcp", "--store", str(tiny_store), "--budget", "500"]
    server = StdioServerParameters(command=sys.executable, args=command, env=environment)
    found, refused = ask(
        server,
        ("search", {"text": "exception", "mode": "keyword", "k": 2}),
        ("sql", {"sql": "select * from read_csv('/etc/passwd')"}),
    )
    assert json.loads(found.content[0].text)["hits"][0]["id"].startswith("tiny/")
    assert refused.is_error and "root" not in refused.content[0].text


@contextlib.contextmanager
def listening(application):
    """The address at which an ASGI application answers meanwhile."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}{http.PATH}"
    finally:
        server.should_exit = True
        thread.join(10)
        sock.close()


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "dictionaries", "arguments": {}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


def test_over_http_with_keys_and_scopes(store, tmp_path):
    path = tmp_path / "keys.json"
    reader, analyst = (keys.create(path, name, scopes) for name, scopes in (("r", ("read",)), ("a", ("read", "sql"))))
    application = http.create_app(store, keys.Keys(path), frozenset({"127.0.0.1"}))
    statement = ("sql", {"sql": "select 1"})
    subquery = ("search", {"text": "x", "where": "feature in (select max(feature) from features)"})
    with listening(application) as url:

        def asked_with(key, *calls):
            connections = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"})
            return ask(streamable_http_client(url, http_client=connections), *calls, connections=connections)

        found, sql, condition = asked_with(reader, ("search", {"text": "self", "k": 1}), statement, subquery)
        assert json.loads(found.content[0].text)["hits"]
        assert sql.is_error and "scope sql" in sql.content[0].text
        assert condition.is_error and "subquer" in condition.content[0].text
        assert [result.is_error for result in asked_with(analyst, statement, subquery)] == [False, False]
        for headers, status in [
            ({}, 401),
            ({"Authorization": "Bearer fsk_0_0"}, 401),
            ({"Authorization": f"Bearer {reader}", "Origin": "https://elsewhere.example"}, 403),
            ({"Authorization": f"Bearer {reader}", "Host": "elsewhere.example"}, 403),
        ]:
            answer = httpx2.post(url, json=INITIALIZE, headers=ACCEPT | headers)
            assert (answer.status_code, answer.json()["status"]) == (status, status)
        too_large = httpx2.post(
            url, content=b"x" * (http.MOST_BYTES + 1), headers={**ACCEPT, "Authorization": f"Bearer {reader}"}
        )
        assert too_large.status_code in (400, 413, 415)
