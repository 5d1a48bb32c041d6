"""The demo's attribution graph: its edges are what small changes of the model's stream do, and it fits the store."""

import pytest
import torch

from featurestore.graphs import file_format
from featurestore_demo.build import HERE
from featurestore_demo.graph import MOST, PROMPT, make_graph
from ingest import weights
from ingest.model.model import Model

STEP = 0.01  # of what a feature writes


@pytest.fixture(scope="module")
def model():
    return Model(str(HERE / "model"))


@pytest.fixture(scope="module")
def saes():
    return {source: weights.read(HERE / "dictionaries" / source) for source in MOST}


@pytest.fixture(scope="module")
def graph(model, saes):
    return make_graph(model, saes)


def test_it_is_a_file_of_graphs(graph):
    read = file_format.parse(graph)
    assert read.metadata.prompt == PROMPT


def test_it_says_what_the_model_says(graph, model):
    logit = next(node for node in graph["nodes"] if node["feature_type"] == "logit")
    ids = [*model.begin(), *model.tokenizer(PROMPT, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        shares = model.language_model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    assert (logit["feature"], logit["clerp"]) == (int(shares.argmax()), 'Output ":"')
    assert logit["token_prob"] == pytest.approx(float(shares.max()), abs=1e-3)


def test_edges_into_the_logit_are_what_small_changes_do(graph, model, saes):
    ids = torch.tensor([[*model.begin(), *model.tokenizer(PROMPT, add_special_tokens=False)["input_ids"]]])
    logit = next(node for node in graph["nodes"] if node["feature_type"] == "logit")
    nodes = {node["node_id"]: node for node in graph["nodes"]}
    blocks = model.language_model.transformer.h
    places = {"4": (blocks[4], "4-res-2k"), "3": (blocks[3].mlp, "3-tc-2k"), "2": (blocks[2], "2-res-2k")}

    def measure(node, step):
        module, source = places[node["layer"]]

        def change(module, arguments, output):
            whole = output[0] if isinstance(output, tuple) else output
            whole = whole.clone()
            whole[0, node["ctx_idx"]] += step * node["activation"] * saes[source].W_dec[node["feature"]].float()
            return (whole, *output[1:]) if isinstance(output, tuple) else whole

        handle = module.register_forward_hook(change)
        with torch.no_grad():
            last = model.language_model(ids).logits[0, -1]
        handle.remove()
        return float(last[logit["feature"]] - last.mean())

    edges = [link for link in graph["links"] if link["target"] == logit["node_id"] and link["source"][0] != "E"]
    assert {nodes[link["source"]]["layer"] for link in edges} == {"2", "3", "4"}
    for link in edges:
        node = nodes[link["source"]]
        slope = (measure(node, STEP) - measure(node, -STEP)) / (2 * STEP)
        assert link["weight"] == pytest.approx(slope, rel=0.05, abs=0.02), link
