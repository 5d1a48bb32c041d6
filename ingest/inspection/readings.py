"""Readings of a file of no known format, tried on a model's activations: the one that explains most is what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from featurestore import BadRequest
from ingest.corpus.corpus import Corpus
from ingest.inspection.selftest import Read, measure_values, read_values
from ingest.model.model import Model
from ingest.weights import read
from ingest.weights.place import with_options
from ingest.weights.proposal import Proposal

FLOP = 2e13  # all readings together: a minute or two
FEWEST = 100
GAIN = 0.02  # variance explained that another reading must add to what the files say
MOST = 400


def try_readings(proposal: Proposal, model: Model, corpus: Corpus) -> list[dict[str, Any]]:
    """Returns what each reading of a proposal measures, the best first; empty if the model has no place of its width.

    Where no place is known, the stream after each layer is tried. A row has reading, location, and the results of
    `selftest.measure_values`.
    """
    hooks = [proposal.hook_point] if proposal.hook_point else _list_places(model)
    readings = [("as proposed", proposal.location), *proposal.others]
    rows: list[dict[str, Any]] = []
    for hook in hooks:
        values: list[Read] | None = None
        for name, location in readings[: max(1, MOST // len(hooks))]:
            placed = location if proposal.hook_point else with_options(location, hook_point=hook)
            try:
                sae = read(placed)
                if values is None:
                    each = 4 * sae.d_sae * (sae.d_in + sae.d_out) * len(readings) * len(hooks)
                    values = _keep(list(read_values(sae, model, corpus)), max(FEWEST, int(FLOP / each)))
                measures = measure_values(sae, values)
            except BadRequest:
                continue  # of another width, or without what the reading needs
            rows.append({"reading": name, "location": placed, "hook_point": hook, **measures})
    return _rank(rows)


def _list_places(model: Model) -> list[str]:
    return [f"blocks.{layer}.hook_resid_post" for layer in range(model.layers)]


def _keep(values: Sequence[Read], most: int) -> list[Read]:
    """Returns the values on the first `most` tokens."""
    kept = []
    for part in values:
        if most <= 0:
            break
        kept.append(Read(part.x[:most], None if part.y is None else part.y[:most], part.left_out))
        most -= len(part.x)
    return kept


def _rank(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rows by variance explained, in steps so small that a proposal wins over what is hardly better."""

    def share_explained(row: dict[str, Any]) -> float:
        """Returns the variance explained."""
        share: float | None = row["variance_explained"]
        return -1e9 if share is None or share != share else share

    ranked = sorted(rows, key=lambda row: -share_explained(row))
    if not ranked:
        return []
    near = [row for row in ranked if share_explained(row) >= share_explained(ranked[0]) - GAIN]
    best = min(near, key=lambda row: (row["reading"] != "as proposed", row["l0"]))
    return [best, *(row for row in ranked if row is not best)]
