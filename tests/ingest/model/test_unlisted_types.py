"""Models of types that no table lists: modules' paths, an architecture map, and names of other libraries."""

import json

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from featurestore import BadRequest
from ingest.model.architectures import read_architecture
from ingest.model.model import Model, load_as
from tests.support import small_models

IDS = torch.tensor([[0, 5, 9, 7, 3]])


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("opt")
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=257, hidden_size=16, num_hidden_layers=3, ffn_dim=32, num_attention_heads=2, word_embed_proj_dim=16
    )
    OPTForCausalLM(config).save_pretrained(folder)
    small_models.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    small_models.tokenizer().save_pretrained(folder)
    return folder


def read(model, name):
    point = model.hook_point(name)
    return model.read(IDS, [point])[point.name]


@pytest.mark.parametrize(
    "name",
    [
        "model.decoder.layers.1",
        "decoder.layers.1.output",
        "blocks.1.hook_resid_post",
        "blocks.2.hook_in",
        ".decoder.layers[2].input",
    ],
)
def test_a_type_that_is_not_listed(opt, name):
    states = OPTForCausalLM.from_pretrained(opt).eval()(IDS, output_hidden_states=True).hidden_states
    torch.testing.assert_close(read(Model(str(opt)), name), states[2].detach())


@pytest.mark.parametrize("name", ["cohere", "granitemoe", "lfm2", "olmo3", "qwen2_moe", "recurrent_gemma"])
def test_mixtures_and_hybrids(name, tmp_path):
    usual = CONFIG_MAPPING[name]().to_dict()
    small = {"vocab_size": 257, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "pad_token_id": 0}
    small |= {"num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 4, "num_local_experts": 4}
    small |= {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "bos_token_id": 0, "eos_token_id": 1}
    small |= {"layer_types": (usual.get("layer_types") or [])[-3:]}
    config = CONFIG_MAPPING[name](**{field: value for field, value in small.items() if usual.get(field)})
    torch.manual_seed(0)
    theirs = AutoModelForCausalLM.from_config(config).eval()
    theirs.save_pretrained(tmp_path)
    small_models.tokenizer().save_pretrained(tmp_path)
    states = theirs(IDS, output_hidden_states=True).hidden_states
    for place in ("model.layers.1", "blocks.2.hook_resid_pre"):
        torch.testing.assert_close(read(Model(str(tmp_path)), place), states[2].detach(), rtol=1e-4, atol=1e-5)


def test_named_places_and_logits_need_a_map(opt, tmp_path):
    plain = Model(str(opt))
    assert not plain.has_logits
    with pytest.raises(BadRequest, match="'blocks.1.hook_mlp_out' is not a place in this model"):
        plain.hook_point("blocks.1.hook_mlp_out")
    parts = {"layers": "decoder.layers", "final_norm": "decoder.final_layer_norm", "mlp_out": "fc2"}
    lines = [*(f'{name} = "{path}"' for name, path in parts.items()), "layer_norm = true"]
    (tmp_path / "map.toml").write_text("\n".join(lines))
    mapped = Model(str(opt), architecture=read_architecture(tmp_path / "map.toml"))
    assert mapped.has_logits and mapped.unembedding()[1]
    torch.testing.assert_close(read(mapped, "blocks.1.hook_mlp_out"), read(mapped, "decoder.layers.1.fc2"))
    again = load_as(str(opt), json.loads(json.dumps(mapped.unusual)))
    torch.testing.assert_close(read(again, "blocks.1.hook_mlp_out"), read(mapped, "blocks.1.hook_mlp_out"))
    (tmp_path / "wrong.toml").write_text('layers = "decoder.layers"\nmlp_out = "fc3"\n')
    with pytest.raises(BadRequest, match="says mlp_out is 'fc3'.*the nearest are fc"):
        Model(str(opt), architecture=read_architecture(tmp_path / "wrong.toml"))
    (tmp_path / "bad.toml").write_text('mlp_ou = "fc2"\n')
    with pytest.raises(BadRequest, match="no part 'mlp_ou'"):
        read_architecture(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("blocks.1.hook_in", "blocks.1.hook_resid_pre"),
        ("blocks.1.hook_out", "blocks.1.hook_resid_post"),
        ("blocks.1.ln2.hook_in", "blocks.1.hook_resid_mid"),
        ("blocks.1.mlp.hook_out", "blocks.1.hook_mlp_out"),
        ("blocks.1.attn.hook_out", "blocks.1.hook_attn_out"),
        ("blocks.1.attn.hook_q", "layers.1.self_attn.q_proj.output"),
        ("blocks.1.attn.hook_v", "layers.1.self_attn.v_proj.output"),
        ("model.layers[1].mlp.output[0]", "layers.1.mlp"),
        (".model.layers.1.mlp", "layers.1.mlp"),
    ],
)
def test_names_of_other_libraries(llama, name, same):
    model = Model(str(llama))
    torch.testing.assert_close(read(model, name), read(model, same))


def test_refused_names_get_the_nearest(llama):
    with pytest.raises(BadRequest, match=r"nearest are blocks\.1\.hook_resid_post"):
        Model(str(llama)).hook_point("blocks.1.hook_resid_pst")


def test_adapters_are_refused(llama, tmp_path):
    for file in llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(BadRequest, match="holds an adapter.*merge_and_unload"):
        Model(str(tmp_path))


def test_number_types(llama):
    half = Model(str(llama), dtype="bfloat16")
    assert (half.unusual, load_as(str(llama), half.unusual).hash) == ({"dtype": "bfloat16"}, half.hash)
    assert half.hash != Model(str(llama)).hash
    with pytest.raises(BadRequest, match="dtype 'int3'"):
        load_as(str(llama), {"dtype": "int3"})
    values = read(half, "blocks.1.hook_resid_post")
    assert values.dtype == torch.bfloat16
    torch.testing.assert_close(
        values.float(), read(Model(str(llama)), "blocks.1.hook_resid_post"), rtol=0.05, atol=0.05
    )
