"""What a harvest would read and take, measured on its first units, without storing anything."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from ingest.harvest.plan import Documents, HarvestOptions, make_plan
from ingest.harvest.resources import Resources
from ingest.model.model import Model
from ingest.sae import Sae

if TYPE_CHECKING:
    from featurestore import Store

UNITS = 2  # the first is timed only if there is no other: it waits for threads and memory


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a harvest would read and take."""

    documents: int
    tokens: int
    contexts: int
    context_size: int
    resources: Resources
    tokens_per_second: float
    seconds: float
    notes: tuple[str, ...]


def estimate(
    store: Store,
    model: Model,
    dictionaries: Mapping[str, Sae],
    documents: Documents,
    *,
    model_id: str,
    options: HarvestOptions,
) -> Estimate:
    """Return what a harvest would take. Reads the corpus; the model runs over two units of it at most.

    The time is that of counting on one process, to which comes what a harvest needs whatever the corpus. Raises what
    `make_plan` raises.
    """
    plan = make_plan(store, model, dictionaries, documents, model_id=model_id, options=options)
    forward_pass = plan.forward_pass
    tokens = [int(forward_pass.contexts.length[unit].sum()) for unit in forward_pass.units]
    speed = 0.0
    for unit, size in zip(forward_pass.units[:UNITS], tokens, strict=False):
        statistics = forward_pass.begin(plan.rounds[0])
        began = time.monotonic()
        forward_pass.count(unit, statistics)
        speed = size / max(time.monotonic() - began, 1e-6)
    return Estimate(
        documents=len(forward_pass.corpus.names),
        tokens=forward_pass.corpus.size,
        contexts=len(forward_pass.contexts),
        context_size=plan.context_size,
        resources=plan.resources,
        tokens_per_second=speed,
        seconds=sum(tokens) * len(plan.rounds) / speed if speed else 0.0,
        notes=plan.notes,
    )
