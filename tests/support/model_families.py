"""Tiny random models of every architecture, whose norms have gains and biases that matter."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from tests.support import small_models

WIDTH, HEADS, HEAD, LAYERS = 16, 2, 6, 3  # heads side by side (12) are not as wide as the stream
_COMMON = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 24,
    "vocab_size": 257,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
_GROUPED = _COMMON | {"num_key_value_heads": 1, "head_dim": HEAD}
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
_GEMMA3 = _GROUPED | {"sliding_window": 4, "query_pre_attn_scalar": HEAD, "layer_types": ["sliding_attention"] * LAYERS}
_GPT2 = {
    "vocab_size": 257,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "n_positions": 32,
    "n_embd": WIDTH,
    "n_layer": LAYERS,
    "n_head": HEADS,
}
_GPT_NEO = {
    "bos_token_id": 0,
    "eos_token_id": 0,
    "hidden_size": WIDTH,
    "num_layers": LAYERS,
    "num_heads": HEADS,
    "attention_types": [[["global"], LAYERS]],
    "vocab_size": 257,
    "max_position_embeddings": 32,
}
_VISION = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
_QWEN3_5 = _GROUPED | {
    "layer_types": ["linear_attention", "full_attention", *["linear_attention"] * (LAYERS - 2)],
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": HEAD,
    "linear_value_head_dim": HEAD,
}
CONFIGS = {
    "gpt2": (transformers.GPT2Config, _GPT2),
    "gpt_neo": (transformers.GPTNeoConfig, _GPT_NEO),
    "gpt_neox": (transformers.GPTNeoXConfig, _COMMON | {"use_parallel_residual": False}),
    "pythia": (transformers.GPTNeoXConfig, _COMMON | {"use_parallel_residual": True}),
    "llama": (transformers.LlamaConfig, _GROUPED | {"tie_word_embeddings": True}),
    "mistral": (transformers.MistralConfig, _GROUPED),
    "qwen2": (transformers.Qwen2Config, _COMMON | {"num_key_value_heads": 1}),
    "qwen3": (transformers.Qwen3Config, _GROUPED),
    "smollm3": (transformers.SmolLM3Config, _COMMON | {"num_key_value_heads": 1}),
    "olmo2": (transformers.Olmo2Config, _COMMON | {"num_key_value_heads": 1}),
    "gptj": (transformers.GPTJConfig, _GPT2 | {"rotary_dim": 4}),
    "phi": (transformers.PhiConfig, _COMMON),
    "phi3": (transformers.Phi3Config, _COMMON | {"num_key_value_heads": 1}),
    "qwen3_5_text": (transformers.Qwen3_5TextConfig, _QWEN3_5),
    "mixtral": (transformers.MixtralConfig, _GROUPED | _EXPERTS),
    "qwen3_moe": (transformers.Qwen3MoeConfig, _GROUPED | _EXPERTS),
    "gpt_oss": (transformers.GptOssConfig, _GROUPED | _EXPERTS),
    "gemma": (transformers.GemmaConfig, _GROUPED),
    "gemma2": (transformers.Gemma2Config, _GROUPED),
    "gemma3_text": (transformers.Gemma3TextConfig, _GEMMA3),
    "gemma3": (transformers.Gemma3Config, {"text_config": _GEMMA3, "vision_config": _VISION | {"image_size": 28}}),
}


def write(folder: Path, name: str) -> Path:
    """A random model of the architecture, with the small tokenizer, in `folder`."""
    config, settings = CONFIGS[name]
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config(**settings))
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if "norm" in path or ".ln_" in path:
                parameter.add_(torch.rand_like(parameter) - 0.5)
            elif path.endswith("bias") or "sinks" in path:
                parameter.normal_()
            else:
                parameter.mul_(5)  # the usual start is so weak that layers hardly change the stream
    model.save_pretrained(folder)
    small_models.tokenizer().save_pretrained(folder)
    return folder
