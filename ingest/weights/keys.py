"""Keys of configs: each is taken by its reader, known not to matter, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from featurestore import BadRequest

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.weights.place import Place

# How a dictionary was trained, logged and saved: nothing of it changes what the finished weights compute.
TRAINING = re.compile(
    r"""
    (?:adam|aux|autocast|batch(?!_?norm)|betas?$|buffer_size|bandwidth|cached?|ckpt|checkpoint|compil|dead|decay|device|dtype|epoch
      |eval|feature_sampling|finetune_|force_|ghost|gradient|grad_|hf_|init|jumprelu_|l0_|l1_|lp_|llm_|log|lr|micro_
      |mixing|model_batch|model_class|model_kwargs|mse_|multi_topk|mp_|n_batches|n_checkpoints|n_eval|n_restart|n_steps
      |neuronpedia|noise_|num_proc|num_steps|num_tokens|num_workers|optim|output_|prefetch|print|project|pre_act_loss|repo
      |resample|resume|revision|run_|sae_lens|save|sched|seed|shuffle|shard|sparsity_(?:coef|loss|penalty|warm)|steps?$
      |step_|store_batch|stream|tags$|target_l0|tokenizer_name|tokens_per|topk_threshold_lr|total_|train|upload|use_aux
      |use_auxk|use_ghost|use_matryoshka_aux|use_sparse_activations|use_cached|val_|verbose|version|wandb|warm|weight_decay)
      \w*
    |\w*(?:_lr|_seed|_steps|_coef(?:ficient)?|_coeff|_wandb|_dataset|_device|_dtype|_loss_weight|_penalty|_warm_?up)
    |data(?:set|_)?\w*|split|text_column|column_name|max_examples|max_tokens|context_tokens|is_dataset_tokenized
    |use_chat_formatting|from_pretrained_path|activations_mixing_fraction|disable_concat_sequences|begin_\w+_token
    |sequence_separator_token|expansion_factor|act_store_device|b_dec_init_method|normalize_sae_decoder|noise_scale
    |scale_sparsity_penalty_by_decoder_norm|decoder_(?:init|heuristic|orthogonal|bias_init)\w*|normalize_decoder|kind
    |apply_b_dec_to_input_comment|description|notes?|name|title|author|license|created(?:_at)?|date|timestamp|url|doi
    """,
    re.VERBOSE | re.IGNORECASE,
)


def words(text: str) -> frozenset[str]:
    """Returns the words of a text: names of keys, written as a list."""
    return frozenset(text.split())


def is_off(value: Any) -> bool:
    """Tells whether a setting of this value is switched off: null, false or empty."""
    return value is None or value is False or (isinstance(value, str | list | tuple | dict) and not value)


def check_keys(
    place: Place,
    file: Path,
    config: Mapping[str, Any],
    taken: Collection[str],
    harmless: Collection[str] = (),
    within: str = "",
) -> None:
    """Checks that each key of a config is taken, known not to matter, off, or among the user's ?ignore=.

    Raises BadRequest that names the file and all other keys with their values.
    """
    unknown = [
        key
        for key, value in config.items()
        if key not in taken
        and key not in harmless
        and key not in place.ignore
        and not is_off(value)
        and not TRAINING.fullmatch(str(key))
    ]
    if unknown:
        shown = ", ".join(f"{within}{key} ({_shorten(config[key])})" for key in unknown[:6])
        raise BadRequest(
            f"{file}: {shown}: not known here, so what it changes would be left out without a word; if it does not "
            f"matter, read without it: {place.leave_out(*unknown)}"
        )


def refuse_key(place: Place, file: Path, key: str, value: Any, reason: str) -> BadRequest:
    """Returns the error for a key whose value cannot be honoured, with the location that leaves it out."""
    return BadRequest(
        f"{file}: {key} is {_shorten(value)}: {reason}; to read as if it were not there: {place.leave_out(key)}"
    )


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
