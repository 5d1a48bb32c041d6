"""A transformers language model with read hooks, stopped after the deepest one. Knows nothing of dictionaries."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from featurestore import BadRequest, NotFound, Unavailable
from ingest.model import hooks
from ingest.model.architectures import RESIDUAL_SITES as RESIDUAL_SITES
from ingest.model.architectures import architecture_of
from ingest.model.hooks import HookPoint as HookPoint


class _Deepest(Exception):
    """Everything asked for has been read: the rest of the model need not run."""


class Model:
    """A causal language model in evaluation mode, float32, with its tokenizer."""

    def __init__(self, location: str, device: str = "cpu"):
        """Load from a local directory or the hub, there with a revision if asked (owner/name@revision).

        Raises NotFound or BadRequest in one line when it is no such model, Unavailable when the hub does not answer.
        """
        from huggingface_hub.errors import LocalEntryNotFoundError
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
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
        name, _, revision = (location, "", "") if local else location.partition("@")
        where: dict[str, Any] = {"local_files_only": local} | ({"revision": revision} if revision else {})
        try:
            # The type is checked before gigabytes of weights are read.
            self._architecture = architecture_of(AutoConfig.from_pretrained(name, **where))
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name, **where, dtype=torch.float32, output_loading_info=True
            )
            self.tokenizer = AutoTokenizer.from_pretrained(name, **where)
        except BadRequest as exc:
            raise BadRequest(f"{location}: {exc}") from None
        # transformers passes on whatever its parsers raise for damaged files, so this is wide on purpose.
        except Exception as exc:
            first = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:300]
            if not local and isinstance(exc.__cause__, LocalEntryNotFoundError):
                raise Unavailable(f"{location} is not to be had now, and was not fetched before: {first}") from None
            raise BadRequest(f"{location} is not a model that transformers can load: {first}") from None
        self._model: Any = loaded[0]
        # transformers only warns of these, and goes on with random numbers.
        if missing := sorted(loaded[1]["missing_keys"]):
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise BadRequest(f"the weights at {location} lack {', '.join(missing[:3])}{more}; fetch them again")
        # Without tokenizer files it may make a tokenizer without a vocabulary.
        if not self.tokenizer("a b c", add_special_tokens=False)["input_ids"]:
            raise BadRequest(f"{location} has no tokenizer: copy the model's tokenizer.json there")
        # Tokens added to a vocabulary, such as one for pictures, may be more than the model has: text does not give them.
        added = set(self.tokenizer.added_tokens_decoder)
        largest = max(id for id in self.tokenizer.get_vocab().values() if id not in added)
        if largest >= self.vocabulary:
            raise BadRequest(
                f"the tokenizer at {location} has tokens up to {largest}, but the model only {self.vocabulary}: it is "
                "another model's; fetch both again"
            )
        self._model.eval().to(device).requires_grad_(False)
        _fuse_activations(self._model)
        self.location = str(path.resolve()) if local else location
        self.device = device
        base = self._model.base_model
        self._decoder: Any = getattr(base, "language_model", base)  # a model with eyes has its decoder inside
        self._layers: Any = getattr(self._decoder, self._architecture.layers)

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
        return int(getattr(self._model.config.get_text_config(), "max_position_embeddings", 2048))

    @property
    def bos(self) -> int | None:
        """The token id contexts begin with, if the tokenizer has one.

        The config's is not asked: Qwen's names <|endoftext|> there, which its models were not trained to begin with.
        """
        return self.tokenizer.bos_token_id

    def begin(self, prepend_bos: bool | None = None) -> list[int]:
        """The token ids contexts begin with for a dictionary trained with BOS, without, or not saying: [BOS] or none.

        Where nothing is said there is one if the tokenizer has it. Gemma's models are broken without, so there always is.
        """
        wanted = prepend_bos is not False or self._architecture.needs_bos
        return [self.bos] if wanted and self.bos is not None else []

    @functools.cached_property
    def hash(self) -> str:
        """sha256 of the weights, names and all, first 16 hex digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy())
        return digest.hexdigest()[:16]

    def hook_point(self, name: str, centred: bool = False, fold_value_biases: bool = False) -> HookPoint:
        """The place a name means, see hooks.find. Raises BadRequest, naming what there is."""
        return hooks.find(self._model, self._decoder, self._architecture, name, centred, fold_value_biases)

    @torch.inference_mode()
    def read(self, ids: torch.Tensor, points: Sequence[HookPoint]) -> dict[str, torch.Tensor]:
        """What passes each hook point for token ids (b, t): {name: (b, t, width)}. Right-padded rows are fine, since
        attention is causal; what is read on padding means nothing."""
        found: dict[str, torch.Tensor] = {}
        wanted = {point.name: point for point in points}

        def keep(point: HookPoint, passed: Any) -> None:
            found[point.name] = point.value(passed, *ids.shape)
            if len(found) == len(wanted):
                raise _Deepest

        handles = []
        for point in wanted.values():
            if point.side == "input":
                handles.append(point.module.register_forward_pre_hook(_before(point, keep), with_kwargs=True))
            else:
                handles.append(point.module.register_forward_hook(_after(point, keep)))
        try:
            self._decoder(input_ids=ids.to(self.device), use_cache=False)
        except _Deepest:
            pass
        finally:
            for handle in handles:
                handle.remove()
        missing = [name for name in wanted if name not in found]
        if missing:
            raise BadRequest(f"hook '{missing[0]}' was not passed when the model ran")
        return found

    def unembedding(self, fold_gain: bool = True) -> tuple[torch.Tensor, bool]:
        """(vocabulary, d_model) float32, and whether the final norm removes the mean.

        What a direction in the stream adds to the logits is this matrix times it, less its mean where that is removed, up
        to the final norm's scale on each token. The norm's gain is folded in unless told otherwise: the dashboards of
        SAELens leave it out. Tied embeddings are resolved; a soft cap on logits is monotonic and left out.
        """
        matrix = self._model.get_output_embeddings().weight.float()
        if fold_gain:
            norm: Any = self._decoder.get_submodule(self._architecture.final_norm)
            matrix = matrix * (self._architecture.gain_offset + norm.weight.float())
        return matrix, self._architecture.layer_norm

    @property
    def facts(self) -> dict[str, Any]:
        """What is worth recording of the model beside what was computed with it, as JSON takes it."""
        return {
            "architecture": self._model.config.model_type,
            "layers": self.layers,
            "d_model": int(self._model.get_input_embeddings().weight.shape[1]),
            "bos": self.bos,
            "tied_embeddings": self._model.get_output_embeddings().weight is self._model.get_input_embeddings().weight,
            "logits": "decoder vector x final norm's gain x unembedding"
            + (", mean removed" if self._architecture.layer_norm else ""),
        }


def _before(point: HookPoint, keep: Any) -> Any:
    def hook(module: torch.nn.Module, arguments: tuple, keywords: dict) -> None:
        keep(point, arguments[0] if arguments else keywords.get("hidden_states", keywords.get("input")))

    return hook


def _after(point: HookPoint, keep: Any) -> Any:
    def hook(module: torch.nn.Module, arguments: tuple, output: Any) -> None:
        keep(point, output)

    return hook


def _fuse_activations(model: torch.nn.Module) -> None:
    """Have GPT-2's activation, which transformers writes out in seven steps, computed in one: the same formula, and a quarter of
    a layer's time on a processor."""
    from transformers.activations import NewGELUActivation

    for module in model.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
