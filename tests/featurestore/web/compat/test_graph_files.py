"""What front ends of attribution graphs fetch, with the byte arithmetic of their scripts; and what they save."""

import gzip
import json
import math
import struct

import httpx2
import pytest

import featurestore
from featurestore.client import Client
from featurestore.graphs import feature_files
from featurestore.web import Settings, create_app
from tests.support import attribution_graphs, tiny

COMPAT = frozenset({"graphs"})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("g") / "s", index=False) as opened:
        opened.add_graph(attribution_graphs.graph(), map=["tiny/{layer}-res"])
        yield opened


@pytest.fixture(scope="module")
def http(store):
    settings = Settings(compat=COMPAT, writes=True, origins=frozenset({"https://front.example"}))
    return create_app(store, settings).test_client()


def load_from_bin(http, prefix, number):
    """A feature as circuit-tracer's script loads it: Cantor's pair, two offsets, a length, gzip."""
    w = math.floor((math.sqrt(8 * number + 1) - 1) / 2)
    index = number - w * (w + 1) // 2
    layer = w - index
    bins = json.loads(gzip.decompress(http.get(f"{prefix}/index.json.gz").data))[str(layer)]
    first, last = bins["offsets"][index], bins["offsets"][index + 1]
    answer = http.get(f"{prefix}/{bins['filename']}", headers={"Range": f"bytes={first}-{last}"})
    size = 24 * feature_files.SLOT
    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{min(last, size - 1)}/{size}"
    assert len(answer.data) == min(last, size - 1) - first + 1 == answer.content_length
    (length,) = struct.unpack("<I", answer.data[:4])
    return json.loads(gzip.decompress(answer.data[4 : 4 + length]))


@pytest.mark.parametrize(("layer", "index"), [(0, 0), (1, 8), (0, 22), (1, 23)])
def test_a_bin_has_each_feature_where_its_index_says(store, http, layer, index):
    loaded = load_from_bin(http, "/features", attribution_graphs.pair(layer, index))
    page = store.feature(f"tiny/{layer}-res/{index}")
    assert (loaded["index"], loaded["label"]) == (index, page.label)
    assert loaded["isDead"] == (index == 22) and loaded["activation_frequency"] == pytest.approx(page.density)
    examples = [example for band in loaded["examples_quantiles"] for example in band["examples"]]
    assert [each["tokens"] for each in examples] == [list(example.tokens) for example in page.examples]
    assert all(len(each["tokens"]) == len(each["tokens_acts_list"]) > each["train_token_ind"] for each in examples)


@pytest.mark.parametrize(
    ("range_", "status", "sent"),
    [
        ("bytes=0-3", 206, "bytes 0-3/1572864"),
        ("bytes=1572860-9999999", 206, "bytes 1572860-1572863/1572864"),
        ("bytes=-10", 206, "bytes 1572854-1572863/1572864"),
        ("bytes=0-", 206, "bytes 0-262143/1572864"),
        ("bytes=1572864-", 416, "bytes */1572864"),
        ("bytes=9-3", 416, "bytes */1572864"),
        ("bytes=a-b", 416, "bytes */1572864"),
        ("lines=1-2", 416, "bytes */1572864"),
    ],
)
def test_ranges(http, range_, status, sent):
    answer = http.get("/features/layer_0.bin", headers={"Range": range_})
    assert (answer.status_code, answer.headers["Content-Range"]) == (status, sent)
    head = http.head("/features/layer_0.bin", headers={"Range": range_})
    assert (head.status_code, head.headers["Content-Range"], head.data) == (status, sent, b"")


def test_heads_preflights_and_what_is_refused(http):
    head = http.head("/features/layer_0.bin")
    assert (head.status_code, head.content_length, head.headers["Accept-Ranges"]) == (200, 1572864, "bytes")
    assert http.head("/features/index.json.gz").status_code == 200
    assert "read in parts" in http.get("/features/layer_0.bin").json["error"]
    assert "there are those of 0, 1" in http.get("/features/layer_7.bin", headers={"Range": "bytes=0-1"}).json["error"]
    answer = http.options("/features/layer_0.bin", headers={"Origin": "https://front.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://front.example"
    assert "Range" in answer.headers["Access-Control-Allow-Headers"]
    assert "Content-Range" in answer.headers["Access-Control-Expose-Headers"]
    assert http.options("/features/layer_0.bin", headers={"Origin": "https://else.example"}).status_code == 403
    assert http.get("/features/tiny/0-res/3", headers={"Accept": "text/html"}).mimetype == "text/html"


def test_a_graph_and_the_features_of_its_nodes(store, http):
    (metadata,) = http.get("/data/graph-metadata.json").json["graphs"]
    graph = http.get(f"/graph_data/{metadata['slug']}.json").json
    assert graph["metadata"]["scan"] == metadata["scan"] == "./graph_features/colons"
    nodes = {node["node_id"]: node for node in graph["nodes"]}
    for node in store.graph("colons").nodes:
        raw = nodes[node.node_id]
        if not node.in_store:
            assert "vis_link" not in raw
            continue
        assert raw["clerp"] == (node.label or "")
        assert raw["vis_link"].endswith(f"/features/{node.id}")
        for scan in ("graph_features/colons", "features/graph_features/colons", "features/tiny"):
            assert http.get(f"/{scan}/{raw['feature']}.json").json["id"] == node.id
    assert http.get("/graph_features/colons/123456.json").status_code == 404
    assert http.get("/graph_features/none/1.json").status_code == 404
    assert http.get("/org/repo/resolve/main/features/index.json.gz").status_code == 404


def test_what_a_person_pins_comes_back(store, http):
    view = {"pinnedIds": "0_3_1,1_3_1", "supernodes": '[["mine","0_3_1"]]', "clerps": "[]"}
    answer = http.post("/save_graph/colons", json={"qParams": view, "timestamp": "2026-01-02T03:04:05Z"})
    assert answer.json == {"saved": "colons"}
    assert http.get("/graph_data/colons.json").json["qParams"] == view == store.graph("colons").view
    nodes = len(store.graph("colons").nodes)
    with Client("http://x", transport=httpx2.WSGITransport(app=http.application)) as client:
        client.save_graph("colons", {"pinnedIds": []})
        assert client.graph("colons").view == {"pinnedIds": []} and len(client.graph("colons").nodes) == nodes
        with pytest.raises(featurestore.NotFound, match="there are: colons"):
            client.save_graph("none", {})
    deep = http.post("/save_graph/colons", data="[" * 9000 + "]" * 9000, content_type="application/json")
    assert (deep.status_code, deep.json["error"]) == (400, "the body is nested too deep")
    for body in ({}, {"qParams": 3}, [1]):
        assert http.post("/save_graph/colons", json=body).status_code == 400
    assert http.post("/save_graph/colons", json={"qParams": {"x": "y" * 1_000_001}}).status_code == 413
    assert http.post("/save_graph/colons", data="{}").status_code == 400
    other = {"Origin": "https://else.example"}
    assert http.post("/save_graph/colons", json={"qParams": view}, headers=other).status_code == 403
    reading = create_app(store, Settings(compat=COMPAT)).test_client()
    assert reading.post("/save_graph/colons", json={"qParams": view}).status_code == 403


def test_without_the_option_nothing_of_it_is_there(store):
    http = create_app(store).test_client()
    for path in ("/data/graph-metadata.json", "/graph_data/colons.json", "/features/index.json.gz", "/api/global"):
        assert http.get(path).status_code == 404


def test_cantor_is_undone_exactly():
    for layer, index in [(0, 0), (0, 1), (31, 16_383), (99, 33_554_431), (5, 0)]:
        assert feature_files.unpair(attribution_graphs.pair(layer, index)) == (layer, index)


def test_what_pages_read_from_a_graph_is_as_they_write_it(store, http):
    """Names as text by node and by number of feature, a probability in the text of a logit: pages stop without."""
    store.edit_graph("colons", name={"0_3_1": "mine"})
    document = http.get("/graph_data/colons.json").json
    (number,) = {node["feature"] for node in document["nodes"] if node["node_id"] == "0_3_1"}
    assert dict(json.loads(document["qParams"]["clerps"])) == {"0_3_1": "mine", str(number): "mine"}
    assert [node["clerp"] for node in document["nodes"] if node["feature_type"] == "logit"] == ['Output ":" (p=0.750)']
    assert [node["clerp"] for node in document["nodes"] if node["node_id"] == "0_3_1"] == ["mine"]
    # What the page saves has only the names that were given in it.
    assert http.post("/save_graph/colons", json={"qParams": {"clerps": '[["44","other"]]'}}).status_code == 200
    assert dict(json.loads(store.graph("colons").view["clerps"])) == {"44": "other", str(number): "mine"}
    store.edit_graph("colons", name={"0_3_1": None})
    names = dict(json.loads(http.get("/graph_data/colons.json").json["qParams"]["clerps"]))
    assert names == {"44": "other", "0_8_2": "other"} and attribution_graphs.pair(0, 8) == 44
    # A name by number would rename the logit of that number, whose probability pages read from its text.
    nodes = [attribution_graphs.feature(1, 1, 0), attribution_graphs.node("L", "logit", 2, 0, 4, clerp='Output ":"')]
    store.add_graph(attribution_graphs.graph("alike", nodes=nodes), map=["tiny/{layer}-res"])
    store.edit_graph("alike", name={"1_1_0": "a feature", "L": "a logit"})
    document = http.get("/graph_data/alike.json").json
    assert [node["clerp"] for node in document["nodes"]] == ["a feature", 'Output ":" (p=0.000)']
    assert dict(json.loads(document["qParams"]["clerps"])) == {"1_1_0": "a feature", "L": "a logit"}
