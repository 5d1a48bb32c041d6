"""Weights for a dictionary that was imported without them: checked against what is known of it, then joined.

What the import says stays. What it does not say, and weights do, is added: decoder vectors, norms and, with the model,
effects on logits and the space of the vectors.
"""

from __future__ import annotations

import collections
import datetime
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy
import pyarrow
import pyarrow.compute

import featurestore
from featurestore import BadRequest, Conflict
from featurestore.extension.locations import remember_locations
from featurestore.extension.progress import Progress, no_progress
from ingest.harvest import shards
from ingest.harvest.store_rows import Unembedding, make_dictionary_row, make_weight_columns, writes_to_stream
from ingest.model.model import Model
from ingest.model.vocabulary import token_bytes
from ingest.sae import Sae
from ingest.statistics.logits import compute_logit_effects

if TYPE_CHECKING:
    from featurestore import Dictionary, Store, Writer

SAMPLED = 64  # features whose effects on logits are compared
# The tokens that the files name lie, on average, so many standard deviations from the mean effect.
LEAST_SPREAD = 1.0
LEAST_SHARE = 0.8  # of the sampled features
# Facts that weights give, and that must agree with what the row of the dictionary says already.
COMPARED = ("d_sae", "d_in", "d_out", "hook_point", "hook_point_out", "weights_hash", "space")
# Columns of stored.dictionaries that an import may leave open, and weights fill.
FILLED = (
    *("architecture", "hook_point", "hook_point_out", "layer", "site", "d_in", "d_out", "space"),
    *("model_location", "model_hash", "weights_location", "weights_hash"),
)


class AttachReport(NamedTuple):
    """What was attached: `compared` features had effects on logits to compare, of which `agreeing` agree."""

    dictionary: str
    features: int
    compared: int
    agreeing: int
    logits: bool  # whether effects on logits were computed


def attach_weights(
    store: Store, name: str, sae: Sae, model: Model | None = None, progress: Progress = no_progress
) -> AttachReport:
    """Join weights to a dictionary of `store` that has none, in one commit.

    With `model` effects on logits are computed, and a sample of them is compared with the tokens that the dictionary's
    files name. Raises BadRequest for weights of another dictionary, Conflict if it has vectors already.
    """
    dictionary = store.dictionary(name)
    if store.info().parts.get("decoder_vectors") and _has_vectors(store, name):
        raise Conflict(f"{name} has decoder vectors already; `featurestore harvest --replace` replaces a dictionary")
    facts = make_dictionary_row(dictionary.model, dictionary.source, sae, model)
    settings = _read_settings(dictionary)
    is_counted = settings.get("import", {}).get("d_sae") == "counted" and sae.d_sae > dictionary.d_sae
    # Files of an import say of few features at the end that they are there: d_sae was counted, and may be too small.
    _compare(dictionary, {name: value for name, value in facts.items() if not (name == "d_sae" and is_counted)})
    has_effects = model is not None and writes_to_stream(model, sae)
    unembedding = Unembedding.of(model, token_bytes(model.tokenizer)) if model and has_effects else None
    compared, agreeing = _compare_logits(store, name, sae, unembedding) if unembedding else (0, 0)
    if compared and agreeing < LEAST_SHARE * compared:
        raise BadRequest(
            f"the weights at {sae.location} are not those of {name}: of {compared} features with known top tokens, "
            f"{agreeing} raise these tokens"
        )
    row = msgspec.to_builtins(dictionary, builtin_types=(datetime.datetime,))
    row |= {column: facts[column] for column in FILLED if row[column] is None}
    if is_counted:
        row |= {"d_sae": sae.d_sae}
        row |= {"settings": json.dumps(settings | {"import": settings["import"] | {"d_sae": "stated"}})}
    stage = progress(f"attaching weights to {name}", sae.d_sae)
    with store.writer(f"featurestore {featurestore.__version__} attach-weights") as writer:
        for table in ("dictionaries", "features", "feature_rows"):
            writer.remove(table, name)
        writer.add("dictionaries", pyarrow.Table.from_pylist([row]), key=name)
        remember_locations(facts["model_location"], facts["weights_location"])
        for first in range(0, sae.d_sae, shards.SHARD):
            last = min(first + shards.SHARD, sae.d_sae)
            _write_shard(store, writer, name, first, sae.part(first, last), unembedding)
            stage(last - first)
    return AttachReport(name, sae.d_sae, compared, agreeing, unembedding is not None)


def _read_settings(dictionary: Dictionary) -> dict[str, Any]:
    """Return the settings of a dictionary, with what its import remembers as "import"; {} where they say nothing."""
    try:
        settings = json.loads(dictionary.settings or "{}")
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) and isinstance(settings.get("import", {}), dict) else {}


def _has_vectors(store: Store, name: str) -> bool:
    try:
        store.vector(f"{name}/0")
    except featurestore.NotFound:
        return False
    return True


def _compare(dictionary: Dictionary, facts: Mapping[str, Any]) -> None:
    """Raise BadRequest where the weights say another thing than the dictionary's row."""
    for name in COMPARED:
        known, stated = getattr(dictionary, name), facts.get(name)
        if known is not None and stated is not None and known != stated and not (name == "space" and "/" in stated):
            raise BadRequest(
                f"the weights at {facts['weights_location']} are not those of {dictionary.dictionary}: "
                f"its {name} is {known}, theirs {stated}"
            )


def _compare_logits(store: Store, name: str, sae: Sae, unembedding: Unembedding) -> tuple[int, int]:
    """Return of how many features the top tokens are known, of a sample, and how many of these raise them."""
    rows = store.sql(
        "SELECT feature, top_logits FROM stored.features WHERE dictionary = $name AND len(top_logits) > 0 "
        "ORDER BY hash(feature) LIMIT $rows",
        {"name": name, "rows": SAMPLED},
    ).to_pylist()
    counts = collections.Counter(unembedding.pieces)
    # Tokens that are parts of characters share a text, which names none of them.
    numbers = {text: id for id, text in enumerate(unembedding.pieces) if counts[text] == 1}
    compared = agreeing = 0
    for row in rows:
        ids = [numbers.get(each["token"]) if each["id"] is None else each["id"] for each in row["top_logits"]]
        known = [id for id in ids if id is not None and 0 <= id < len(unembedding.pieces)]
        if not known:
            continue
        vector = sae.part(row["feature"], row["feature"] + 1).W_dec_total
        effects = compute_logit_effects(vector, unembedding.matrix, unembedding.centred)
        values = (unembedding.matrix[known].float() @ _centre(vector, unembedding.centred)).cpu().numpy()
        compared += 1
        agreeing += bool(values.mean() - effects.mean[0] >= LEAST_SPREAD * effects.std[0])
    return compared, agreeing


def _centre(vector: Any, centred: bool) -> Any:
    flat = vector[0].float()
    return flat - flat.mean() if centred else flat


def _write_shard(
    store: Store, writer: Writer, name: str, first: int, sae: Sae, unembedding: Unembedding | None
) -> None:
    """Write the features from `first` on again, with what the weights say beside what is known, and their vectors."""
    old = store.sql(
        "FROM stored.features WHERE dictionary = $name AND feature >= $first AND feature < $last ORDER BY feature",
        {"name": name, "first": first, "last": first + sae.d_sae},
    )
    if len(old) < sae.d_sae:
        numbers = numpy.setdiff1d(numpy.arange(first, first + sae.d_sae, dtype=numpy.int32), old["feature"].to_numpy())
        more = pyarrow.table({"dictionary": pyarrow.array([name] * len(numbers), pyarrow.string()), "feature": numbers})
        old = pyarrow.concat_tables([old.to_arrow(), more], promote_options="default").sort_by("feature")
    computed = make_weight_columns(name, first, sae, unembedding)
    columns = {column: old[column].combine_chunks() for column in old.column_names}
    if unembedding is not None:
        computed["logit_histogram_edges"] = _find_reach(computed)
    for column, values in computed.items():
        if column not in ("dictionary", "feature"):
            columns[column] = _fill(columns[column], values)
    writer.add("features", pyarrow.table(columns), key=name, shard=first // shards.SHARD)
    writer.add_vectors(name, sae.W_dec.float().cpu().numpy(), shard=first // shards.SHARD, targets=sae.targets)


def _fill(known: pyarrow.Array, values: Any) -> pyarrow.Array:
    """Return a column with `values` where nothing is known."""
    given = pyarrow.array(values) if isinstance(values, numpy.ndarray) else values
    if pyarrow.types.is_nested(known.type):
        return pyarrow.array(
            [new if old is None else old for old, new in zip(known.to_pylist(), given.to_pylist(), strict=True)],
            known.type,
        )
    return pyarrow.compute.coalesce(known, given.cast(known.type))


def _find_reach(computed: Mapping[str, Any]) -> pyarrow.Array:
    """Return the edges of each computed histogram of effects: the import's own top tokens may have other effects."""
    lowest = [effects[0]["value"] for effects in computed["bottom_logits"].to_pylist()]
    highest = [effects[0]["value"] for effects in computed["top_logits"].to_pylist()]
    ends = [[low, high] if low < high else None for low, high in zip(lowest, highest, strict=True)]
    return pyarrow.array(ends, pyarrow.list_(pyarrow.float64()))
