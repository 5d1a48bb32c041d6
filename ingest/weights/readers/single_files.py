"""Dictionaries published as one pickle each: Goodfire's, qresearch's for DeepSeek R1, and connor_rob's on attention."""

from __future__ import annotations

import re
from typing import Any

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.keys import check_keys, words
from ingest.weights.place import Place, whole, word

FORMAT = "Goodfire"
FILES = ("Llama-3.1-8B-Instruct-SAE-l19.pth",)
OWNERS = {"Llama": "meta-llama", "DeepSeek": "deepseek-ai"}
NAME = re.compile(r"((Llama|DeepSeek)-[\w.-]+?)-SAE-l(\d+)")
HARMLESS = words("buffer_mult buffer_batches dict_mult seq_len enc_dtype site layer head d_mlp remove_rare_dir")
# (encoder, decoder) as the linear layers are called by those who publish them
LINEAR = {"encoder_linear": ("encoder_linear", "decoder_linear"), "encoder": ("encoder", "decoder")}


def recognises(place: Place) -> bool:
    """Whether the place is a pickle of a name or with tensors as these have."""
    if place.path.suffix not in (".pt", ".pth"):
        return False
    if place.path.with_name(f"{place.path.stem}_cfg.json").is_file():
        return True
    names = place.names()
    return "encoder_linear.weight" in names or ("encoder.weight" in names and bool(NAME.search(place.words)))


def read(place: Place) -> Sae:
    """The dictionary. Model and layer are in the file's name, or beside it."""
    config_file = place.path.with_name(f"{place.path.stem}_cfg.json")
    if config_file.is_file():
        return _on_attention(place, place.config(config_file), config_file)
    match = NAME.search(place.words)
    if not match and "hook_point" not in place.options:
        raise BadRequest(
            f"{place.path}: its name has no MODEL-SAE-lLAYER, as Llama-3.1-8B-Instruct-SAE-l19.pth has; name what it "
            "reads: "
            f"{place.location}?hook_point=blocks.19.hook_resid_post"
        )
    tensors = place.tensors(place.path)
    encoder, decoder = LINEAR["encoder_linear" if "encoder_linear.weight" in tensors else "encoder"]
    return Sae(
        W_enc=tensors.take(f"{encoder}.weight", "n d").T,
        b_enc=tensors.take(f"{encoder}.bias", "n"),
        W_dec=tensors.take(f"{decoder}.weight", "d n").T,
        b_dec=tensors.take(f"{decoder}.bias", "d"),
        hook_point=place.option("hook_point", f"blocks.{match[3]}.hook_resid_post" if match else None),
        model_name=f"{OWNERS[match[2]]}/{match[1]}" if match else None,
        inferred=("hook and model are concluded from the file's name",) if match else (),
        activation="relu",
        architecture="standard",
        **place.common("Goodfire" if encoder == "encoder_linear" else "qresearch", place.path),
    )


def _on_attention(place: Place, config: dict[str, Any], file: Any) -> Sae:
    """connor_rob's: SAELens's names; reads every head's result side by side."""
    check_keys(place, file, config, {"act_size", "dict_size", "act_name", "model_name"}, HARMLESS)
    tensors = place.tensors(
        place.path, file.name, d=whole(config, "act_size", file), n=whole(config, "dict_size", file)
    )
    return Sae(
        W_enc=tensors.take("W_enc", "d n"),
        b_enc=tensors.take("b_enc", "n"),
        W_dec=tensors.take("W_dec", "n d"),
        b_dec=tensors.take("b_dec", "d"),
        hook_point=place.option("hook_point") or word(config, "act_name", file),
        subtract_b_dec=True,
        model_name="openai-community/gpt2",
        context_size=128,
        inferred=("the model is taken to be GPT-2 small, as of all that were published so",),
        activation="relu",
        architecture="standard",
        **place.common("connor_rob", place.path),
    )
