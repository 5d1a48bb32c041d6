"""A transformers language model with read hooks, stopped after the deepest one. Knows nothing of dictionaries."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from featurestore import BadRequest, NotFound

# Where the parts of a layer are, by the type its config names; the first entries are GPT-2's.
_LLAMA = {
    "layers": "layers",
    "attention": "self_attn",
    "z": "self_attn.o_proj",
    "pre_mlp_norm": "post_attention_layernorm",
    "mlp": "mlp",
    "mlp_post": "mlp.down_proj",
    "final_norm": "norm",
}
_GEMMA = _LLAMA | {
    "pre_mlp_norm": "pre_feedforward_layernorm",
    "mlp_out": "post_feedforward_layernorm",
    "attention_out": "post_attention_layernorm",
}
FAMILIES: dict[str, dict[str, str]] = {
    "gpt2": {
        "layers": "h",
        "attention": "attn",
        "z": "attn.c_proj",
        "pre_mlp_norm": "ln_2",
        "mlp": "mlp",
        "mlp_post": "mlp.c_proj",
        "final_norm": "ln_f",
    },
    "gpt_neox": {
        "layers": "layers",
        "attention": "attention",
        "z": "attention.dense",
        "pre_mlp_norm": "post_attention_layernorm",
        "mlp": "mlp",
        "mlp_post": "mlp.dense_4h_to_h",
        "final_norm": "final_layer_norm",
    },
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA,
}
# TransformerLens's name within a layer -> (our name of the part, input or output, site)
SITES = {
    "hook_resid_pre": ("", "input", "resid_pre"),
    "hook_resid_post": ("", "output", "resid_post"),
    "hook_resid_mid": ("pre_mlp_norm", "input", "resid_mid"),
    "hook_attn_out": ("attention_out", "output", "attn_out"),
    "hook_mlp_out": ("mlp_out", "output", "mlp_out"),
    "attn.hook_z": ("z", "input", "hook_z"),
    "mlp.hook_in": ("mlp", "input", "mlp_in"),
    "mlp.hook_post": ("mlp_post", "input", "mlp_post"),
}
# Names that are not a place in a transformers model, or mean two things; what to write instead.
AMBIGUOUS = {
    "hook_mlp_in": "TransformerLens means the stream before the norm (hook_resid_mid), SAELens's registry often the MLP's "
    "input after it (mlp.hook_in)",
    "ln2.hook_normalized": "it is the MLP's input (mlp.hook_in) before the norm's gain, which cannot be read yet",
}
# Sites whose vectors are added to the residual stream, so that they share its coordinates.
RESIDUAL_SITES = frozenset({"resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"})


class HookPoint:
    """A place to read: layer, site, and the module whose input or output it is."""

    def __init__(self, name: str, layer: int, site: str, module: torch.nn.Module, side: str):
        self.name, self.layer, self.site, self.module, self.side = name, layer, site, module, side


class _Deepest(Exception):
    """Everything asked for has been read: the rest of the model need not run."""


class Model:
    """A causal language model in evaluation mode, float32, with its tokenizer."""

    def __init__(self, location: str, device: str = "cpu"):
        """Load from a local directory or the hub. Raises NotFound or BadRequest in one line when it is no such model."""
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        path = Path(location)
        if not path.exists() and (path.is_absolute() or location.count("/") != 1 or location.startswith(".")):
            raise NotFound(
                f"no model at {location}: there is no such directory, and the hub's names have an owner, "
                "as in openai-community/gpt2"
            )
        if path.is_file():
            raise BadRequest(f"{location} is a file; name the directory that holds the model's files")
        local = path.is_dir()
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                location, local_files_only=local, dtype=torch.float32, output_loading_info=True
            )
            self.tokenizer = AutoTokenizer.from_pretrained(location, local_files_only=local)
        # transformers passes on whatever its parsers raise for damaged files, so this is wide on purpose.
        except Exception as exc:
            first = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:300]
            raise BadRequest(f"{location} is not a model that transformers can load: {first}") from None
        self._model: Any = loaded[0]
        # transformers only warns of these, and goes on with random numbers.
        if missing := sorted(loaded[1]["missing_keys"]):
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise BadRequest(f"the weights at {location} lack {', '.join(missing[:3])}{more}; fetch them again")
        # Without tokenizer files it may make a tokenizer without a vocabulary.
        if not self.tokenizer("a b c", add_special_tokens=False)["input_ids"]:
            raise BadRequest(f"{location} has no tokenizer: copy the model's tokenizer.json there")
        self._model.eval().to(device).requires_grad_(False)
        self.location = str(path.resolve()) if local else location
        self.device = device
        family = FAMILIES.get(self._model.config.model_type)
        if family is None:
            known = ", ".join(FAMILIES)
            raise BadRequest(f"{location} is of type {self._model.config.model_type}; hooks are known for {known}")
        self._family = family
        self._base = self._model.base_model
        self._layers: Any = getattr(self._base, family["layers"])

    @property
    def language_model(self) -> Any:
        """The transformers model itself."""
        return self._model

    @property
    def layers(self) -> int:
        return len(self._layers)

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return int(self._model.get_input_embeddings().weight.shape[0])

    @property
    def max_context(self) -> int:
        """Most tokens it can see at once."""
        return int(getattr(self._model.config, "max_position_embeddings", 2048))

    @property
    def bos(self) -> int | None:
        """The token id contexts begin with, if the model has one."""
        found = self.tokenizer.bos_token_id
        return found if found is not None else self._model.config.bos_token_id

    @functools.cached_property
    def hash(self) -> str:
        """sha256 of the weights, names and all, first 16 hex digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy())
        return digest.hexdigest()[:16]

    def hook_point(self, name: str) -> HookPoint:
        """The place a name means: TransformerLens's (blocks.3.hook_resid_post) or a module path with its side
        (transformer.h.3.mlp.input). Raises BadRequest, naming what there is."""
        match = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
        if match:
            layer, rest = int(match[1]), match[2]
            if rest in AMBIGUOUS:
                raise BadRequest(
                    f"hook '{name}' cannot be read as it is: {AMBIGUOUS[rest]}; name the place that is meant"
                )
            if rest not in SITES:
                raise BadRequest(f"hook '{name}' is not known; in a layer there are: {', '.join(SITES)}")
            self._check_layer(name, layer)
            part, side, site = SITES[rest]
            return HookPoint(name, layer, site, self._part(layer, part, name), side)
        path, _, side = name.rpartition(".")
        match = re.search(r"\.(\d+)(?:\.(.+))?$", path)
        if side not in ("input", "output") or not match:
            raise BadRequest(
                f"hook '{name}' is not a place: write blocks.3.hook_resid_post, or a module's path and its side, "
                "as in transformer.h.3.mlp.input"
            )
        self._check_layer(name, int(match[1]))
        try:
            module = self._model.get_submodule(path)
        except AttributeError:
            raise BadRequest(f"hook '{name}': the model has no module {path}") from None
        inverse = {(self._family.get(part, part), one): site for part, one, site in SITES.values()}
        site = inverse.get((match[2] or "", side), f"{match[2] or 'layer'}.{side}")
        return HookPoint(name, int(match[1]), site, module, side)

    def _check_layer(self, name: str, layer: int) -> None:
        if layer >= self.layers:
            raise BadRequest(f"hook '{name}': the model has layers 0 to {self.layers - 1}")

    def _part(self, layer: int, part: str, name: str) -> torch.nn.Module:
        if part == "pre_mlp_norm" and getattr(self._model.config, "use_parallel_residual", False):
            raise BadRequest(f"hook '{name}': attention and MLP run side by side in this model, so there is no middle")
        plain = {"attention_out": "attention", "mlp_out": "mlp"}
        path = self._family.get(part) or self._family.get(plain.get(part, ""), "")
        return self._layers[layer].get_submodule(path)

    @torch.inference_mode()
    def read(self, ids: torch.Tensor, points: Sequence[HookPoint]) -> dict[str, torch.Tensor]:
        """What passes each hook point for token ids (b, t): {name: (b, t, width)}. Right-padded rows are fine, since
        attention is causal; what is read on padding means nothing."""
        found: dict[str, torch.Tensor] = {}

        def keep(name: str, value: Any) -> None:
            found[name] = value[0] if isinstance(value, tuple) else value
            if len(found) == len(points):
                raise _Deepest

        handles = []
        for point in points:
            if point.side == "input":
                handles.append(point.module.register_forward_pre_hook(_before(point.name, keep), with_kwargs=True))
            else:
                handles.append(point.module.register_forward_hook(_after(point.name, keep)))
        try:
            self._base(input_ids=ids.to(self.device), use_cache=False)
        except _Deepest:
            pass
        finally:
            for handle in handles:
                handle.remove()
        missing = [point.name for point in points if point.name not in found]
        if missing:
            raise BadRequest(f"hook '{missing[0]}' was not passed when the model ran")
        return found

    def unembedding(self) -> tuple[torch.Tensor, bool]:
        """(vocabulary, d_model) with the final norm's gain folded in, and whether that norm removes the mean."""
        norm: Any = self._base.get_submodule(self._family["final_norm"])
        gain = norm.weight.float()
        if self._model.config.model_type.startswith("gemma"):
            gain = 1 + gain  # Gemma's RMSNorm stores its gain less one
        return self._model.get_output_embeddings().weight.float() * gain, isinstance(norm, torch.nn.LayerNorm)


def _before(name: str, keep: Any) -> Any:
    def hook(module: torch.nn.Module, arguments: tuple, keywords: dict) -> None:
        keep(name, arguments[0] if arguments else keywords["hidden_states"])

    return hook


def _after(name: str, keep: Any) -> Any:
    def hook(module: torch.nn.Module, arguments: tuple, output: Any) -> None:
        keep(name, output)

    return hook
