"""Ways to read weights that are easily mistaken for one another, tried when a dictionary does not do what it should."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from featurestore import BadRequest
from ingest.corpus.corpus import Corpus
from ingest.inspection.selftest import Read, agrees, measure_values, read_values
from ingest.model.model import Model
from ingest.sae import Sae
from ingest.weights.place import with_options

# Places that share a name, or that differ only by a norm's gain; see docs/weights.md.
SWAPPED = {
    "ln2.hook_normalized": ("mlp.hook_in", "hook_resid_mid"),
    "mlp.hook_in": ("ln2.hook_normalized", "hook_resid_mid"),
    "hook_mlp_in": ("mlp.hook_in", "hook_resid_mid"),
    "hook_resid_mid": ("mlp.hook_in", "ln2.hook_normalized"),
    "hook_resid_pre": ("hook_resid_post",),
    "hook_resid_post": ("hook_resid_pre",),
}
POOR = 0.5  # variance explained below which a reading is doubtful, even if L0 is as promised
PAIRS_FLOP = 1e13  # pairs of ways are tried on as many tokens as this allows: a minute or two
FEWEST = 100
GAIN = 0.05  # variance explained that another way must add to be preferred where L0 cannot tell


class Way(NamedTuple):
    """Another way to read: its name, and the options behind a location's question mark that select it."""

    name: str
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of each way, "as read" first, and the way that fits; None if none does.

    A row of `tried` has name, location and the results of `selftest.measure_values`.
    """

    tried: list[dict[str, Any]]
    fits: dict[str, Any] | None


def ways(sae: Sae, scale: float) -> Iterator[Way]:
    """Yields the documented mistakes for this dictionary. `scale` brings inputs to an average norm of sqrt(d_in)."""
    if sae.d_in == sae.d_out:
        yield Way(
            "b_dec not subtracted" if sae.subtract_b_dec else "b_dec subtracted",
            {"subtract_b_dec": not sae.subtract_b_dec},
        )
    if sae.norm != "none":
        yield Way("input as it is", {"norm": "none"})
    if sae.norm != "scale":
        yield Way("input scaled to the average norm", {"scale": scale})
        if sae.threshold is not None:
            yield Way("input and threshold scaled", {"scale": scale, "threshold_times": scale})
    elif sae.threshold is not None:
        yield Way("threshold times the scale", {"threshold_times": sae.scale})
        yield Way("threshold divided by the scale", {"threshold_times": 1 / sae.scale})
    if sae.norm not in ("l2", "layer_norm"):
        yield Way("each input of the same norm", {"norm": "l2"})
    words, layer = sae.hook_point.split(".", 2), 1
    if words[0] == "blocks" and len(words) == 3:
        for other in SWAPPED.get(words[2], ()):
            yield Way(f"reading {other}", {"hook_point": f"blocks.{words[layer]}.{other}"})
    if sae.d_in == sae.d_sae == sae.d_out:
        yield Way("matrices transposed", {"transposed": True})
    yield Way("without BOS" if sae.prepend_bos else "with BOS", {"prepend_bos": not sae.prepend_bos})
    yield Way("stream not centred" if sae.centred else "stream centred", {"centred": not sae.centred})
    yield Way(
        "value biases as in the model" if sae.fold_value_biases else "value biases folded",
        {"fold_value_biases": not sae.fold_value_biases},
    )


def compare(sae: Sae, model: Model, corpus: Corpus, result: dict[str, Any]) -> Verdict:
    """Tries every way alone and, if none fits, pairs of them. `result` is what `measure` gives for `sae` as read."""
    from ingest.weights import apply_options

    seen: dict[tuple[Any, ...], list[Read]] = {}

    def values_of(other: Sae) -> list[Read]:
        """Returns the values for a dictionary, read once for each place."""
        key = (other.reads, other.hook_point_out, tuple(model.begin(other.prepend_bos)))
        if key not in seen:
            seen[key] = list(read_values(other, model, corpus))
        return seen[key]

    norm = sum(float(read.x.norm(dim=1).sum()) for read in values_of(sae)) / result["tokens"]
    single = list(ways(sae, round(sae.d_in**0.5 / norm, 6)))
    tried = [_row(sae, "as read", {}, result)]
    same = {_signature(tried[0])}
    for together in (1, 2):
        combined = list(itertools.combinations(single, together))
        most = result["tokens"]
        if together == 2:
            each = 4 * sae.d_sae * (sae.d_in + sae.d_out) * max(len(combined), 1)
            most = min(most, max(FEWEST, int(PAIRS_FLOP / each)))
        for combination in combined:
            options: dict[str, Any] = {}
            for way in combination:
                options |= way.options
            if len(options) < sum(len(way.options) for way in combination):
                continue  # two values for the same option
            try:
                other = apply_options(sae, options)
                measures = measure_values(other, _first(values_of(other), most))
            except BadRequest:
                continue  # a place this model does not have, or of another width
            row = _row(other, " and ".join(way.name for way in combination), options, measures, sae.location)
            if _signature(row) not in same:  # without a BOS, for example, two ways are the same
                same.add(_signature(row))
                tried.append(row)
        if fits := _best(tried):
            return Verdict(tried, fits)
    return Verdict(tried, None)


def is_doubtful(sae: Sae, result: dict[str, Any]) -> bool:
    """Tells whether L0 is not as promised, or the variance explained is too low for a right reading."""
    explained = result["variance_explained"]
    return agrees(sae, result) is False or (explained is not None and explained < POOR)


def _first(seen: list[Read], most: int) -> Iterator[Read]:
    """Yields the values on the first `most` tokens."""
    for x, y, left_out in seen:
        if most <= 0:
            return
        yield Read(x[:most], None if y is None else y[:most], left_out)
        most -= len(x)


def _row(
    sae: Sae, name: str, options: dict[str, Any], result: dict[str, Any], location: str | None = None
) -> dict[str, Any]:
    row = {"reading": name, "location": with_options(location or sae.location, **options), **result}
    return row | {"agrees": agrees(sae, result)}


def _signature(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["l0"], row["variance_explained"], row["never_fired"]


def _best(tried: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns the way that fits; None if none does.

    Of the ways whose L0 agrees (of all, if nothing is promised) it is the one that explains most, if that is more than
    the mean explains. The reading as it is wins over others that are hardly better.
    """
    as_read = tried[0]

    def share_explained(row: dict[str, Any]) -> float:
        """Returns the variance explained, 0 if it is unknown."""
        explained: float | None = row["variance_explained"]
        return 0.0 if explained is None else explained

    fitting = [row for row in tried if row["agrees"] is not False and share_explained(row) >= 0]
    if not fitting:
        return None
    best = max(fitting, key=share_explained)
    if as_read in fitting and (best is as_read or share_explained(best) < share_explained(as_read) + GAIN):
        return as_read if share_explained(as_read) >= POOR or as_read["variance_explained"] is None else None
    return best if best["agrees"] or share_explained(best) >= share_explained(as_read) + GAIN else None
