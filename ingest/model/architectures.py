"""Where the parts of a transformers decoder are, by the model_type of its config. Tables only; nothing runs here."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from featurestore import BadRequest


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Paths of modules below the decoder or, for the parts of a layer, below the layer. The defaults are Llama's.

    They come from transformers' modeling files. None stands for a part that this type has no separate module for.
    """

    embed: str | None = "embed_tokens"
    layers: str = "layers"
    final_norm: str | None = "norm"  # None: what it does to logits is not known
    ln1: str | None = "input_layernorm"
    attention: str | None = "self_attn"
    z: str | None = "self_attn.o_proj"  # its input is every head's result, side by side
    attention_out: str | None = "self_attn"  # its output is what is added to the stream
    values: str | None = "self_attn.v_proj"  # computes the heads' values, with a bias in some models
    values_with: str = ""  # how queries and keys share it, if they do
    ln2: str | None = "post_attention_layernorm"
    mlp: str | None = "mlp"
    mlp_pre: str | None = "mlp.gate_proj"
    mlp_post: str | None = "mlp.down_proj"
    mlp_out: str | None = "mlp"  # its output is what is added to the stream
    layer_norm: bool = False  # norms remove the mean (LayerNorm), rather than only rescale (RMSNorm)
    gain_offset: float = 0.0  # a norm multiplies by this plus its weight
    parallel: bool = False  # attention and MLP read the same stream, so that there is no stream between them
    needs_bos: bool = False  # the model is broken without BOS, even for dictionaries trained without it
    ambiguous_mlp_in: bool = False  # TransformerLens and SAELens's registry disagree on hook_mlp_in

    @property
    def middle(self) -> str | None:
        """The path of the module whose input is the stream between attention and MLP; None if there is no such
        stream."""
        return None if self.parallel else self.ln2 or self.mlp


_GPT2 = Architecture(
    embed="wte",
    layers="h",
    final_norm="ln_f",
    ln1="ln_1",
    attention="attn",
    z="attn.c_proj",
    attention_out="attn",
    values="attn.c_attn",
    values_with="one after another",
    ln2="ln_2",
    mlp_pre="mlp.c_fc",
    mlp_post="mlp.c_proj",
    layer_norm=True,
)
_LLAMA = Architecture()
_MIXTURE = dataclasses.replace(_LLAMA, mlp_pre=None, mlp_post=None)
_GEMMA = dataclasses.replace(_LLAMA, gain_offset=1.0, needs_bos=True)
_GEMMA2 = dataclasses.replace(
    _GEMMA,
    attention_out="post_attention_layernorm",
    ln2="pre_feedforward_layernorm",
    mlp_out="post_feedforward_layernorm",
)
_GEMMA3 = dataclasses.replace(_GEMMA2, ambiguous_mlp_in=True)
ARCHITECTURES: dict[str, Architecture] = {
    "gpt2": _GPT2,
    "gpt_neo": dataclasses.replace(_GPT2, z="attn.attention.out_proj", values=None),
    "gpt_neox": Architecture(
        embed="embed_in",
        final_norm="final_layer_norm",
        attention="attention",
        z="attention.dense",
        attention_out="attention",
        values="attention.query_key_value",
        values_with="for each head",
        mlp_pre="mlp.dense_h_to_4h",
        mlp_post="mlp.dense_4h_to_h",
        layer_norm=True,
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "smollm3": _LLAMA,
    # Its norms come after attention and MLP, which read the stream as it is.
    "olmo2": dataclasses.replace(
        _LLAMA,
        ln1=None,
        attention_out="post_attention_layernorm",
        ln2=None,
        mlp_out="post_feedforward_layernorm",
    ),
    "gptj": dataclasses.replace(
        _GPT2, z="attn.out_proj", values=None, ln2="ln_1", mlp_pre="mlp.fc_in", mlp_post="mlp.fc_out", parallel=True
    ),
    "phi": dataclasses.replace(
        _LLAMA,
        final_norm="final_layernorm",
        z="self_attn.dense",
        ln2="input_layernorm",  # one norm for both
        mlp_pre="mlp.fc1",
        mlp_post="mlp.fc2",
        layer_norm=True,
        parallel=True,
    ),
    "phi3": dataclasses.replace(_LLAMA, values=None, mlp_pre=None),
    "mixtral": _MIXTURE,
    "qwen3_moe": _MIXTURE,
    # Its heads attend to nothing as well, so that values' biases are no constant of their results.
    "gpt_oss": dataclasses.replace(_MIXTURE, values=None),
    # Its layers have two kinds of attention, so that no path holds for all of them.
    "qwen3_5_text": dataclasses.replace(
        _LLAMA, gain_offset=1.0, attention=None, z=None, attention_out=None, values=None
    ),
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA3,
    "gemma3": _GEMMA3,  # reads images too; its decoder is gemma3_text
}


# Of a type that is not listed, only the layers are known: modules' paths and the stream before and after a layer.
UNKNOWN = Architecture(
    embed=None,
    layers="",
    final_norm=None,
    ln1=None,
    attention=None,
    z=None,
    attention_out=None,
    values=None,
    ln2=None,
    mlp=None,
    mlp_pre=None,
    mlp_post=None,
    mlp_out=None,
)


def find_layers(decoder: Any) -> str:
    """Returns the path of a decoder's layers: the longest list of modules in it that is in no other list."""
    lists = [(path, len(module)) for path, module in decoder.named_modules() if type(module).__name__ == "ModuleList"]
    outer = [
        (path, size) for path, size in lists if not any(path.startswith(f"{other}.") for other, _ in lists if other)
    ]
    if not outer:
        raise BadRequest("the model has no list of layers, so that it is no decoder that can be read here")
    path: str = max(outer, key=lambda pair: pair[1])[0]
    return path


def read_architecture(file: Path) -> Architecture:
    """Returns the architecture that a TOML file describes by the fields of Architecture. Raises BadRequest."""
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise BadRequest(f"{file} cannot be read: {exc}") from None
    return make_architecture(values, str(file))


def make_architecture(values: Mapping[str, Any], place: str) -> Architecture:
    """Returns the architecture with these fields. Raises BadRequest, naming `place`, for another name or type."""
    fields = {field.name: field.type for field in dataclasses.fields(Architecture)}
    for name, value in values.items():
        if name not in fields:
            raise BadRequest(f"{place}: there is no part '{name}'; there are {', '.join(fields)}")
        kind = bool if fields[name] == "bool" else float if fields[name] == "float" else str
        if not isinstance(value, (int, float) if kind is float else kind):
            raise BadRequest(f"{place}: {name} is {value!r}; {kind.__name__} is wanted")
    return dataclasses.replace(UNKNOWN, **values)


def check_parts(decoder: Any, architecture: Architecture) -> None:
    """Raises BadRequest for a part that a map names and the model lacks; layers may be of several kinds."""
    modules = {path for path, _ in decoder.named_modules()}
    layers = re.escape(architecture.layers)
    inside = {match[1] for path in modules if (match := re.fullmatch(rf"{layers}\.\d+\.(.+)", path))}
    for field in dataclasses.fields(architecture):
        path = getattr(architecture, field.name)
        if field.type in ("bool", "float") or field.name == "values_with" or path is None:
            continue
        places = modules if field.name in ("embed", "layers", "final_norm") else inside
        if path not in places:
            near = difflib.get_close_matches(path, sorted(places - {""}), 3, 0.4)
            raise BadRequest(
                f"the architecture map says {field.name} is '{path}', and the model has no such module"
                + (f"; the nearest are {', '.join(near)}" if near else "")
            )


def list_parts(architecture: Architecture) -> dict[str, Any]:
    """Returns the fields that `make_architecture` makes this architecture of."""
    values = dataclasses.asdict(architecture)
    return {name: value for name, value in values.items() if value != getattr(UNKNOWN, name)}


def architecture_of(config: Any) -> Architecture:
    """Returns the architecture for a transformers config; UNKNOWN for types that are not listed."""
    known = ARCHITECTURES.get(config.model_type)
    if known is None:
        return UNKNOWN
    return dataclasses.replace(known, parallel=bool(getattr(config, "use_parallel_residual", known.parallel)))


class Site(NamedTuple):
    """Where a site is in a layer: the input or output of one of an Architecture's parts ("" is the layer itself)."""

    part: str
    side: str  # input or output
    normalised: bool = False  # that value after the part's norm, before its gain


PLACES: dict[str, Site] = {
    "resid_pre": Site("", "input"),
    "resid_mid": Site("middle", "input"),
    "resid_post": Site("", "output"),
    "attn_out": Site("attention_out", "output"),
    "mlp_out": Site("mlp_out", "output"),
    "hook_z": Site("z", "input"),
    "mlp_in": Site("mlp", "input"),
    "mlp_pre": Site("mlp_pre", "output"),
    "mlp_post": Site("mlp_post", "input"),
    "ln1_normalized": Site("ln1", "input", True),
    "ln2_normalized": Site("ln2", "input", True),
}
# TransformerLens's names in a layer, without its weight processing; HookPoint describes centring.
TRANSFORMER_LENS = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "attn.hook_z": "hook_z",
    "mlp.hook_in": "mlp_in",
    "mlp.hook_pre": "mlp_pre",
    "mlp.hook_post": "mlp_post",
    "ln1.hook_normalized": "ln1_normalized",
    "ln2.hook_normalized": "ln2_normalized",
    "hook_mlp_in": "resid_mid",
}
# Names of TransformerLens 3 for the same places.
TRANSFORMER_LENS_3 = {
    "hook_in": "hook_resid_pre",
    "hook_out": "hook_resid_post",
    "ln1.hook_in": "hook_resid_pre",
    "ln2.hook_in": "hook_resid_mid",
    "attn.hook_out": "hook_attn_out",
    "mlp.hook_out": "hook_mlp_out",
}
PROJECTIONS = {"attn.hook_q": "q_proj", "attn.hook_k": "k_proj", "attn.hook_v": "v_proj"}
# Names of OpenAI's sparse_autoencoder package, https://github.com/openai/sparse_autoencoder
OPENAI = {
    "resid_delta_attn": "attn_out",
    "resid_post_attn": "resid_mid",
    "mlp_post_act": "mlp_post",
    "resid_delta_mlp": "mlp_out",
    "resid_post_mlp": "resid_post",
}
# Sites whose vectors are added to the residual stream, or are it, so that they share its coordinates.
RESIDUAL_SITES = frozenset({"embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"})


def path_of(architecture: Architecture, site: str) -> str | None:
    """Returns the path, below a layer, of the module where `site` is; None if this architecture has no such place."""
    part = PLACES[site].part
    path: str | None = getattr(architecture, part) if part else ""
    return path


def site_of(architecture: Architecture, path: str, side: str) -> str:
    """Returns the site at a module's input or output, `path` being below a layer; "<path>.<side>" if it is no known
    site."""
    for site, place in PLACES.items():
        if not place.normalised and (path_of(architecture, site), place.side) == (path, side):
            return site
    # Other ways to say the same place.
    same: dict[tuple[str | None, str], str] = {(architecture.ln2, "output"): "mlp_in"}
    if architecture.attention_out == architecture.attention:
        same[architecture.z, "output"] = "attn_out"
    if architecture.mlp_out == architecture.mlp and architecture.mlp_post:
        same[architecture.mlp_post, "output"] = "mlp_out"
    return same.get((path, side), f"{path or 'layer'}.{side}")
