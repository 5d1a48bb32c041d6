"""Other ways to read a dictionary that are mistaken for one another, tried where it does not do what was published."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from featurestore import BadRequest
from ingest.corpus.corpus import Corpus
from ingest.inspection.selftest import Read, agrees, measured, reads
from ingest.model.model import Model
from ingest.sae import Sae
from ingest.weights.place import with_options

# Places that one name is said of, or that differ only by a norm's gain; see docs/weights.md.
SWAPPED = {
    "ln2.hook_normalized": ("mlp.hook_in", "hook_resid_mid"),
    "mlp.hook_in": ("ln2.hook_normalized", "hook_resid_mid"),
    "hook_mlp_in": ("mlp.hook_in", "hook_resid_mid"),
    "hook_resid_mid": ("mlp.hook_in", "ln2.hook_normalized"),
    "hook_resid_pre": ("hook_resid_post",),
    "hook_resid_post": ("hook_resid_pre",),
}
POOR = 0.5  # variance explained below which a reading is doubted though L0 is as promised, or nothing is promised
PAIRS_FLOP = 1e13  # two ways together are tried on as many tokens as this allows: a minute or two
FEWEST = 100
GAIN = 0.05  # variance explained that another way must add to be preferred where L0 cannot tell


class Way(NamedTuple):
    """Another way to read: what is different, and the same as options behind a location's question mark."""

    name: str
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What each way gives, "as read" first, and the one that fits: None where none does. `tried` has name, options,
    location and what `selftest.measured` found."""

    tried: list[dict[str, Any]]
    fits: dict[str, Any] | None


def ways(sae: Sae, scale: float) -> Iterator[Way]:
    """The documented mistakes for this dictionary. `scale` brings its input to a norm of sqrt(d_in) on the average."""
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


def compare(sae: Sae, model: Model, corpus: Corpus, found: dict[str, Any]) -> Verdict:
    """Every way alone, then, where none fits, two together. `found` is what `measured` gives as it was read."""
    from ingest.weights import applied

    seen: dict[tuple[Any, ...], list[Read]] = {}

    def of(other: Sae) -> list[Read]:
        key = (other.reads, other.hook_point_out, tuple(model.begin(other.prepend_bos)))
        if key not in seen:
            seen[key] = list(reads(other, model, corpus))
        return seen[key]

    norm = sum(float(read.x.norm(dim=1).sum()) for read in of(sae)) / found["tokens"]
    single = list(ways(sae, round(sae.d_in**0.5 / norm, 6)))
    tried = [_row(sae, "as read", {}, found)]
    same = {_signature(tried[0])}
    for together in (1, 2):
        combined = list(itertools.combinations(single, together))
        most = found["tokens"]
        if together == 2:
            each = 4 * sae.d_sae * (sae.d_in + sae.d_out) * max(len(combined), 1)
            most = min(most, max(FEWEST, int(PAIRS_FLOP / each)))
        for some in combined:
            options: dict[str, Any] = {}
            for way in some:
                options |= way.options
            if len(options) < sum(len(way.options) for way in some):
                continue  # two ways to do the same
            try:
                other = applied(sae, options)
                result = measured(other, _first(of(other), most))
            except BadRequest:
                continue  # a place this model does not have, or of another width
            row = _row(other, " and ".join(way.name for way in some), options, result, sae.location)
            if _signature(row) not in same:  # where there is no BOS, say, it is the same
                same.add(_signature(row))
                tried.append(row)
        if fits := _best(tried):
            return Verdict(tried, fits)
    return Verdict(tried, None)


def doubted(sae: Sae, found: dict[str, Any]) -> bool:
    """Whether what was found is not what was promised, or too poor to be right."""
    explained = found["variance_explained"]
    return agrees(sae, found) is False or (explained is not None and explained < POOR)


def _first(seen: list[Read], most: int) -> Iterator[Read]:
    """What was read on the first `most` tokens."""
    for x, y, left_out in seen:
        if most <= 0:
            return
        yield Read(x[:most], None if y is None else y[:most], left_out)
        most -= len(x)


def _row(
    sae: Sae, name: str, options: dict[str, Any], found: dict[str, Any], location: str | None = None
) -> dict[str, Any]:
    row = {"reading": name, "location": with_options(location or sae.location, **options), **found}
    return row | {"agrees": agrees(sae, found)}


def _signature(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["l0"], row["variance_explained"], row["never_fired"]


def _best(tried: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The way that fits: of those whose L0 agrees (or of all, where nothing is promised) the one that explains most, if it
    explains more than the mean does. As it was read goes before others that are hardly better."""
    as_read = tried[0]

    def explained(row: dict[str, Any]) -> float:
        return row["variance_explained"] if row["variance_explained"] is not None else 0.0

    fitting = [row for row in tried if row["agrees"] is not False and explained(row) >= 0]
    if not fitting:
        return None
    best = max(fitting, key=explained)
    if as_read in fitting and (best is as_read or explained(best) < explained(as_read) + GAIN):
        return as_read if explained(as_read) >= POOR or as_read["variance_explained"] is None else None
    return best if best["agrees"] or explained(best) >= explained(as_read) + GAIN else None
