"""Models loaded, read up to the deepest hook, their BOS and their unembedding."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.activations import NewGELUActivation

from featurestore import BadRequest, NotFound
from ingest.model.model import Model
from tests.support import model_families, small_models

IDS = torch.tensor([[0, 5, 9, 200, 7], [0, 1, 2, 3, 4]])


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return small_models.write_model(tmp_path_factory.mktemp("gpt2"))


def test_the_model_stops_after_the_deepest_hook(gpt2):
    model = Model(str(gpt2))
    ran = []
    model.language_model.transformer.h[2].register_forward_hook(lambda *_: ran.append(2))
    point = model.hook_point("blocks.1.hook_resid_post")
    model.read(IDS, [point, point])  # asked for twice, as by two dictionaries
    assert ran == []
    model.read(IDS, [point, model.hook_point("blocks.2.hook_resid_post")])
    assert ran == [2]


def test_what_is_read_is_what_transformers_says(gpt2):
    """Its own model, with the activation written out; here it is one function, of the same formula."""
    its_own = AutoModelForCausalLM.from_pretrained(gpt2)
    assert isinstance(its_own.transformer.h[0].mlp.act, NewGELUActivation)
    with torch.inference_mode():
        states = its_own(input_ids=IDS, output_hidden_states=True).hidden_states
    model = Model(str(gpt2))
    point = model.hook_point("blocks.2.hook_resid_pre")
    torch.testing.assert_close(model.read(IDS, [point])[point.name], states[2], rtol=1e-5, atol=1e-5)


def test_hooks_are_gone_after_reading(gpt2):
    model = Model(str(gpt2))
    point = model.hook_point("blocks.1.mlp.hook_in")
    model.read(IDS, [point])
    assert not point.module._forward_pre_hooks


def test_directories_that_hold_no_model(tmp_path):
    with pytest.raises(NotFound, match="no such directory"):
        Model(str(tmp_path / "none"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadRequest, match="not a model that transformers can load") as caught_error:
        Model(str(tmp_path))
    assert "\n" not in str(caught_error.value)
    with pytest.raises(BadRequest, match="is a file; name the directory"):
        Model(str(tmp_path / "config.json"))


def test_a_tokenizer_with_more_words_than_the_model_is_refused(tmp_path):
    folder = small_models.write_model(tmp_path / "model")
    file = folder / "tokenizer.json"
    found = json.loads(file.read_text())
    added = {"id": 257, "content": "<picture>", "special": True} | dict.fromkeys(
        ("single_word", "lstrip", "rstrip", "normalized"), False
    )
    file.write_text(json.dumps(found | {"added_tokens": [*found["added_tokens"], added]}))
    assert "<picture>" in Model(str(folder)).tokenizer.get_vocab()  # text does not give it
    found["model"]["vocab"]["more"] = 257
    file.write_text(json.dumps(found))
    with pytest.raises(BadRequest, match="tokens up to 257, but the model only 257: it is another model's"):
        Model(str(folder))


@pytest.mark.parametrize("name", model_families.CONFIGS)
def test_unembedding_gives_the_models_logits(tmp_path, name):
    """On a stream that the final norm only rescales, the folded matrix gives the logits up to that scale."""
    model = Model(str(model_families.write(tmp_path, name)))
    matrix, centred = model.unembedding()
    assert centred == (name in ("gpt2", "gpt_neo", "gpt_neox", "pythia", "gptj", "phi"))
    stream = torch.randn(model_families.WIDTH, generator=torch.Generator().manual_seed(3))
    stream = stream - stream.mean() if centred else stream
    whole = model.language_model
    norm = {
        "gpt2": "transformer.ln_f",
        "gpt_neo": "transformer.ln_f",
        "gptj": "transformer.ln_f",
        "phi": "model.final_layernorm",
        "gemma3": "model.language_model.norm",
    } | dict.fromkeys(("gpt_neox", "pythia"), "gpt_neox.final_layer_norm")
    module = whole.get_submodule(norm.get(name, "model.norm"))
    bias = whole.get_output_embeddings()(getattr(module, "bias", torch.zeros(model_families.WIDTH)))
    logits = whole.get_output_embeddings()(module(stream)) - bias
    scale = stream.std(correction=0) if centred else stream.square().mean().sqrt()
    torch.testing.assert_close(matrix @ stream / scale, logits, rtol=1e-3, atol=1e-4)
    plain, _ = model.unembedding(fold_gain=False)
    torch.testing.assert_close(plain, whole.lm_head.weight.float())


def test_tied_embeddings_are_resolved_and_recorded(tmp_path):
    tied, untied = (Model(str(model_families.write(tmp_path / name, name))) for name in ("llama", "mistral"))
    assert tied.facts["tied_embeddings"] and not untied.facts["tied_embeddings"]
    torch.testing.assert_close(
        tied.unembedding(fold_gain=False)[0], tied.language_model.get_input_embeddings().weight.float()
    )
    assert json.loads(json.dumps(untied.facts)) == {
        "architecture": "mistral",
        "layers": 3,
        "d_model": model_families.WIDTH,
        "bos": 0,
        "tied_embeddings": False,
        "logits": "decoder vector x final norm's gain x unembedding",
    }


def test_contexts_begin_as_the_tokenizer_and_the_model_want(tmp_path):
    gpt2, gemma, qwen = (model_families.write(tmp_path / name, name) for name in ("gpt2", "gemma2", "qwen3"))
    without = small_models.tokenizer()
    without.bos_token = None
    without.save_pretrained(qwen)  # Qwen's config names a BOS that its tokenizer does not have
    assert json.loads((qwen / "config.json").read_text())["bos_token_id"] == 0
    assert [Model(str(gpt2)).begin(asked) for asked in (None, True, False)] == [[0], [0], []]
    assert [Model(str(gemma)).begin(asked) for asked in (None, True, False)] == [[0], [0], [0]]
    assert [Model(str(qwen)).begin(asked) for asked in (None, True, False)] == [[], [], []]


def test_a_hub_that_does_not_answer(gpt2, tmp_path):
    """Run apart: the hub's address is read once, when its package is imported."""
    fetched = tmp_path / "hub" / "models--someone--tuned"  # an adapter beside full weights
    shutil.copytree(gpt2, fetched / "snapshots" / "0123")
    (fetched / "snapshots" / "0123" / "adapter_config.json").write_text("{}")
    (fetched / "refs").mkdir()
    (fetched / "refs" / "main").write_text("0123")
    code = (
        "from ingest.model.model import Model\nfrom ingest.corpus.sources import documents\n"
        "from featurestore import FeatureStoreError\n"
        "for ask in (lambda: Model('nobody/nothing@main'), lambda: next(documents(['hf://nobody/nothing'])),\n"
        "            lambda: Model('someone/tuned')):\n"
        "    try: ask()\n    except FeatureStoreError as exc: print(type(exc).__name__, exc)\n"
    )
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=offline, check=True)
    model, dataset, adapter = done.stdout.splitlines()
    assert adapter.startswith("BadRequest someone/tuned: it holds an adapter (adapter_config.json), which is not")
    assert model.startswith("Unavailable nobody/nothing@main cannot be fetched now, and was not fetched before: ")
    assert dataset.startswith("Unavailable hf://nobody/nothing#train cannot be reached now: ")
