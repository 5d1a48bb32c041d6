"""Hooks of tiny random models of several families against values caught by hand."""

import numpy
import pytest
import torch
import transformers

from featurestore import BadRequest, NotFound
from ingest.model import SITES, Model
from tests import small

COMMON = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 257,
}
HEADS = {"num_key_value_heads": 1, "head_dim": 8}
FAMILIES = {
    "llama": (transformers.LlamaConfig, COMMON | {"num_key_value_heads": 1}),
    "mistral": (transformers.MistralConfig, COMMON | HEADS),
    "qwen2": (transformers.Qwen2Config, COMMON | {"num_key_value_heads": 1}),
    "qwen3": (transformers.Qwen3Config, COMMON | HEADS),
    "gemma2": (transformers.Gemma2Config, COMMON | HEADS),
    "gpt_neox": (transformers.GPTNeoXConfig, COMMON | {"use_parallel_residual": False}),
}
IDS = torch.tensor([[0, 5, 9, 200, 7], [0, 1, 2, 3, 4]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    small.write_model(root / "gpt2")
    for name, (config, settings) in FAMILIES.items():
        torch.manual_seed(1)
        made = transformers.AutoModelForCausalLM.from_config(config(**settings, max_position_embeddings=32))
        made.save_pretrained(root / name)
        small.tokenizer().save_pretrained(root / name)
    return root


def caught(model, path, side):
    """What a hook put by hand on the module at `path` sees in a whole forward pass."""
    found = []

    def before(module, arguments, keywords):
        found.append(arguments[0] if arguments else keywords["hidden_states"])

    def after(module, arguments, output):
        found.append(output[0] if isinstance(output, tuple) else output)

    module = model.get_submodule(path)
    handle = (
        module.register_forward_pre_hook(before, with_kwargs=True)
        if side == "input"
        else module.register_forward_hook(after)
    )
    with torch.no_grad():
        model(IDS)
    handle.remove()
    return found[0]


PLACES = {
    "gpt2": ("transformer.h.1", "attn", "attn.c_proj", "ln_2", "mlp", "mlp.c_proj"),
    "gpt_neox": (
        "gpt_neox.layers.1",
        "attention",
        "attention.dense",
        "post_attention_layernorm",
        "mlp",
        "mlp.dense_4h_to_h",
    ),
} | dict.fromkeys(
    ("llama", "mistral", "qwen2", "qwen3"),
    ("model.layers.1", "self_attn", "self_attn.o_proj", "post_attention_layernorm", "mlp", "mlp.down_proj"),
)
PLACES["gemma2"] = (
    "model.layers.1",
    "post_attention_layernorm",
    "self_attn.o_proj",
    "pre_feedforward_layernorm",
    "mlp",
    "mlp.down_proj",
)


@pytest.mark.parametrize("name", PLACES)
def test_every_site_is_where_it_should_be(folders, name):
    model = Model(str(folders / name))
    plain = transformers.AutoModelForCausalLM.from_pretrained(folders / name, dtype=torch.float32).eval()
    layer, attention, z, middle, mlp, post = PLACES[name]
    mlp_out = "post_feedforward_layernorm" if name == "gemma2" else mlp
    wanted = {
        "hook_resid_pre": caught(plain, layer, "input"),
        "hook_resid_post": caught(plain, layer, "output"),
        "hook_resid_mid": caught(plain, f"{layer}.{middle}", "input"),
        "hook_attn_out": caught(plain, f"{layer}.{attention}", "output"),
        "hook_mlp_out": caught(plain, f"{layer}.{mlp_out}", "output"),
        "attn.hook_z": caught(plain, f"{layer}.{z}", "input"),
        "mlp.hook_in": caught(plain, f"{layer}.{mlp}", "input"),
        "mlp.hook_post": caught(plain, f"{layer}.{post}", "input"),
    }
    assert wanted.keys() == SITES.keys()
    points = [model.hook_point(f"blocks.1.{site}") for site in wanted]
    found = model.read(IDS, points)  # all of them in one forward
    for site, value in wanted.items():
        torch.testing.assert_close(found[f"blocks.1.{site}"], value, rtol=1e-4, atol=1e-5, msg=f"{name} {site}")


def test_module_paths_are_places_too(folders):
    model = Model(str(folders / "gpt2"))
    points = [model.hook_point("transformer.h.2.mlp.input"), model.hook_point("blocks.2.mlp.hook_in")]
    read = model.read(IDS, points)
    torch.testing.assert_close(*read.values())
    assert (points[0].layer, points[0].site) == (2, "mlp_in")


def test_the_model_stops_after_the_deepest_hook(folders):
    model = Model(str(folders / "gpt2"))
    ran = []
    model._layers[2].register_forward_hook(lambda *_: ran.append(2))
    model.read(IDS, [model.hook_point("blocks.1.hook_resid_post")])
    assert ran == []
    model.read(IDS, [model.hook_point("blocks.2.hook_resid_post")])
    assert ran == [2]


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("blocks.7.hook_resid_post", "the model has layers 0 to 2"),
        ("blocks.1.hook_soul", "in a layer there are: hook_resid_pre"),
        ("somewhere", "write blocks.3.hook_resid_post"),
        ("transformer.h.1.nose.output", "no module transformer.h.1.nose"),
    ],
)
def test_hooks_that_are_not_there(folders, hook, words):
    with pytest.raises(BadRequest, match=words):
        Model(str(folders / "gpt2")).hook_point(hook)


def test_directories_that_hold_no_model(tmp_path):
    with pytest.raises(NotFound, match="no such directory"):
        Model(str(tmp_path / "none"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadRequest, match="not a model that transformers can load") as caught_error:
        Model(str(tmp_path))
    assert "\n" not in str(caught_error.value)


def test_unembedding_gives_the_models_logits(folders):
    """On a stream that the final norm only rescales, the folded matrix gives logits up to that scale."""
    for name in ("gpt2", "llama", "gemma2"):
        model = Model(str(folders / name))
        matrix, centred = model.unembedding()
        stream = torch.randn(16, generator=torch.Generator().manual_seed(3))
        stream = stream - stream.mean() if centred else stream
        normed = model._base.get_submodule(model._family["final_norm"])(stream)
        logits = model._model.get_output_embeddings()(normed)
        scale = stream.std(correction=0) if centred else stream.square().mean().sqrt()
        numpy.testing.assert_allclose((matrix @ stream / scale).numpy(), logits.numpy(), rtol=1e-3, atol=1e-4)
