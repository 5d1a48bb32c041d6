"""EleutherAI's sparsify: HOOKPOINT/{cfg.json, sae.safetensors}, HOOKPOINT/seedN/… ; the directory says what is read."""

from __future__ import annotations

import re
from pathlib import Path

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.keys import check_keys, refuse_key, words
from ingest.weights.place import Place, whole

FORMAT = "sparsify"
CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
FILES = (CONFIG, WEIGHTS)
TAKEN = words("d_in num_latents expansion_factor k activation transcode skip_connection signed")


def recognises(place: Place) -> bool:
    """Whether sae.safetensors and cfg.json are there."""
    file = place.file(WEIGHTS)
    return file is not None and (file.parent / CONFIG).is_file()


def read(place: Place) -> Sae:
    """The dictionary: the k largest, or the largest of k groups. Transcoders made before 2025-02-12 subtracted b_dec
    from their input; the files do not say which they are, so ?subtract_b_dec=true does."""
    file = place.folder / CONFIG
    config = place.config(file)
    check_keys(place, file, config, TAKEN, {"normalize_decoder", "multi_topk"})
    d = whole(config, "d_in", file)
    # 0 latents: as many as the factor says.
    n = config.get("num_latents") or d * whole({"expansion_factor": 32} | config, "expansion_factor", file)
    k = whole({"k": 32} | config, "k", file)
    activation = config.get("activation", "topk")
    if activation not in ("topk", "groupmax"):
        raise BadRequest(f"{file}: activation '{activation}' cannot be read; known: topk, groupmax")
    if k > n or (activation == "groupmax" and n % k):
        raise BadRequest(f"{file}: k is {k}, which {activation} of {n} features cannot have")
    if config.get("signed") and activation != "topk":
        raise refuse_key(place, file, "signed", True, f"no {activation} with it is known")
    tensors = place.tensors(place.folder / WEIGHTS, CONFIG, d=d, n=n)
    if "W_dec" not in tensors:
        raise BadRequest(f"{tensors.file} has no tensor W_dec: it was saved without its decoder")
    transcoder = bool(config.get("transcode"))
    skip = "W_skip" in tensors
    if config.get("skip_connection") and not skip:
        raise BadRequest(f"{tensors.file} has no tensor W_skip, but {CONFIG} says skip_connection")
    reads, writes = _hooks(place, transcoder)
    return Sae(
        W_enc=tensors.take("encoder.weight", "n d").T,
        b_enc=tensors.take("encoder.bias", "n"),
        W_dec=tensors.take("W_dec", "n o"),
        b_dec=tensors.take("b_dec", "o"),
        W_skip=tensors.take("W_skip", "o d") if skip else None,
        activation=activation,
        architecture="_".join(filter(None, (activation, "skip" if skip else "", "transcoder" if transcoder else ""))),
        k=k,
        signed=bool(config.get("signed")),
        subtract_b_dec=not transcoder,
        hook_point=reads,
        hook_point_out=writes,
        inferred=("the hook is concluded from the directory's name",) if "hook_point" not in place.options else (),
        promised_l0=(float(k), float(k)),
        promised_by=f"{CONFIG}: k {k}",
        **place.common(FORMAT, tensors.file),
    )


def _hooks(place: Place, transcoder: bool) -> tuple[str, str | None]:
    """By the directory, which is a module's path below the decoder; it was trained on that module's output."""
    if "hook_point" in place.options:
        return place.options["hook_point"], place.options.get("hook_point_out")
    parts = [part for part in Path(place.words).parts if part != WEIGHTS and not re.fullmatch(r"seed\d+", part)]
    module = parts[-1].partition("@")[0]
    if match := re.fullmatch(r"(?:\w+\.)*(?:layers|h)\.(\d+)", module):
        places = (f"blocks.{match[1]}.hook_resid_pre", f"blocks.{match[1]}.hook_resid_post")
        return places if transcoder else (places[1], None)
    if not re.fullmatch(r"(?:\w+\.)*(?:layers|h)\.\d+\.[\w.]+|(?:\w+\.)*(embed_tokens|wte|embed_in)", module):
        raise BadRequest(
            f"{place.folder}: its name is no module, as layers.10 or h.3.attn are, so nobody knows what the "
            "dictionary reads; "
            f"name it: {place.location}?hook_point=layers.10.mlp.output"
        )
    return (f"{module}.input", f"{module}.output") if transcoder else (f"{module}.output", None)
