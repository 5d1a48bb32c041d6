"""Our hooks against TransformerLens's own, where it is installed: the same weights in both, read by the same names."""

import pytest
import torch

from ingest.model.architectures import TRANSFORMER_LENS
from ingest.model.model import Model
from tests.support import model_families

lens = pytest.importorskip("transformer_lens", reason="TransformerLens is not installed")
pytestmark = pytest.mark.filterwarnings("default")  # its own
IDS = torch.tensor([[0, 5, 9, 200, 7], [0, 1, 2, 3, 4]])
SHAPE = {
    "n_layers": model_families.LAYERS,
    "d_model": model_families.WIDTH,
    "n_heads": model_families.HEADS,
    "n_ctx": 32,
    "d_vocab": 257,
    "use_hook_mlp_in": True,
    "use_attn_result": False,
    "eps": 1e-6,
}
ROTARY = {
    "positional_embedding_type": "rotary",
    "rotary_adjacent_pairs": False,
    "gated_mlp": True,
    "final_rms": True,
    "normalization_type": "RMS",
    "d_head": model_families.HEAD,
    "rotary_dim": model_families.HEAD,
    "n_key_value_heads": 1,
    "d_mlp": 24,
    "act_fn": "silu",
}
NEOX = {
    "positional_embedding_type": "rotary",
    "rotary_adjacent_pairs": False,
    "normalization_type": "LN",
    "d_head": 8,
    "rotary_dim": 2,
    "d_mlp": 24,
    "act_fn": "gelu",
    "eps": 1e-5,
}
GEMMA2 = ROTARY | {
    "act_fn": "gelu_pytorch_tanh",
    "use_normalization_before_and_after": True,
    "attn_scores_soft_cap": 50.0,
    "use_attn_scale": True,
    "attn_scale": 16.0,  # the root of query_pre_attn_scalar
    "use_local_attn": True,
    "window_size": 4096,
    "attn_types": ["local", "global", "local"],
}
# The architecture, the converter of its weights, and what TransformerLens is told of it.
CASES = {
    "gpt2": ("gpt2", {"normalization_type": "LN", "d_head": 8, "d_mlp": 64, "act_fn": "gelu_new", "eps": 1e-5}),
    "gpt_neox": ("neox", NEOX | {"parallel_attn_mlp": False}),
    "pythia": ("neox", NEOX | {"parallel_attn_mlp": True}),
    "llama": ("llama", ROTARY),
    "mistral": ("mistral", ROTARY),
    "qwen2": ("qwen2", ROTARY | {"d_head": 8, "rotary_dim": 8}),
    "qwen3": ("qwen3", ROTARY | {"use_qk_norm": True}),
    "gemma2": ("gemma", GEMMA2),
    "gpt_neo": (
        "neo",
        {
            "normalization_type": "LN",
            "d_head": 8,
            "d_mlp": 64,
            "act_fn": "gelu_new",
            "eps": 1e-5,
            "use_attn_scale": False,
        },
    ),
    "gptj": (
        "gptj",
        NEOX
        | {
            "parallel_attn_mlp": True,
            "rotary_dim": 4,
            "rotary_adjacent_pairs": True,
            "d_mlp": 64,
            "act_fn": "gelu_new",
        },
    ),
    "phi": ("phi", NEOX | {"parallel_attn_mlp": True, "rotary_dim": 4, "act_fn": "gelu_new"}),
    "phi3": ("phi3", ROTARY | {"d_head": 8, "rotary_dim": 8, "eps": 1e-5}),
}


def peer(folder, name, **processing):
    """The same weights in TransformerLens, without its processing but what is asked for, and in transformers."""
    from transformer_lens.pretrained import weight_conversions
    from transformers import AutoModelForCausalLM

    converter, told = CASES[name]
    config = lens.HookedTransformerConfig(**SHAPE | told)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    made = lens.HookedTransformer(config)
    state = getattr(weight_conversions, f"convert_{converter}_weights")(plain, config)
    names = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
    made.load_and_process_state_dict(state, **(dict.fromkeys(names, False) | processing))
    return made.eval(), plain


@pytest.mark.parametrize("name", CASES)
def test_transformer_lens_reads_the_same(tmp_path, name):
    model_families.write(tmp_path, name)
    theirs, plain = peer(tmp_path, name)
    with torch.no_grad():
        logits, cache = theirs.run_with_cache(IDS)
        torch.testing.assert_close(
            logits, plain(IDS).logits, rtol=1e-3, atol=1e-3
        )  # or the comparison would mean nothing
    model = Model(str(tmp_path))
    compared = 0
    for word in ["hook_embed", *(f"blocks.1.{word}" for word in TRANSFORMER_LENS)]:
        # mlp.hook_in is circuit-tracer's, some models have no hook_resid_mid, and Phi-3's gate is half of a module.
        if word not in cache or (name, word) == ("phi3", "blocks.1.mlp.hook_pre"):
            continue
        value = cache[word]
        point = model.hook_point(word)
        torch.testing.assert_close(
            model.read(IDS, [point])[point.name],
            value.flatten(2),
            rtol=1e-3,
            atol=1e-3,
            msg=lambda m, word=word: f"{name} {word}: {m}",
        )
        compared += 1
    assert compared >= 9


@pytest.mark.parametrize("name", CASES)
def test_the_unembedding_is_that_of_a_folded_final_norm(tmp_path, name):
    model_families.write(tmp_path, name)
    theirs, _ = peer(tmp_path, name, fold_ln=True)
    matrix, removes_mean = Model(str(tmp_path)).unembedding()
    wanted = matrix - matrix.mean(1, keepdim=True) if removes_mean else matrix
    torch.testing.assert_close(theirs.W_U.detach().T, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox"])
def test_centred_streams_are_those_of_centred_writing_weights(tmp_path, name):
    model_families.write(tmp_path, name)
    theirs, _ = peer(tmp_path, name, center_writing_weights=True)
    with torch.no_grad():
        _, cache = theirs.run_with_cache(IDS)
    model = Model(str(tmp_path))
    for word in ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "attn.hook_z"):
        point = model.hook_point(f"blocks.1.{word}", centred=True)
        value = cache[f"blocks.1.{word}"].flatten(2)
        torch.testing.assert_close(model.read(IDS, [point])[point.name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "qwen2", "phi"])
def test_folded_value_biases_are_taken_off_hook_z(tmp_path, name):
    model_families.write(tmp_path, name)
    theirs, _ = peer(tmp_path, name, fold_value_biases=True)
    with torch.no_grad():
        _, cache = theirs.run_with_cache(IDS)
    model = Model(str(tmp_path))
    hook = "blocks.1.attn.hook_z"
    point = model.hook_point(hook, fold_value_biases=True)
    torch.testing.assert_close(model.read(IDS, [point])[point.name], cache[hook].flatten(2), rtol=1e-3, atol=1e-3)
