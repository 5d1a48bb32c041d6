"""A shape of a reply: what an endpoint sends, and the right label or the right reason why there is none."""

from typing import Any, NamedTuple

CUT, EMPTY, NO_LABEL, REFUSAL = "reply was cut off", "empty reply", "JSON without a label", "refusal"
DIFFER, FORM, LINES = "answers that differ", "the form without an answer", "several lines without a label"
EMPTY_LABEL, BROKEN, HIDDEN = "empty label", "broken JSON", "a label that cannot be shown"
LONG = "reply too long for a label"
B = "closing brackets"
J = '{"label": "closing brackets"}'
DRAFT = '{"label": "brackets"}'


class Shape(NamedTuple):
    """A message of an endpoint, its finish reason, and the label in it, or the reason why there is none."""

    kind: str
    content: Any
    label: str | None = None
    reason: str | None = None
    finish: str | None = "stop"
    beside: dict[str, Any] = {}  # noqa: RUF012 - further fields of the message, never changed


def label_all(kind: str, *pairs: tuple[Any, str]) -> list[Shape]:
    """Shapes of a kind, each with its label."""
    return [Shape(kind, content, label) for content, label in pairs]


def refuse_all(kind: str, *pairs: tuple[Any, str]) -> list[Shape]:
    """Shapes of a kind, each with the reason why it has no label."""
    return [Shape(kind, content, reason=reason) for content, reason in pairs]
