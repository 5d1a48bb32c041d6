"""A feature's page to a prompt, and a reply to a label. Pure: nothing here talks to anybody."""

from __future__ import annotations

import json
import re

from featurestore import Feature
from labeler.prompts import PAIRS, PAIRS_SYSTEM

PROMPT = PAIRS
EXAMPLES = 10  # of each band
STRONG = 0.25  # of the feature's maximum: what is marked as active
MAX_LABEL = 300  # characters; a longer reply is no label
_REFUSAL = re.compile(r"^(i'm sorry|i am sorry|sorry,|i cannot|i can't|as an ai)", re.IGNORECASE)


class UnreadableReply(Exception):
    """The reply holds no label; the message says in a few words why, so that reasons can be counted."""


def messages(page: Feature) -> list[dict[str, str]]:
    """The conversation that asks for a label: the strongest examples, one of each sampled band, and the logits."""
    largest = page.max_activation or 1.0
    shown = [example for example in page.examples if example.band == "top" or example.rank == 0]
    lines = []
    for number, example in enumerate(shown, 1):
        active = [
            f"{token!r} {max(1, round(10 * value / largest))}"
            for token, value in zip(example.tokens, example.activations, strict=True)
            if value > STRONG * largest
        ]
        lines.append(f"Text {number}:\n{example.marked(STRONG * largest)}\nActive: {', '.join(active) or 'weakly'}\n")
    promoted = ", ".join(repr(effect.token) for effect in page.top_logits[:10])
    lines.append(f"Tokens it makes more likely next: {promoted or 'unknown'}")
    return [{"role": "system", "content": PAIRS_SYSTEM}, {"role": "user", "content": "\n".join(lines)}]


def label_of(reply: str) -> str:
    """The label in a reply: its JSON, fenced or not, or else its one plain line. Raises UnreadableReply."""
    text = reply.strip()
    if not text:
        raise UnreadableReply("empty reply")
    found = re.search(r"\{.*\}", text, re.DOTALL)
    if found:
        try:
            value = json.loads(found[0])
            text = value["label"] if isinstance(value["label"], str) else ""
        except (ValueError, KeyError, TypeError):
            raise UnreadableReply("JSON without a label") from None
    elif "{" in text:
        raise UnreadableReply("reply was cut off")
    text = re.sub(r"^label:\s*", "", " ".join(text.split()), flags=re.IGNORECASE).strip("\"'` ")
    if not text:
        raise UnreadableReply("empty label")
    if len(text) > MAX_LABEL:
        raise UnreadableReply("reply too long for a label")
    if _REFUSAL.match(text):
        raise UnreadableReply("refusal")
    return text
