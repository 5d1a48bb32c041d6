"""What fields of values may be, as the OpenAPI document says it. Values are not checked against it here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

STATES = ("live", "dead", "always-on", "unharvested")
METHODS = ("detection", "fuzzing", "intruder", "simulation", "embedding")
EXPLAINERS = ("human", "tokens")
JOB_STATES = ("running", "done", "failed", "cancelled", "interrupted")
NODE_KINDS = ("feature", "error", "token", "logit", "other")


def _or_else(choices: Sequence[str], **other: Any) -> dict[str, Any]:
    """Return the schema of a text that is one of these, or else another."""
    return {"anyOf": [{"type": "string", "enum": list(choices)}, {"type": "string"} | other]}


State = Annotated[
    str,
    Meta(
        description="Whether it fires: live, dead (never), always-on (on over a fifth of the tokens), unharvested.",
        extra_json_schema={"enum": list(STATES)},
    ),
]
Band = Annotated[
    str,
    Meta(
        description="Why an example was kept: top, or the interval of activations it was sampled from.",
        extra_json_schema=_or_else(["top"], description="An interval, as in [1, 2), or an import's own name."),
    ),
]
Explainer = Annotated[
    str,
    Meta(
        description="Who says so.",
        extra_json_schema=_or_else(
            EXPLAINERS, description="human:NAME for one of several people, or the name of a language model."
        ),
    ),
]
Method = Annotated[
    str,
    Meta(
        description="How a label was scored.",
        extra_json_schema=_or_else(METHODS, description="The name of an imported method."),
    ),
]
JobState = Annotated[
    str,
    Meta(
        description="How the work ended, or running; interrupted: its process died.",
        extra_json_schema={"enum": list(JOB_STATES)},
    ),
]
NodeKind = Annotated[
    str,
    Meta(
        description="What a node is: other where its file says something that is not known.",
        extra_json_schema={"enum": list(NODE_KINDS)},
    ),
]
