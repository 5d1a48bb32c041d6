"""Every method of the package neuronpedia, pointed at a service, and scripts in the manner of public ones."""

import json
import subprocess

import numpy
import pytest

import featurestore
from tests.clients.service import run, serving
from tests.support import attribution_graphs, tiny, writer_jobs

pytestmark = pytest.mark.clients
COMPAT = frozenset({"neuronpedia"})
BEGIN = """
import json, os
from neuronpedia.requests.base_request import NPRequest
NPRequest.BASE_URL = os.environ["URL"] + "/api"
os.environ["NEURONPEDIA_API_KEY"] = "any"
def attempt(call, *arguments, **fields):
    try:
        return call(*arguments, **fields)
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("np") / "s") as opened:
        opened.add_graph(attribution_graphs.graph(scan="tiny"), map=["tiny/{layer}-res"])
        yield opened


@pytest.fixture(scope="module")
def url(store):
    with serving(store, compat=COMPAT) as address:
        yield address


@pytest.fixture(scope="module")
def harvest(tmp_path_factory):
    """A store whose model is there, and its service."""
    folder = tmp_path_factory.mktemp("world")
    writer_jobs.make_world(folder)
    featurestore.create(folder / "s").close()
    writer_jobs.harvesting(str(folder / "s"), str(folder))
    with featurestore.connect(folder / "s") as opened, serving(opened, compat=COMPAT) as address:
        yield opened, address


def test_features_models_sources_and_vectors(store, url):
    script = (
        BEGIN
        + """
from neuronpedia.np_feature import Feature
from neuronpedia.np_sae_feature import SAEFeature
from neuronpedia.np_source_set import SourceSet
from neuronpedia.np_vector import NPVector
from neuronpedia.np_list import NPList
from neuronpedia.np_graph_metadata import NPGraphMetadata
import dataclasses
f = Feature.get("tiny", "0-res", 8)
s = SAEFeature.get("tiny", "0-res", "8")
ss = SourceSet.get("tiny", "res")
v = NPVector.get("tiny", "1-res", "5")
g = NPGraphMetadata.get("tiny", "colons")
print(json.dumps({
    "feature": dataclasses.asdict(f), "sae": [s.modelId, s.source, s.index, json.loads(s.jsonData)["hookName"]],
    "set": [ss.name, [x.id for x in ss.sources], ss.get_source_for_layer_number(1).id],
    "vector": [v.values, v.hook_name, v.source], "lists": [x.name for x in NPList.get_owned()],
    "vectors": NPVector.get_owned(), "graphs": [x.slug for x in NPGraphMetadata.list_owned()],
    "graph": [g.prompt, g.prompt_tokens, g.json_url],
    "missing": attempt(Feature.get, "tiny", "0-res", 99), "list": attempt(NPList.get, "x"),
}))
"""
    )
    told = run(script, url)
    page = store.feature("tiny/0-res/8")
    assert told["feature"]["density"] == pytest.approx(page.density)
    assert [each["text"] for each in told["feature"]["explanations"]] == [label.label for label in page.labels]
    assert [each["explainer_model"] for each in told["feature"]["explanations"]] == [
        one.explainer for one in page.labels
    ]
    first = told["feature"]["activations"][0]
    assert (first["tokens"], first["values"]) == (list(page.examples[0].tokens), list(page.examples[0].activations))
    assert {each["quantileMax"] for each in told["feature"]["activations"]} == {-1}  # all of the top group
    assert told["sae"] == ["tiny", "0-res", "8", "blocks.0.hook_resid_post"]
    assert told["set"] == ["res", ["0-res", "1-res"], "1-res"]
    numpy.testing.assert_array_equal(numpy.float32(told["vector"][0]), store.vector("tiny/1-res/5"))
    assert told["vector"][1:] == ["blocks.1.hook_resid_post", "1-res"]
    assert (told["lists"], told["vectors"], told["graphs"]) == ([], [], ["colons"])
    assert told["graph"][0] == store.graph("colons").prompt
    assert "Resource not found: 404" in told["missing"] and "404" in told["list"]


def test_what_a_store_cannot_do_is_501_and_its_client_says_so(url):
    script = (
        BEGIN
        + """
import tempfile
from neuronpedia.np_feature import Feature
from neuronpedia.np_model import Model
from neuronpedia.np_source_set import SourceSet
from neuronpedia.np_vector import NPVector
from neuronpedia.np_graph_metadata import NPGraphMetadata
from neuronpedia.requests.feature_request import FeatureRequest
from neuronpedia.requests.activation_request import ActivationRequest
from neuronpedia.requests.graph_request import GraphRequest
from neuronpedia.requests.vector_request import VectorRequest
place = {"model_id": "tiny", "source": "0-res", "index": "1"}
vector = NPVector(label="x", values=[1.0], hook_name="h", default_steer_strength=1, **place)
graph = json.dumps({"metadata": {"prompt": "x", "prompt_tokens": [], "scan": "tiny", "slug": "a"}})
print(json.dumps([
    attempt(FeatureRequest().upload_batch, "tiny", "0-res", [Feature("tiny", "0-res", 1)]),
    attempt(ActivationRequest().upload_batch, "tiny", "0-res", "1", []),
    attempt(Model.new, "a", 2), attempt(SourceSet.new, "a", "tiny"),
    attempt(NPVector.new, "a", "tiny", 0, "hook_resid_post", [1.0]), attempt(vector.delete),
    attempt(vector.steer_completion, "x"), attempt(vector.steer_chat, []),
    attempt(NPGraphMetadata.generate, "tiny", "x", "a"), attempt(NPGraphMetadata.upload, graph),
    attempt(GraphRequest()._delete, "tiny", "colons"),
]))
"""
    )
    for said in run(script, url):
        assert said.startswith("HTTPError: Server error occurred: 501"), said


def test_lists(tmp_path):
    script = (
        BEGIN
        + """
from neuronpedia.np_list import NPList, NPListItem
begun = NPList.new("closing brackets", "of calls")
begun.add_items([NPListItem("tiny", "0-res", "1", "closes"), NPListItem("tiny", "1-res", "9")])
got = NPList.get(begun.id)
print(json.dumps([[x.name, x.description] for x in NPList.get_owned()] + [
    [begun.id, [x.index for x in begun.items]], [got.name, [[x.source, x.index] for x in got.items]],
    attempt(NPList.get, "none"),
]))
"""
    )
    with tiny.write_tiny_store(tmp_path / "s", index=False) as store:
        with serving(store, compat=COMPAT, writes=True) as url:
            owned, begun, got, missing = run(script, url)
        assert owned == ["closing-brackets", "of calls"]
        assert begun == ["closing-brackets", ["1", "9"]]
        assert got == ["closing-brackets", [["0-res", "1"], ["1-res", "9"]]]
        assert "404" in missing
        assert [each.note for each in store.feature_list("closing-brackets").features] == ["closes", None]


def test_questions_about_texts(harvest):
    store, url = harvest
    script = (
        BEGIN
        + """
from neuronpedia.requests.activation_request import ActivationRequest
from neuronpedia.requests.source_activation_request import SourceActivationRequest
from neuronpedia.requests.topk_by_token_request import TopKByTokenRequest
text = os.environ["TEXT"]
source = SourceActivationRequest()
top = source.compute_top_features_for_text("small", "1-res", text, num_results=5)
several = source.compute_top_features_for_texts("small", ["1-res", "2-res"], [text, "return"], num_results=3)
sorted_ = source.compute_top_features_for_text("small", "1-res", text, sort_results_by_activations_at_token_indexes=[1])
tokens = TopKByTokenRequest().compute_top_features_by_token_for_text("small", "1-res", text, num_results=2)
batch = TopKByTokenRequest().compute_top_features_by_token_for_texts("small", "1-res", [text, "return"], num_results=2)
one = ActivationRequest().compute_activation_for_text("small", "1-res", top[0].index, text)
many = ActivationRequest().compute_activation_for_texts("small", "1-res", int(top[0].index), [text, "return"])
whole = ActivationRequest().compute_all_source_activations_for_text("small", "1-res", text)
print(json.dumps({
    "top": [[a.source, a.index, a.tokens, a.values] for a in top], "several": [len(x) for x in several],
    "sorted": [a.values[1] for a in sorted_],
    "tokens": [[r.position, r.token, [[f.feature.index, f.activationValue] for f in r.topFeatures]] for r in tokens],
    "batch": [len(x) for x in batch], "one": one.values, "many": [len(a.values) for a in many], "whole": whole,
}))
"""
    )
    text = "raise ValueError(name)"
    told = run(script, url, TEXT=text)
    active = store.activating(text, "small/1-res", 1000, "activation")
    wanted = [["1-res", str(each.feature), list(active.tokens), list(each.activations)] for each in active.features]
    assert told["top"] == wanted[:5]
    assert told["several"] == [3, 3]
    assert told["sorted"] == sorted((each.activations[1] for each in active.features), reverse=True)[:20]
    for position, token, top in told["tokens"]:
        strongest = sorted((each.activations[position] for each in active.features), reverse=True)[:2]
        assert token == active.tokens[position]
        assert [value for _, value in top] == [value for value in strongest if value > 0]
    assert told["batch"][0] == len(active.tokens)
    assert told["one"] == wanted[0][3] and told["many"][0] == len(active.tokens)
    dense = {each[1]: [[n, value] for n, value in enumerate(each[3]) if value] for each in wanted}
    assert told["whole"] == [{"tokens": list(active.tokens), "activeFeatures": dense}]


def curl(url, path, *options):
    done = subprocess.run(["curl", "-s", f"{url}{path}", *options], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def post(url, path, body):
    return curl(url, path, "-X", "POST", "-H", "Content-Type: application/json", "-d", json.dumps(body))


def test_scripts_of_curl(store, url):
    """The requests that public scripts send, each with the fields that they read."""
    feature = curl(url, "/api/feature/tiny/0-res/8")
    assert feature["explanations"][0]["description"] == store.feature("tiny/0-res/8").label
    assert feature["maxActApprox"] == 9.0 and feature["frac_nonzero"] == pytest.approx(0.009)
    assert list(zip(feature["pos_str"], feature["pos_values"], strict=True)) == [(" ValueError", 2.5), (")", 1.5)]
    found = post(url, "/api/explanation/search", {"modelId": "tiny", "layers": ["0-res"], "query": "brackets"})
    hits = store.search("brackets", mode="semantic", within="tiny/0-res", k=20, all=True, group=False)
    assert [(each["index"], each["cosine_similarity"]) for each in found["results"]] == [
        (str(hit.feature), pytest.approx(hit.score)) for hit in hits
    ]
    assert (found["resultsCount"], found["hasMore"], found["nextOffset"]) == (20, True, 20)
    gathered, offset = [], 0
    while offset is not None:
        page = post(url, "/api/explanation/search-all", {"query": "brackets", "offset": offset})
        gathered += [(each["layer"], each["index"]) for each in page["results"]]
        offset = page.get("nextOffset")
    assert len(gathered) == len(set(gathered)) == 44  # the labelled features of the two sources
    many = post(url, "/api/features", [{"modelId": "tiny", "layer": f"{n % 2}-res", "index": n} for n in range(24)])
    assert [(each["layer"], each["index"]) for each in many] == [(f"{n % 2}-res", str(n)) for n in range(24)]
    activations = post(url, "/api/activation/get", {"modelId": "tiny", "source": "0-res", "index": "0"})
    assert [each["maxValue"] for each in activations] == [2.0, 2.0, 1.0, 1.0]
    assert all(len(each["tokens"]) == len(each["values"]) for each in activations)
    offsets = post(url, "/api/features-offset", {"modelId": "tiny", "layer": "0-res", "offset": 20})
    assert [each["index"] for each in offsets] == ["20", "21", "23"]
    near = post(
        url,
        "/api/cossim",
        {"modelId": "tiny", "source": "0-res", "index": 0, "targetModelId": "tiny", "targetSourceId": "1-res"},
    )["topkDecoderCossimFeatures"]
    assert near[0]["feature"]["source"] == "1-res" and near[0]["cosineSimilarity"] == pytest.approx(
        store.nearest("tiny/0-res/0", within="tiny/1-res", all=True, k=1)[0].score
    )
    exported = curl(url, "/api/explanation/export?modelId=tiny&saeId=0-res")
    assert len(exported) == store.sql("from labels where dictionary = 'tiny/0-res'").num_rows
    assert {"modelId", "layer", "index", "description", "explanationModelName", "typeName"} == set(exported[0])
    releases = post(url, "/api/global", {})["releases"]
    assert [source["id"] for source in releases[0]["sourceSets"][0]["sources"]] == ["0-res", "1-res"]
    assert "message" in post(url, "/api/explanation/search", {"query": "x"})


def test_scripts_of_requests(url):
    script = """
import json, os, requests
url = os.environ["URL"] + "/api"
session = requests.Session(); session.headers["x-api-key"] = "any"
rows = []
for index in range(20, 26):  # a loop that stops at the end of a source
    answer = session.get(f"{url}/feature/tiny/0-res/{index}")
    if answer.status_code == 404:
        rows.append(answer.json()["message"][:13]); continue
    feature = answer.json()
    rows.append(feature["explanations"][0]["description"] if feature["explanations"] else None)
answer = session.post(f"{url}/explanation/search-release", json={"releaseName": "res", "query": "self"})
first = answer.json()["results"][0]
top = max(first["neuron"]["activations"], key=lambda a: a["maxValue"])
token = top["tokens"][top["maxValueTokenIndex"]]
print(json.dumps([rows, first["description"], token, answer.headers.get("x-limit-remaining")]))
"""
    rows, description, token, left = run(script, url)
    assert (
        rows[:3] == ["numbers after a colon, said a model", "docstring prose 21", None]
        and rows[4:] == ["The model, so"] * 2
    )
    assert "self" in description and token == " x" and left is None


def test_guards_hold(store, tmp_path):
    from featurestore.web.security import keys

    key = keys.create(tmp_path / "keys.json", "reader")
    with serving(store, compat=COMPAT, keys=keys.Keys(tmp_path / "keys.json"), hosts=frozenset({"127.0.0.1"})) as url:
        assert "error" in curl(url, "/api/feature/tiny/0-res/8")
        assert curl(url, "/api/feature/tiny/0-res/8", "-H", f"X-Api-Key: {key}")["index"] == "8"
        refused = curl(url, "/api/global", "-X", "POST", "-H", f"X-Api-Key: {key}", "-H", "Origin: https://x.example")
        assert "may not ask here" in refused["message"]
        assert "does not answer for the host" in curl(url, "/api/global", "-H", "Host: x.example")["message"]
