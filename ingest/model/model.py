"""A transformers language model with read hooks, stopped after the deepest one."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from featurestore import BadRequest, NotFound, Unavailable
from featurestore.extension.text import first_line
from ingest.model import hooks
from ingest.model.architectures import RESIDUAL_SITES as RESIDUAL_SITES
from ingest.model.architectures import (
    Architecture,
    architecture_of,
    check_parts,
    find_layers,
    list_parts,
    make_architecture,
)
from ingest.model.hooks import HookPoint as HookPoint

DTYPES = ("float32", "bfloat16", "float16")


class _AllRead(Exception):
    """Every hook point has been read: the rest of the model need not run."""


def _check_adapters(name: str, **options: Any) -> None:
    """Raises BadRequest for adapters (LoRA): transformers loads full weights beside them, with or without them as
    peft is installed or not."""
    from transformers.utils.peft_utils import find_adapter_config_file

    if file := find_adapter_config_file(name, **options):
        raise BadRequest(
            f"it holds an adapter ({Path(file).name}), which is not applied here: merge it into the weights with "
            "peft's merge_and_unload() and save_pretrained(), or read a copy of the model without that file"
        )


def _load(location: str, dtype: str) -> tuple[Architecture, Any, Any]:
    """Returns architecture, transformers model and tokenizer. Raises BadRequest or Unavailable."""
    from huggingface_hub.errors import LocalEntryNotFoundError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as untyped_logging

    logging: Any = untyped_logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    local = Path(location).is_dir()
    name, _, revision = (location, "", "") if local else location.partition("@")
    # Asked about code of the model, transformers would wait for an answer.
    files: dict[str, Any] = {"local_files_only": local} | ({"revision": revision} if revision else {})
    options = files | {"trust_remote_code": False}
    try:
        _check_adapters(name, **files)
        # The type is checked before gigabytes of weights are read.
        architecture = architecture_of(AutoConfig.from_pretrained(name, **options))
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name, **options, dtype=getattr(torch, dtype), output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
    except BadRequest as exc:
        raise BadRequest(f"{location}: {exc}") from None
    # transformers passes on everything its parsers raise for damaged files, so this is wide on purpose.
    except Exception as exc:
        reason = first_line(exc, 300)
        if not local and isinstance(exc.__cause__, LocalEntryNotFoundError):
            raise Unavailable(f"{location} cannot be fetched now, and was not fetched before: {reason}") from None
        raise BadRequest(f"{location} is not a model that transformers can load: {reason}") from None
    # transformers only warns of missing weights, and goes on with random numbers.
    if missing := sorted(loaded[1]["missing_keys"]):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise BadRequest(f"the weights at {location} lack {', '.join(missing[:3])}{more}; fetch them again")
    return architecture, loaded[0], tokenizer


# Names without an owner, from the hub's first years: it answers them with the repositories that hold them now.
OWNERS = {
    "openai-community": ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "openai-gpt"),
    "distilbert": ("distilgpt2",),
}


def resolve_name(location: str) -> str:
    """Returns a name on the hub with its owner, as the hub resolves it: gpt2 is openai-community/gpt2."""
    name, at, revision = location.partition("@")
    owner = next((owner for owner, names in OWNERS.items() if name in names), None)
    return f"{owner}/{name}{at}{revision}" if owner else location


class Model:
    """A causal language model in evaluation mode, float32, with its tokenizer."""

    def __init__(
        self, location: str, device: str = "cpu", dtype: str = "float32", architecture: Architecture | None = None
    ):
        """Loads from a local directory or from the hub, there optionally with a revision (owner/name@revision).

        `dtype` (float32, bfloat16 or float16) is that of the weights; `architecture` says where parts are in models of
        a type that is not listed. Without it, their hook points are modules' paths and the stream around a layer.

        Raises NotFound or BadRequest in one line when it is no such model or lacks parts that `architecture` names,
        Unavailable when the hub does not answer.
        """
        path = Path(location)
        if not path.exists():
            location = resolve_name(location)
        if not path.exists() and (path.is_absolute() or location.count("/") != 1 or location.startswith(".")):
            raise NotFound(
                f"no model at {location}: there is no such directory, and the hub's names have an owner, "
                "as in openai-community/gpt2"
            )
        if path.is_file():
            raise BadRequest(f"{location} is a file; name the directory that holds the model's files")
        self.dtype, self.architecture_map = dtype, architecture
        self._architecture, self._model, self.tokenizer = _load(location, dtype)
        self._architecture = architecture or self._architecture
        self._check_tokenizer(location)
        self._model.eval().to(device).requires_grad_(False)
        _fuse_activations(self._model)
        self.location = str(path.resolve()) if path.is_dir() else location
        self.device = device
        base = self._model.base_model
        self._decoder: Any = getattr(base, "language_model", base)  # a model that reads images has its decoder inside
        if not self._architecture.layers:
            self._architecture = dataclasses.replace(self._architecture, layers=find_layers(self._decoder))
        if architecture is not None:
            check_parts(self._decoder, self._architecture)
        self._layers: Any = self._decoder.get_submodule(self._architecture.layers)

    def _check_tokenizer(self, location: str) -> None:
        """Raises BadRequest when the tokenizer is missing or is another model's."""
        # Without tokenizer files transformers may make a tokenizer without a vocabulary.
        if not self.tokenizer("a b c", add_special_tokens=False)["input_ids"]:
            raise BadRequest(f"{location} has no tokenizer: copy the model's tokenizer.json there")
        # Tokens added to a vocabulary, such as one for images, may exceed the model's: no text contains them.
        added = set(self.tokenizer.added_tokens_decoder)
        largest = max(id for id in self.tokenizer.get_vocab().values() if id not in added)
        if largest >= self.vocabulary:
            raise BadRequest(
                f"the tokenizer at {location} has tokens up to {largest}, but the model only {self.vocabulary}: it is "
                "another model's; fetch both again"
            )

    @property
    def language_model(self) -> Any:
        """The transformers model itself."""
        return self._model

    @property
    def unusual(self) -> dict[str, Any]:
        """How it was loaded, JSON-ready, where that is not the usual way; `load_as` takes it."""
        parts = {} if self.architecture_map is None else {"architecture_map": list_parts(self.architecture_map)}
        return parts if self.dtype == "float32" else parts | {"dtype": self.dtype}

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self._layers)

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return int(self._model.get_input_embeddings().weight.shape[0])

    @property
    def max_context(self) -> int:
        """Most tokens it can see at once."""
        return int(getattr(self._model.config.get_text_config(), "max_position_embeddings", 2048))

    @property
    def bos(self) -> int | None:
        """The token id that contexts begin with; None if the tokenizer has none.

        The config's id is not used: Qwen's is <|endoftext|>, which its models were not trained to begin with.
        """
        token: int | None = self.tokenizer.bos_token_id
        return token

    def begin(self, prepend_bos: bool | None = None) -> list[int]:
        """Returns the token ids that contexts begin with: [BOS], or [] for a dictionary trained without BOS.

        None stands for a dictionary that does not say: [BOS] if the tokenizer has one. Gemma's models are broken
        without BOS, so they always get it.
        """
        wanted = prepend_bos is not False or self._architecture.needs_bos
        return [self.bos] if wanted and self.bos is not None else []

    @functools.cached_property
    def hash(self) -> str:
        """sha256 of the weights and their names, first 16 hex digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(name.encode())
            # As bytes: NumPy has no bfloat16 and no numbers of eight bits.
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    def hook_point(self, name: str, centred: bool = False, fold_value_biases: bool = False) -> HookPoint:
        """Returns the place that a name means, see hooks.find. Raises BadRequest, naming the places of this model."""
        return hooks.find(self._model, self._decoder, self._architecture, name, centred, fold_value_biases)

    @torch.inference_mode()
    def read(self, ids: torch.Tensor, points: Sequence[HookPoint]) -> dict[str, torch.Tensor]:
        """Returns {name: (b, t, width)}, the values at each hook point for token ids (b, t). Raises BadRequest.

        Rows may be padded on the right, since attention is causal; values on padding mean nothing.
        """
        values: dict[str, torch.Tensor] = {}
        wanted = {point.name: point for point in points}

        def keep(point: HookPoint, passed: Any) -> None:
            """Keeps the value; stops the model after the last one."""
            values[point.name] = point.value(passed, *ids.shape)
            if len(values) == len(wanted):
                raise _AllRead

        handles = []
        for point in wanted.values():
            if point.side == "input":
                handles.append(point.module.register_forward_pre_hook(_before(point, keep), with_kwargs=True))
            else:
                handles.append(point.module.register_forward_hook(_after(point, keep)))
        try:
            self._decoder(input_ids=ids.to(self.device), use_cache=False)
        except _AllRead:
            pass
        finally:
            for handle in handles:
                handle.remove()
        missing = [name for name in wanted if name not in values]
        if missing:
            raise BadRequest(f"hook '{missing[0]}' was not passed when the model ran")
        return values

    @property
    def has_logits(self) -> bool:
        """Whether effects on logits are known: where the final norm is, and what it does."""
        return self._architecture.final_norm is not None

    def unembedding(self, fold_gain: bool = True) -> tuple[torch.Tensor, bool]:
        """Returns the matrix (vocabulary, d_model) float32, and whether the final norm removes the mean.

        The matrix times a direction in the stream, less its mean if that is removed, is what the direction adds to the
        logits, up to the final norm's scale on each token. `fold_gain` multiplies the norm's gain in; the dashboards of
        SAELens leave it out. Tied embeddings are resolved; a soft cap on logits is monotonic and left out.
        """
        matrix = self._model.get_output_embeddings().weight.float()
        if fold_gain:
            assert self._architecture.final_norm is not None, "effects on logits are not known: see has_logits"
            norm: Any = self._decoder.get_submodule(self._architecture.final_norm)
            matrix = matrix * (self._architecture.gain_offset + norm.weight.float())
        return matrix, self._architecture.layer_norm

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the model to record beside results computed with it, as JSON takes them."""
        return {
            "architecture": self._model.config.model_type,
            "layers": self.layers,
            "d_model": int(self._model.get_input_embeddings().weight.shape[1]),
            "bos": self.bos,
            "tied_embeddings": self._model.get_output_embeddings().weight is self._model.get_input_embeddings().weight,
            "logits": "decoder vector x final norm's gain x unembedding"
            + (", mean removed" if self._architecture.layer_norm else ""),
        }


def load_as(location: str, settings: Mapping[str, Any], device: str = "cpu") -> Model:
    """Returns the model as a harvest with these settings loaded it: see Model.unusual. Raises as Model does."""
    dtype, parts = settings.get("dtype", "float32"), settings.get("architecture_map")
    if dtype not in DTYPES or not isinstance(parts, dict | None):
        raise BadRequest(f"the settings of the harvest say dtype {dtype!r} and parts {parts!r}, which no harvest wrote")
    architecture = None if parts is None else make_architecture(parts, "the settings of the harvest")
    return Model(location, device, dtype, architecture)


def _before(point: HookPoint, keep: Any) -> Any:
    def hook(module: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Passes the input on."""
        keep(point, arguments[0] if arguments else keywords.get("hidden_states", keywords.get("input")))

    return hook


def _after(point: HookPoint, keep: Any) -> Any:
    def hook(module: torch.nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        """Passes the output on."""
        keep(point, output)

    return hook


def _fuse_activations(model: torch.nn.Module) -> None:
    """Replaces GPT-2's activation, seven steps in transformers, by torch's single step of the same formula.

    That saves a quarter of a layer's time on a CPU.
    """
    from transformers.activations import NewGELUActivation

    for module in model.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
