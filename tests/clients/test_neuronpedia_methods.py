"""Every public method of the package neuronpedia, called at a service: it does what the documentation's table says."""

import re

import pytest

import featurestore
from tests.clients.service import run, serving
from tests.support import ROOT, attribution_graphs, small_models, writer_jobs

pytestmark = pytest.mark.clients
DOCUMENT = ROOT / "docs" / "howto" / "neuronpedia.md"
OUTCOMES = {"same", "more", "501", "no request"}
# Methods and functions of the package's own modules; its folder `requests` is no package, so files are listed.
LIST_METHODS = """
import importlib, inspect, json, neuronpedia, pathlib
folder = pathlib.Path(neuronpedia.__file__).parent
names = []
for file in [folder / "__init__.py", *folder.glob("np_*.py"), *folder.glob("requests/*.py")]:
    dotted = ".".join(("neuronpedia", *file.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
    module = importlib.import_module(dotted)
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != dotted or name.startswith("_"):
            continue
        if inspect.isclass(value):
            members = {each: inspect.getattr_static(value, each) for each in vars(value) if not each.startswith("_")}
            kinds = (staticmethod, classmethod, type(lambda: None))
            names += [f"{name}.{each}" for each, member in members.items() if isinstance(member, kinds)]
        elif inspect.isfunction(value):
            names.append(name)
print(json.dumps(sorted(names)))
"""
CALL_METHODS = """
import json, os, tempfile, webbrowser
import requests
import neuronpedia
from neuronpedia.np_activation import Activation
from neuronpedia.np_explanation import Explanation
from neuronpedia.np_feature import Feature, SteerFeature
from neuronpedia.np_graph_metadata import NPGraphMetadata
from neuronpedia.np_list import NPList, NPListItem
from neuronpedia.np_model import Model
from neuronpedia.np_sae_feature import SAEFeature
from neuronpedia.np_source import Source
from neuronpedia.np_source_set import SourceSet
from neuronpedia.np_vector import NPVector
from neuronpedia.requests.activation_request import ActivationRequest
from neuronpedia.requests.base_request import NPRequest
from neuronpedia.requests.feature_request import FeatureRequest
from neuronpedia.requests.graph_request import GraphRequest
from neuronpedia.requests.list_request import ListRequest
from neuronpedia.requests.model_request import ModelRequest
from neuronpedia.requests.sae_feature_request import SAEFeatureRequest
from neuronpedia.requests.source_activation_request import SourceActivationRequest
from neuronpedia.requests.source_set_request import SourceSetRequest
from neuronpedia.requests.steer_request import SteerChatRequest, SteerCompletionRequest
from neuronpedia.requests.topk_by_token_request import TopKByTokenRequest
from neuronpedia.requests.vector_request import VectorRequest

NPRequest.BASE_URL = os.environ["URL"] + "/api"
neuronpedia.set_api_key("any")
webbrowser.open = lambda address: True
asked = []
ask = requests.request
requests.request = lambda method, url, **fields: asked.append(url) or ask(method, url, **fields)

MODEL, SOURCE, TEXT = "small", "1-res", "raise ValueError(name)"
index = os.environ["INDEX"]
place = {"model_id": MODEL, "source": SOURCE, "index": index}
activation = Activation(MODEL, SOURCE, int(index), ["a"], [1.0])
feature = Feature(MODEL, SOURCE, int(index), activations=[activation])
steered = [SteerFeature(MODEL, SOURCE, int(index))]
vector = NPVector(label="x", values=[1.0], hook_name="h", default_steer_strength=1, **place)
source = Source(SOURCE, MODEL, "res")
held = SourceSet("res", MODEL, sources=[source])
graph = NPGraphMetadata("colons", MODEL, "colons", [], "", "", "")
graph_text = json.dumps({"metadata": {"prompt": "x", "prompt_tokens": [], "scan": MODEL, "slug": "a"}})
graph_file = os.path.join(tempfile.mkdtemp(), "graph.json")
with open(graph_file, "w") as file:
    file.write(graph_text)
raw = requests.get(f"{os.environ['URL']}/api/feature/{MODEL}/{SOURCE}/{index}").json()
raw_set = requests.get(f"{os.environ['URL']}/api/source-set/{MODEL}/res").json()
kept = ListRequest().new("kept")
chat = [{"role": "user", "content": "x"}]
item = NPListItem(MODEL, SOURCE, index, "closes")
class ApiKey:  # a context manager
    def __call__(self):
        with neuronpedia.api_key("other"):
            return neuronpedia.get_api_key()
CALLS = {
    "Activation.from_np_db_json": lambda: Activation.from_np_db_json(raw["activations"][0]),
    "ActivationRequest.compute_activation_for_text":
        lambda: ActivationRequest().compute_activation_for_text(MODEL, SOURCE, index, TEXT),
    "ActivationRequest.compute_activation_for_texts":
        lambda: ActivationRequest().compute_activation_for_texts(MODEL, SOURCE, index, [TEXT]),
    "ActivationRequest.compute_all_source_activations_for_text":
        lambda: ActivationRequest().compute_all_source_activations_for_text(MODEL, SOURCE, TEXT),
    "ActivationRequest.upload_batch": lambda: ActivationRequest().upload_batch(MODEL, SOURCE, index, [activation]),
    "Explanation.from_np_db_json": lambda: Explanation.from_np_db_json(raw["explanations"][0]),
    "Feature.get": lambda: Feature.get(MODEL, SOURCE, int(index)),
    "Feature.open_in_browser": feature.open_in_browser,
    "FeatureRequest.get": lambda: FeatureRequest().get(MODEL, SOURCE, int(index)),
    "FeatureRequest.upload_batch": lambda: FeatureRequest().upload_batch(MODEL, SOURCE, [feature]),
    "GraphRequest.delete": lambda: GraphRequest().delete(graph),
    "GraphRequest.generate": lambda: GraphRequest().generate(MODEL, "x", "a"),
    "GraphRequest.get": lambda: GraphRequest().get(MODEL, "colons"),
    "GraphRequest.list_owned": lambda: GraphRequest().list_owned(),
    "GraphRequest.upload": lambda: GraphRequest().upload(graph_text),
    "GraphRequest.upload_file": lambda: GraphRequest().upload_file(graph_file),
    "ListRequest.add_items": lambda: ListRequest().add_items(kept, [item]),
    "ListRequest.get": lambda: ListRequest().get(kept.id),
    "ListRequest.get_owned": lambda: ListRequest().get_owned(),
    "ListRequest.new": lambda: ListRequest().new("another"),
    "Model.new": lambda: Model.new("a", 2),
    "Model.open_in_browser": Model("a", 2).open_in_browser,
    "ModelRequest.new": lambda: ModelRequest().new("a", 2),
    "NPGraphMetadata.delete": graph.delete,
    "NPGraphMetadata.generate": lambda: NPGraphMetadata.generate(MODEL, "x", "a"),
    "NPGraphMetadata.get": lambda: NPGraphMetadata.get(MODEL, "colons"),
    "NPGraphMetadata.list_owned": lambda: NPGraphMetadata.list_owned(),
    "NPGraphMetadata.upload": lambda: NPGraphMetadata.upload(graph_text),
    "NPGraphMetadata.upload_file": lambda: NPGraphMetadata.upload_file(graph_file),
    "NPList.add_items": lambda: kept.add_items([item]),
    "NPList.get": lambda: NPList.get(kept.id),
    "NPList.get_owned": lambda: NPList.get_owned(),
    "NPList.new": lambda: NPList.new("a third"),
    "NPRequest.get_url": lambda: FeatureRequest().get_url(),
    "NPRequest.send_request":
        lambda: FeatureRequest().send_request(method="GET", uri=f"{MODEL}/{SOURCE}/{index}"),
    "NPVector.compute_activation_for_text": lambda: vector.compute_activation_for_text(TEXT),
    "NPVector.delete": vector.delete,
    "NPVector.get": lambda: NPVector.get(MODEL, SOURCE, index),
    "NPVector.get_owned": lambda: NPVector.get_owned(),
    "NPVector.new": lambda: NPVector.new("a", MODEL, 0, "hook_resid_pre", [1.0]),
    "NPVector.steer_chat": lambda: vector.steer_chat(chat),
    "NPVector.steer_completion": lambda: vector.steer_completion("x"),
    "NPVector.upload_activations": lambda: vector.upload_activations([activation]),
    "SAEFeature.get": lambda: SAEFeature.get(MODEL, SOURCE, index),
    "SAEFeatureRequest.get": lambda: SAEFeatureRequest().get(MODEL, SOURCE, index),
    "Source.open_in_browser": source.open_in_browser,
    "Source.upload_batch": lambda: source.upload_batch([feature]),
    "SourceActivationRequest.compute_top_features_for_text":
        lambda: SourceActivationRequest().compute_top_features_for_text(MODEL, SOURCE, TEXT),
    "SourceActivationRequest.compute_top_features_for_texts":
        lambda: SourceActivationRequest().compute_top_features_for_texts(MODEL, SOURCE, [TEXT]),
    "SourceSet.from_np_db_json": lambda: SourceSet.from_np_db_json(raw_set),
    "SourceSet.get": lambda: SourceSet.get(MODEL, "res"),
    "SourceSet.get_source_for_layer_number": lambda: held.get_source_for_layer_number(1),
    "SourceSet.new": lambda: SourceSet.new("a", MODEL),
    "SourceSet.open_in_browser": held.open_in_browser,
    "SourceSetRequest.get": lambda: SourceSetRequest().get(MODEL, "res"),
    "SourceSetRequest.new": lambda: SourceSetRequest().new("a", MODEL),
    "SteerChatRequest.steer": lambda: SteerChatRequest().steer(MODEL, [vector]),
    "SteerChatRequest.steer_features": lambda: SteerChatRequest().steer_features(MODEL, steered, chat, chat),
    "SteerCompletionRequest.steer": lambda: SteerCompletionRequest().steer(MODEL, [vector], "x"),
    "SteerCompletionRequest.steer_features":
        lambda: SteerCompletionRequest().steer_features(MODEL, steered, "x"),
    "TopKByTokenRequest.compute_top_features_by_token_for_text":
        lambda: TopKByTokenRequest().compute_top_features_by_token_for_text(MODEL, SOURCE, TEXT),
    "TopKByTokenRequest.compute_top_features_by_token_for_texts":
        lambda: TopKByTokenRequest().compute_top_features_by_token_for_texts(MODEL, SOURCE, [TEXT]),
    "VectorRequest.delete": lambda: VectorRequest().delete(vector),
    "VectorRequest.get": lambda: VectorRequest().get(MODEL, SOURCE, index),
    "VectorRequest.get_owned": lambda: VectorRequest().get_owned(),
    "VectorRequest.new": lambda: VectorRequest().new("a", MODEL, 0, "hook_resid_pre", [1.0]),
    "api_key": ApiKey(),
    "get_api_key": neuronpedia.get_api_key,
    "set_api_key": lambda: neuronpedia.set_api_key("any"),
}
outcomes = {}
for name, call in CALLS.items():
    asked.clear()
    try:
        call()
        outcomes[name] = "answered" if asked else "no request"
    except Exception as exc:
        outcomes[name] = f"{type(exc).__name__}: {exc}"
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def documented():
    """What the table of the documentation says of each method."""
    section = DOCUMENT.read_text().partition("## Method by method")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \| ([a-z0-9 ]+) \|", section, re.MULTILINE)
    return {name: outcome for names, outcome in rows for name in re.findall(r"`([\w.]+)`", names)}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What came of a call of each method, at a service that takes writes and has the model."""
    folder = tmp_path_factory.mktemp("world")
    writer_jobs.make_world(folder)
    featurestore.create(folder / "s").close()
    writer_jobs.harvesting(str(folder / "s"), str(folder))
    writer_jobs.labelling(str(folder / "s"), str(folder))
    with featurestore.connect(folder / "s") as store:
        store.add_graph(attribution_graphs.graph(scan="small"))
        top = store.activating(small_models.TEXTS[0][1], "small/1-res", 1).features[0]
        with serving(store, compat=frozenset({"neuronpedia"}), writes=True) as url:
            yield run(CALL_METHODS, url, INDEX=str(top.feature))


def test_every_public_method_is_in_the_table_and_was_called(documented, outcomes):
    methods = run(LIST_METHODS, "")
    assert len(methods) > 60
    assert sorted(documented) == methods
    assert sorted(outcomes) == methods
    assert set(documented.values()) == OUTCOMES


def test_every_method_does_what_the_table_says(documented, outcomes):
    for name, outcome in documented.items():
        if outcome in ("same", "more"):
            assert outcomes[name] == "answered", name
        elif outcome == "no request":
            assert outcomes[name] == "no request", name
        else:
            assert outcomes[name].startswith(f"HTTPError: Server error occurred: {outcome}"), (name, outcomes[name])
