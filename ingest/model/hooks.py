"""Finds the module of a transformers decoder that a hook name means, and computes the value at that place."""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Any

import torch

from featurestore import BadRequest
from ingest.model.architectures import (
    OPENAI,
    PLACES,
    PROJECTIONS,
    RESIDUAL_SITES,
    TRANSFORMER_LENS,
    TRANSFORMER_LENS_3,
    Architecture,
    path_of,
    site_of,
)

# Prefixes of a decoder's paths in transformers; names may come with or without them.
PREFIXES = ("model", "transformer", "gpt_neox", "language_model", "base_model")


@dataclasses.dataclass(frozen=True, eq=False)
class HookPoint:
    """A place to read.

    `name` is the user's name for it; it also says when the mean is removed, so that one name stands for one value.
    `layer` is None outside the layers. `site` is a key of PLACES, "embed", or a module's path in the layer and its
    side.
    """

    name: str
    layer: int | None
    site: str
    module: torch.nn.Module
    side: str  # input or output
    normalised: bool = False
    centred: bool = False
    bias: torch.Tensor | None = None  # subtracted

    def value(self, passed: Any, batch: int, tokens: int) -> torch.Tensor:
        """Returns the value (batch, tokens, width) of what passed the module. Raises BadRequest for another shape or
        type."""
        while isinstance(passed, tuple | list) and passed:
            passed = passed[0]  # attention gives its weights too, a mixture of experts its routing
        if not isinstance(passed, torch.Tensor):
            raise BadRequest(f"hook '{self.name}': what passes there is no tensor but {type(passed).__name__}")
        if passed.shape[:2] == (batch, tokens) and passed.ndim >= 3:
            read = passed.flatten(2)  # heads side by side
        elif passed.ndim == 2 and len(passed) == batch * tokens:
            read = passed.reshape(batch, tokens, passed.shape[1])
        else:
            raise BadRequest(
                f"hook '{self.name}': what passes there has shape {tuple(passed.shape)}, not one vector for each of "
                f"{batch} x {tokens} tokens"
            )
        if self.normalised:
            read = normalise(self.module, read)
        if self.bias is not None:
            read = read - self.bias
        return read - read.mean(-1, keepdim=True) if self.centred else read


def normalise(norm: Any, x: torch.Tensor) -> torch.Tensor:
    """Returns what `norm` makes of x (..., width) before its gain and bias.

    Computed from the input rather than divided out of the output, since a gain may be zero.
    """
    if isinstance(norm, torch.nn.LayerNorm):
        return torch.nn.functional.layer_norm(x, norm.normalized_shape, eps=norm.eps)
    eps = norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def find(
    model: Any,
    decoder: Any,
    architecture: Architecture,
    name: str,
    centred: bool = False,
    fold_value_biases: bool = False,
) -> HookPoint:
    """Returns the place that `name` means in `decoder`, a part of the transformers model `model`.

    Names are TransformerLens's (blocks.3.hook_resid_post, hook_embed); OpenAI's and our sites with a layer
    (3.resid_post_mlp, mlp_out.3); and modules' paths with .input or .output, which is the default, with or without the
    prefix of the decoder (model.layers.3.mlp, h.3.attn.input).

    `centred` is for dictionaries trained on TransformerLens's models with centred writing weights: the mean is removed
    from the stream. It changes neither sites outside the stream nor models whose norms keep the mean, as in
    TransformerLens. `fold_value_biases` is for dictionaries trained on its hook_z with value biases folded: these
    biases are subtracted.

    Raises BadRequest, naming the places of this model.
    """
    name = name.lstrip(".")
    point = _by_layer(model, decoder, architecture, name) or _by_path(model, decoder, architecture, name)
    if centred and architecture.layer_norm and point.site in RESIDUAL_SITES:
        return dataclasses.replace(point, name=f"{name} (centred)", centred=True)
    if fold_value_biases and point.site == "hook_z" and point.layer is not None:
        bias = value_bias(decoder.get_submodule(architecture.layers)[point.layer], architecture, model.config)
        if bias is not None:
            return dataclasses.replace(point, name=f"{name} (value biases folded)", bias=bias)
    return point


def value_bias(layer: Any, architecture: Architecture, config: Any) -> torch.Tensor | None:
    """Returns what value biases add to the heads' results, (heads * d_head,); None without such biases.

    It is the same for every token, since the weights of attention add up to one.
    """
    bias: torch.Tensor | None = layer.get_submodule(architecture.values).bias if architecture.values else None
    if bias is None:
        return None
    config = config.get_text_config()
    heads = config.num_attention_heads
    if architecture.values_with:  # as many keys and values as queries
        parts = bias.view(3, heads, -1) if architecture.values_with == "one after another" else bias.view(heads, 3, -1)
        return (parts[2] if architecture.values_with == "one after another" else parts[:, 2]).flatten()
    groups = getattr(config, "num_key_value_heads", None) or heads
    return bias.view(groups, -1).repeat_interleave(heads // groups, dim=0).flatten()


def _by_layer(model: Any, decoder: Any, architecture: Architecture, name: str) -> HookPoint | None:
    """Returns the place of a name made of a layer and a site; None for a name of another kind."""
    if match := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        layer, word = int(match[1]), TRANSFORMER_LENS_3.get(match[2], match[2])
        if word in PROJECTIONS:
            return _find_projection(model, decoder, architecture, name, layer, PROJECTIONS[word])
        site = (TRANSFORMER_LENS | OPENAI).get(word)
        if site is None:
            raise _unknown(decoder, architecture, name)
        if word == "hook_mlp_in" and architecture.parallel:
            site = "resid_pre"  # the stream that the MLP's norm reads is the one attention reads
    else:
        match = re.fullmatch(r"(?:(\d+)[./:])?(\w+?)(?:[./:](\d+))?", name)
        words = OPENAI | {site: site for site in PLACES}
        if not match or (match[1] is None) == (match[3] is None) or match[2] not in words:
            return None
        layer, word, site = int(match[1] or match[3]), match[2], words[match[2]]
    _check_layer(decoder, architecture, name, layer)
    if word == "hook_mlp_in" and architecture.ambiguous_mlp_in:
        raise BadRequest(
            f"hook '{name}' is said of two places: the stream before the MLP's norm (TransformerLens; write "
            f"blocks.{layer}.hook_resid_mid), and its input after it (SAELens's registry; write "
            f"blocks.{layer}.mlp.hook_in)"
        )
    path = path_of(architecture, site)
    if path is None:
        reason = "attention and MLP run side by side, so there is no stream between them" if site == "resid_mid" else ""
        raise _unknown(decoder, architecture, name, reason)
    module = decoder.get_submodule(architecture.layers)[layer].get_submodule(path)
    return HookPoint(name, layer, site, module, PLACES[site].side, PLACES[site].normalised)


def _find_projection(
    model: Any, decoder: Any, architecture: Architecture, name: str, layer: int, projection: str
) -> HookPoint:
    """Returns where queries, keys or values are computed, before positions turn them. Raises BadRequest."""
    _check_layer(decoder, architecture, name, layer)
    if architecture.values is None or architecture.values_with:
        raise _unknown(decoder, architecture, name, "queries, keys and values have no module each")
    path = f"{architecture.layers}.{layer}.{architecture.values.removesuffix('v_proj')}{projection}"
    return dataclasses.replace(_by_path(model, decoder, architecture, path), name=name)


def _by_path(model: Any, decoder: Any, architecture: Architecture, name: str) -> HookPoint:
    """Returns the place of a name that is a module's path. Raises BadRequest when there is no such module."""
    if name in ("hook_embed", "embed.hook_out") and architecture.embed is not None:
        return HookPoint(name, None, "embed", decoder.get_submodule(architecture.embed), "output")
    plain = re.sub(r"\[(\d+)\]", r".\1", name)  # layers[3] as in Python
    match = re.fullmatch(r"(.+?)(?:\.(input|output)(?:\.0)?)?", plain, re.DOTALL)
    if not match:
        raise _unknown(decoder, architecture, name)
    path, side = match[1], match[2] or "output"
    container = re.escape(architecture.layers)
    if number := re.match(rf"(?:(?:{'|'.join(PREFIXES)})\.)*{container}\.(\d+)(?:\.|$)", path):
        _check_layer(decoder, architecture, name, int(number[1]))
    module = _module(model, decoder, path)
    places = {id(child): path for path, child in decoder.named_modules()}
    if module is None or id(module) not in places:
        raise _unknown(decoder, architecture, name)
    place = places[id(module)]
    if in_layer := re.fullmatch(rf"{container}\.(\d+)(?:\.(.+))?", place):
        site = site_of(architecture, in_layer[2] or "", side)
        return HookPoint(name, int(in_layer[1]), site, module, side)
    is_embedding = architecture.embed is not None and (place, side) == (architecture.embed, "output")
    site = "embed" if is_embedding else f"{place}.{side}"
    return HookPoint(name, None, site, module, side)


def _module(model: Any, decoder: Any, path: str) -> torch.nn.Module | None:
    """Returns the module at a path below the model or the decoder, with the decoder's prefixes or without them."""
    words = path.split(".")
    tries = [(model, path), (decoder, path)]
    while len(words) > 1 and words[0] in PREFIXES:
        words = words[1:]
        tries.append((decoder, ".".join(words)))
    for root, below in tries:
        try:
            module: torch.nn.Module = root.get_submodule(below)
            return module
        except AttributeError:
            continue
    return None


def _check_layer(decoder: Any, architecture: Architecture, name: str, layer: int) -> None:
    count = len(decoder.get_submodule(architecture.layers))
    if layer >= count:
        raise BadRequest(
            f"hook '{name}': there is no layer {layer} in its {count}: the model has layers 0 to {count - 1}"
        )


def _unknown(decoder: Any, architecture: Architecture, name: str, reason: str = "") -> BadRequest:
    names = [word for word, site in TRANSFORMER_LENS.items() if path_of(architecture, site) is not None]
    first = decoder.get_submodule(architecture.layers)[0]
    # Two levels: the lists of a mixture's experts are long.
    modules = [path for path, _ in first.named_modules() if path and path.count(".") < 2]
    layer = (re.search(r"\d+", name) or ["0"])[0]
    known = [f"blocks.{layer}.{word}" for word in names] + [f"{architecture.layers}.{layer}.{path}" for path in modules]
    nearest = difflib.get_close_matches(name, known, 3, 0.5)
    return BadRequest(
        f"hook '{name}' is not a place in this model{': ' + reason if reason else ''}"
        f"{'; nearest are ' + ', '.join(nearest) if nearest else ''}. Write blocks.N.NAME, "
        f"NAME being one of {', '.join(names)}; hook_embed; or {architecture.layers}.N.MODULE.input or .output, "
        "MODULE being one of "
        f"{', '.join(modules)}"
    )
