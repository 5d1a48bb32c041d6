"""Names of places in tiny random models of every architecture, against values caught by hooks put by hand."""

import pytest
import torch
import transformers

from featurestore import BadRequest
from ingest.model.architectures import ARCHITECTURES, OPENAI, PLACES, TRANSFORMER_LENS
from ingest.model.model import Model
from tests.support import ROOT, model_families, small_models

IDS = torch.tensor([[0, 5, 9, 200, 7], [0, 1, 2, 3, 4]])
LLAMA = {
    "hook_resid_pre": "input",
    "hook_resid_mid": "post_attention_layernorm.input",
    "hook_resid_post": "output",
    "hook_attn_out": "self_attn.output",
    "hook_mlp_out": "mlp.output",
    "attn.hook_z": "self_attn.o_proj.input",
    "mlp.hook_in": "mlp.input",
    "mlp.hook_pre": "mlp.gate_proj.output",
    "mlp.hook_post": "mlp.down_proj.input",
    "ln1.hook_normalized": "input_layernorm.output",
    "ln2.hook_normalized": "post_attention_layernorm.output",
    "hook_mlp_in": "post_attention_layernorm.input",
}
GEMMA2 = LLAMA | {
    "hook_resid_mid": "pre_feedforward_layernorm.input",
    "hook_attn_out": "post_attention_layernorm.output",
    "hook_mlp_out": "post_feedforward_layernorm.output",
    "ln2.hook_normalized": "pre_feedforward_layernorm.output",
    "hook_mlp_in": "pre_feedforward_layernorm.input",
}
GEMMA3 = {name: place for name, place in GEMMA2.items() if name != "hook_mlp_in"}
GPT2 = {
    "hook_resid_pre": "input",
    "hook_resid_mid": "ln_2.input",
    "hook_resid_post": "output",
    "hook_attn_out": "attn.output",
    "hook_mlp_out": "mlp.output",
    "attn.hook_z": "attn.c_proj.input",
    "mlp.hook_in": "mlp.input",
    "mlp.hook_pre": "mlp.c_fc.output",
    "mlp.hook_post": "mlp.c_proj.input",
    "ln1.hook_normalized": "ln_1.output",
    "ln2.hook_normalized": "ln_2.output",
    "hook_mlp_in": "ln_2.input",
}
NEOX = LLAMA | {
    "hook_attn_out": "attention.output",
    "attn.hook_z": "attention.dense.input",
    "mlp.hook_pre": "mlp.dense_h_to_4h.output",
    "mlp.hook_post": "mlp.dense_4h_to_h.input",
}
MIXTURE = {name: place for name, place in LLAMA.items() if name not in ("mlp.hook_pre", "mlp.hook_post")}
PARALLEL = {name: place for name, place in NEOX.items() if name != "hook_resid_mid"}
PHI = {name: place for name, place in LLAMA.items() if name != "hook_resid_mid"} | {
    "ln2.hook_normalized": "input_layernorm.output",
    "attn.hook_z": "self_attn.dense.input",
    "mlp.hook_pre": "mlp.fc1.output",
    "mlp.hook_post": "mlp.fc2.input",
    "hook_mlp_in": "input",
}
GPTJ = {name: place for name, place in GPT2.items() if name != "hook_resid_mid"} | {
    "ln2.hook_normalized": "ln_1.output",
    "attn.hook_z": "attn.out_proj.input",
    "mlp.hook_pre": "mlp.fc_in.output",
    "mlp.hook_post": "mlp.fc_out.input",
    "hook_mlp_in": "input",
}
OLMO2 = {name: place for name, place in LLAMA.items() if "normalized" not in name} | {
    "hook_resid_mid": "mlp.input",
    "hook_attn_out": "post_attention_layernorm.output",
    "hook_mlp_out": "post_feedforward_layernorm.output",
    "hook_mlp_in": "mlp.input",
}
# The path of layer 1 and what the names mean below it, written down from the modeling files apart from ingest's table.
WANTED = {
    "gpt2": ("transformer.h.1", GPT2),
    "gpt_neo": ("transformer.h.1", GPT2 | {"attn.hook_z": "attn.attention.out_proj.input"}),
    "gpt_neox": ("gpt_neox.layers.1", NEOX),
    "pythia": ("gpt_neox.layers.1", PARALLEL),
    "gptj": ("transformer.h.1", GPTJ),
    "phi": ("model.layers.1", PHI),
    "olmo2": ("model.layers.1", OLMO2),
    "mixtral": ("model.layers.1", MIXTURE),
    "phi3": ("model.layers.1", {name: place for name, place in LLAMA.items() if name != "mlp.hook_pre"}),
    "qwen3_5_text": (
        "model.layers.1",
        {name: place for name, place in LLAMA.items() if name not in ("hook_attn_out", "attn.hook_z")},
    ),
    "qwen3_moe": ("model.layers.1", MIXTURE),
    "gpt_oss": ("model.layers.1", MIXTURE),
    "gemma2": ("model.layers.1", GEMMA2),
    "gemma3_text": ("model.layers.1", GEMMA3),
    "gemma3": ("model.language_model.layers.1", GEMMA3),
} | dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "smollm3"), ("model.layers.1", LLAMA))
EMBED = {
    "gpt2": "transformer.wte",
    "gpt_neo": "transformer.wte",
    "gptj": "transformer.wte",
    "gpt_neox": "gpt_neox.embed_in",
} | {
    "pythia": "gpt_neox.embed_in",
    "gemma3": "model.language_model.embed_tokens",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = {}

    def of(name):
        if name not in made:
            made[name] = model_families.write(tmp_path_factory.mktemp(name), name)
        return made[name]

    return of


def caught(model, places):
    """What hooks put by hand at {name: path.side} see in one whole forward pass of a transformers model."""
    found, handles = {}, []
    for name, place in places.items():
        path, side = place.rsplit(".", 1)
        module = model.get_submodule(path)

        def before(module, arguments, keywords, name=name):
            found[name] = arguments[0] if arguments else keywords["hidden_states"]

        def after(module, arguments, output, name=name):
            found[name] = output[0] if isinstance(output, tuple) else output

        handles.append(
            module.register_forward_pre_hook(before, with_kwargs=True)
            if side == "input"
            else module.register_forward_hook(after)
        )
    with torch.no_grad():
        model(IDS)
    for handle in handles:
        handle.remove()
    return found


def plain(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def test_every_architecture_is_documented():
    text = (ROOT / "docs" / "hooks.md").read_text("utf-8")
    assert all(f"`{name}`" in text for name in [*ARCHITECTURES, *PLACES, *TRANSFORMER_LENS, *OPENAI])


def test_every_architecture_is_held_to_its_modeling_file():
    types = {config(**settings).model_type for config, settings in model_families.CONFIGS.values()}
    assert types == set(ARCHITECTURES)
    assert WANTED.keys() == model_families.CONFIGS.keys()
    assert set(LLAMA) == set(TRANSFORMER_LENS)
    assert set(TRANSFORMER_LENS.values()) == set(PLACES)


@pytest.mark.parametrize("name", model_families.CONFIGS)
def test_every_site_is_where_it_should_be(folder, name):
    model, whole = Model(str(folder(name))), plain(folder(name))
    layer, places = WANTED[name]
    wanted = caught(
        whole,
        {f"blocks.1.{site}": f"{layer}.{place}" for site, place in places.items()}
        | {"hook_embed": EMBED.get(name, "model.embed_tokens") + ".output"},
    )
    for norm in ("ln1", "ln2"):
        if f"{norm}.hook_normalized" not in places:
            continue
        module = whole.get_submodule(f"{layer}.{places[f'{norm}.hook_normalized'].rsplit('.', 1)[0]}")
        gain = module.weight + 1 if name.startswith(("gemma", "qwen3_5")) else module.weight
        site = f"blocks.1.{norm}.hook_normalized"
        wanted[site] = (wanted[site] - getattr(module, "bias", 0)) / gain
    found = model.read(IDS, [model.hook_point(one) for one in wanted])  # all of them in one forward
    for one, value in wanted.items():
        torch.testing.assert_close(
            found[one], value.detach(), rtol=1e-4, atol=1e-5, msg=lambda m, one=one: f"{one}: {m}"
        )
    if "attn.hook_z" in places:
        assert found["blocks.1.attn.hook_z"].shape[2] == (
            model_families.HEADS * model_families.HEAD
            if "head_dim" in str(model_families.CONFIGS[name][1])
            else model_families.WIDTH
        )


@pytest.mark.parametrize("name", model_families.CONFIGS)
def test_places_a_model_does_not_have_are_refused_with_those_it_has(folder, name):
    model = Model(str(folder(name)))
    for absent in LLAMA.keys() - WANTED[name][1].keys():
        with pytest.raises(BadRequest, match=r"hook_resid_pre|hook_resid_mid\)|said of two places"):
            model.hook_point(f"blocks.1.{absent}")


def test_module_paths_are_the_same_places(folder):
    """Of every name that somebody publishes, the layer, the site and what is read."""
    for family, names in {
        "gpt2": {
            "transformer.h.1.mlp.input": "mlp_in",
            "transformer.h.1.ln_2.output": "mlp_in",
            "h.1.attn": "attn_out",  # sparsify's names have no side: they mean the output
            "transformer.h[1].attn.output[0]": "attn_out",
            "transformer.h.1.attn.c_proj.output": "attn_out",
            "h.1": "resid_post",
            "h.1.input": "resid_pre",
            "1.resid_post_mlp": "resid_post",
            "resid_delta_mlp.1": "mlp_out",
            "blocks.1.resid_post_attn": "resid_mid",
            "resid_delta_attn/1": "attn_out",
            "mlp_post_act:1": "mlp_post",
            "1.mlp_out": "mlp_out",
        },
        "gemma3": {
            "model.layers.1.output": "resid_post",
            "layers.1": "resid_post",
            "model.language_model.layers.1.self_attn.o_proj.input": "hook_z",
            "model.layers.1.pre_feedforward_layernorm.output": "mlp_in",
            "model.layers.1.post_feedforward_layernorm.output": "mlp_out",
            "layers.1.mlp": "mlp.output",  # before the post norm, so not what is added to the stream
        },
        "llama": {"layers.1.mlp": "mlp_out", "model.layers.1.self_attn": "attn_out", "1.resid_post_attn": "resid_mid"},
    }.items():
        model = Model(str(folder(family)))
        words = {site: word for word, site in TRANSFORMER_LENS.items() if word != "hook_mlp_in"}
        for name, site in names.items():
            point = model.hook_point(name)
            assert (point.layer, point.site) == (1, site), name
            if site in words:
                lens = model.hook_point(f"blocks.1.{words[site]}")
                read = model.read(IDS, [point, lens])
                torch.testing.assert_close(read[point.name], read[lens.name], rtol=1e-5, atol=1e-6)
    for name in ("embed_tokens", "model.embed_tokens.output", "hook_embed"):
        assert (model.hook_point(name).layer, model.hook_point(name).site) == (None, "embed")
    assert model.hook_point("model.norm").site == "norm.output"


def test_centring_takes_the_mean_off_the_stream_of_layer_norm_models(folder):
    model = Model(str(folder("gpt2")))
    names = ["blocks.1.hook_resid_pre", "blocks.1.attn.hook_z"]
    points = [model.hook_point(name, centred=centred) for name in names for centred in (False, True)]
    assert len({point.name for point in points}) == 3  # hook_z is not in the stream, so centred it is the same
    read = model.read(IDS, points)
    stream, centred = read[points[0].name], read[points[1].name]
    assert stream.mean(-1).abs().max() > 0.1
    torch.testing.assert_close(centred, stream - stream.mean(-1, keepdim=True))
    assert not Model(str(folder("llama"))).hook_point(names[0], centred=True).centred


# Of each type: the module that makes values, and which numbers of its bias are the values'.
VALUE_BIASES = {
    "gpt2": ("h.0.attn.c_attn", slice(2 * model_families.WIDTH, None)),
    "pythia": (
        "layers.0.attention.query_key_value",
        [head * 3 * 8 + 2 * 8 + n for head in range(2) for n in range(8)],  # two heads of query, key and value
    ),
    "qwen2": ("layers.0.self_attn.v_proj", slice(None)),
    "phi": ("layers.0.self_attn.v_proj", slice(None)),
}


@pytest.mark.parametrize("name", VALUE_BIASES)
def test_folded_value_biases_are_taken_off_the_heads_results(folder, name):
    """As if the model had none: the first layer's heads read the same without."""
    model = Model(str(folder(name)))
    hook, (path, values) = "blocks.0.attn.hook_z", VALUE_BIASES[name]
    plain, folded = model.hook_point(hook), model.hook_point(hook, fold_value_biases=True)
    read = model.read(IDS, [plain, folded])
    with torch.no_grad():
        model.language_model.base_model.get_submodule(path).bias[values] = 0
    wanted = model.read(IDS, [plain])[plain.name]
    torch.testing.assert_close(read[folded.name], wanted)
    assert (read[plain.name] - wanted).abs().max() > 0.1
    stream = "blocks.0.hook_resid_pre"
    assert model.hook_point(stream, fold_value_biases=True).name == stream


@pytest.mark.parametrize("name", ["llama", "gpt_neo", "gptj", "phi3", "gpt_oss", "gemma3"])
def test_where_there_are_no_value_biases_nothing_is_taken_off(folder, name):
    assert Model(str(folder(name))).hook_point("blocks.1.attn.hook_z", fold_value_biases=True).bias is None


def test_a_gain_of_zero_does_not_hide_what_was_normalised(tmp_path):
    model = Model(str(small_models.write_model(tmp_path)))
    norm = model.language_model.get_submodule("transformer.h.1.ln_2")
    point = model.hook_point("blocks.1.ln2.hook_normalized")
    before = model.read(IDS, [point])[point.name]
    norm.weight.zero_()
    torch.testing.assert_close(model.read(IDS, [point])[point.name], before)


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("blocks.7.hook_resid_post", "no layer 7 in its 3: the model has layers 0 to 2"),
        ("transformer.h.3.mlp", "the model has layers 0 to 2"),
        ("h.30.attn.output", "the model has layers 0 to 2"),
        ("3.resid_post_mlp", "the model has layers 0 to 2"),
        ("blocks.1.hook_soul", "hook_resid_pre, hook_resid_mid, .* ln2.hook_normalized, .* hook_embed"),
        ("somewhere", "not a place in this model. Write blocks.N.NAME"),
        ("", "not a place in this model"),
        ("resid_post_mlp", "not a place in this model"),
        ("1.resid_post_mlp.1", "not a place in this model"),
        ("transformer.h.1.nose.output", r"h.N.MODULE.input or .output, .* ln_1, attn, attn.c_attn"),
        ("lm_head.output", "not a place in this model"),
        ("model.layers.1.mlp", "not a place in this model"),
    ],
)
def test_hooks_that_are_not_there(folder, hook, words):
    with pytest.raises(BadRequest, match=words):
        Model(str(folder("gpt2"))).hook_point(hook)


def test_a_name_said_of_two_places_is_refused(folder):
    with pytest.raises(BadRequest, match=r"blocks.2.hook_resid_mid\), .* blocks.2.mlp.hook_in"):
        Model(str(folder("gemma3_text"))).hook_point("blocks.2.hook_mlp_in")


def test_what_is_no_vector_for_each_token_is_refused(folder):
    model = Model(str(folder("llama")))
    with pytest.raises(BadRequest, match="not one vector for each of 2 x 5 tokens"):
        model.read(IDS, [model.hook_point("model.rotary_emb.output")])
