"""A feature to a prompt, and a reply to a label. Pure: what is asked of the store or a model comes in as an argument."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from featurestore import Example, Feature
from labeler.llm.endpoint import MAX_REPLY, Answer
from labeler.prompts import Prompt

EXAMPLES = 10  # of the top band; of each sampled band the strongest
STRONG = 0.25  # of the feature's maximum: what is marked as active
MAX_LABEL = 300  # characters; a longer reply is no label
LOGITS = 10  # tokens named on each side
OTHERS = 8  # texts of neighbours
SHOWING = frozenset({"pairs", "windows"})  # places that hold examples; beside them logits are an aside
SCHEMA = {
    "name": "label",
    "schema": {
        "type": "object",
        "properties": {"label": {"type": "string"}},
        "required": ["label"],
        "additionalProperties": False,
    },
}
LONGER = 4  # times the tokens, when a reply was cut off
NOT_READ = 'That was not readable. Answer with one line of JSON and nothing else: {"label": "..."}'
SAY_BETTER = {
    "vague": "That says too little: it would fit almost any text. Look again at what the marked tokens and their "
    'surroundings share that other texts do not have, and be specific. Answer with JSON only: {"label": "..."}',
    "foreign": 'Say the same in the language of the instructions. Answer with JSON only: {"label": "..."}',
}
_REFUSAL = re.compile(r"^(i'm sorry|i am sorry|sorry,|i cannot|i can't|as an ai)", re.IGNORECASE)
# A label of these words alone says nothing: it fits every feature.
_EMPTY = frozenset(
    [
        "a",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "different",
        "diverse",
        "each",
        "every",
        "few",
        "for",
        "found",
        "from",
        "general",
        "generic",
        "has",
        "have",
        "in",
        "including",
        "into",
        "is",
        "it",
        "its",
        "like",
        "many",
        "mixed",
        "more",
        "most",
        "multiple",
        "not",
        "numerous",
        "of",
        "often",
        "on",
        "or",
        "other",
        "others",
        "related",
        "several",
        "some",
        "such",
        "that",
        "the",
        "their",
        "these",
        "this",
        "those",
        "to",
        "up",
        "used",
        "using",
        "variety",
        "various",
        "very",
        "wide",
        "with",
        "within",
        "across",
        "category",
        "categories",
        "common",
        "concept",
        "concepts",
        "content",
        "contents",
        "context",
        "contexts",
        "example",
        "examples",
        "form",
        "forms",
        "idea",
        "ideas",
        "information",
        "item",
        "items",
        "kind",
        "kinds",
        "meaning",
        "meanings",
        "miscellaneous",
        "pattern",
        "patterns",
        "phrase",
        "phrases",
        "piece",
        "pieces",
        "something",
        "subject",
        "subjects",
        "text",
        "texts",
        "thing",
        "things",
        "token",
        "tokens",
        "topic",
        "topics",
        "type",
        "types",
        "unclear",
        "unknown",
        "unrelated",
        "unspecific",
        "usage",
        "use",
        "uses",
        "varied",
        "word",
        "words",
        "writing",
        "no",
        "none",
        "clear",
        "specific",
        "single",
        "apparent",
        "obvious",
        "consistent",
        "theme",
        "themes",
    ]
)


class Unreadable(Exception):
    """The reply holds no label; the message says in a few words why, so that reasons can be counted."""


class Lacking(Exception):
    """The feature lacks what the prompt asks about: examples, say. The message says what."""


class Explained(NamedTuple):
    """A label, how many examples the model saw, and its `flaw`, "vague" or "foreign", where a second question did not help."""

    label: str
    examples: int
    flaw: str | None = None


def explain(page: Feature, prompt: Prompt, ask: Callable[..., Answer], others: Sequence[Example] = ()) -> Explained:
    """A label of the feature. Asks once more, in the same conversation, after a reply that is unreadable, vague or foreign.

    `others` are examples of its neighbours on which it is silent. Raises Lacking or Unreadable.
    """
    talk = messages(page, prompt, others)
    seen = len(shown(page)) if prompt.places & SHOWING else 0
    answer = ask(talk, about=page.id, schema=SCHEMA)
    try:
        label = label_of(answer)
    except Unreadable:
        if answer.finish == "length":
            # The same question with more room: a model that thinks aloud may need it.
            again = ask(talk, about=page.id, schema=SCHEMA, max_tokens=LONGER * MAX_REPLY)
        else:
            again = ask(further(talk, answer, NOT_READ), about=page.id, schema=SCHEMA)
        answer, label = again, label_of(again)
    flaw = flaw_of(label, prompt)
    if flaw is None:
        return Explained(label, seen)
    again = ask(further(talk, answer, SAY_BETTER[flaw]), about=page.id, schema=SCHEMA)
    try:
        second = label_of(again)
    except Unreadable:
        return Explained(label, seen, flaw)
    return Explained(second, seen, flaw_of(second, prompt))


def further(talk: list[dict[str, str]], answer: Answer, question: str) -> list[dict[str, str]]:
    said = answer.text.strip()[:2000] or "(nothing)"
    return [*talk, {"role": "assistant", "content": said}, {"role": "user", "content": question}]


def shown(page: Feature) -> list[Example]:
    """The examples an explainer sees: of those that are not held out the ten strongest, and the strongest of each sampled
    band. A scorer that is to be fair takes those held out."""
    bands: dict[str, list[Example]] = {}
    for one in page.examples:
        if not one.held_out:
            bands.setdefault(one.band, []).append(one)
    return [one for band, found in bands.items() for one in found[: EXAMPLES if band == "top" else 1]]


def messages(page: Feature, prompt: Prompt, others: Sequence[Example] = ()) -> list[dict[str, str]]:
    """The conversation that asks for a label. Raises Lacking when the feature has not what the prompt asks about."""
    if not page.top_logits and not prompt.places & SHOWING:
        raise Lacking("no logits")
    return prompt.filled({place: _PLACED[place](page, others) for place in prompt.places})


def _pairs(page: Feature, others: Sequence[Example]) -> str:
    largest = page.max_activation or 1.0
    lines = []
    for number, example in enumerate(_some(page), 1):
        active = [
            f"{token!r} {max(1, round(10 * value / largest))}"
            for token, value in zip(example.tokens, example.activations, strict=True)
            if value > STRONG * largest
        ]
        lines.append(f"Text {number}:\n{example.marked(STRONG * largest)}\nActive: {', '.join(active) or 'weakly'}\n")
    return "\n".join(lines)


def _windows(page: Feature, others: Sequence[Example]) -> str:
    largest = page.max_activation or 1.0
    return "\n".join(f"Text {n}:\n{one.marked(STRONG * largest)}\n" for n, one in enumerate(_some(page), 1))


def _others(page: Feature, others: Sequence[Example]) -> str:
    if not others:
        raise Lacking("no texts of neighbours")
    return "\n".join(f"Text {n}:\n{''.join(one.tokens)}\n" for n, one in enumerate(others[:OTHERS], 1))


def _some(page: Feature) -> list[Example]:
    found = shown(page)
    if not found:
        raise Lacking("no examples")
    return found


def _promoted(page: Feature, others: Sequence[Example]) -> str:
    return ", ".join(repr(effect.token) for effect in page.top_logits[:LOGITS]) or "unknown"


def _suppressed(page: Feature, others: Sequence[Example]) -> str:
    return ", ".join(repr(effect.token) for effect in page.bottom_logits[:LOGITS]) or "unknown"


def _density(page: Feature, others: Sequence[Example]) -> str:
    return "unknown" if page.density is None else f"{page.density:.2g}"


_PLACED: dict[str, Callable[[Feature, Sequence[Example]], str]] = {
    "pairs": _pairs,
    "windows": _windows,
    "others": _others,
    "promoted": _promoted,
    "suppressed": _suppressed,
    "density": _density,
}


def silent(mine: Sequence[Example], theirs: Sequence[Example]) -> list[Example]:
    """Those of `theirs` (a neighbour's) that overlap none of `mine`: as far as kept examples tell, the feature is silent there."""
    spans: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for one in mine:
        spans.setdefault((one.corpus, one.document), []).append((one.start, one.start + len(one.tokens)))
    return [
        one
        for one in theirs
        if not any(
            start < one.start + len(one.tokens) and one.start < end
            for start, end in spans.get((one.corpus, one.document), ())
        )
    ]


def spoken(text: str) -> str:
    """A reply without what the model thought aloud before."""
    return re.sub(r"<think>.*?(</think>|\Z)", "", text, flags=re.DOTALL).strip()


def label_of(answer: Answer | str) -> str:
    """The label in a reply: its JSON, fenced or not, or else its one plain line. Raises Unreadable."""
    if isinstance(answer, str):
        answer = Answer(answer)
    text = spoken(answer.text)
    if not text:
        raise Unreadable("reply was cut off" if answer.finish == "length" else "empty reply")
    value = json_in(text)
    if value is not None:
        found = value.get("label")
        if not isinstance(found, str):
            raise Unreadable("JSON without a label")
        text = found
    elif "{" in text or answer.finish == "length":
        raise Unreadable("reply was cut off")
    text = re.sub(r"^(label|explanation):\s*", "", " ".join(text.split()), flags=re.IGNORECASE).strip("\"'` ")
    if not text:
        raise Unreadable("empty label")
    if len(text) > MAX_LABEL:
        raise Unreadable("reply too long for a label")
    if _REFUSAL.match(text):
        raise Unreadable("refusal")
    return text


def json_in(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text that is whole, or None."""
    decoder = json.JSONDecoder()
    for found in re.finditer(r"\{", text):
        try:
            value, _ = decoder.raw_decode(text, found.start())
        except ValueError:
            continue
        return value
    return None


def flaw_of(label: str, prompt: Prompt) -> str | None:
    """What is wrong with a label: "vague", "foreign" (in another script than the prompt), or None."""
    if vague(label):
        return "vague"
    return "foreign" if foreign(label) and not foreign(prompt.system) else None


def foreign(text: str) -> bool:
    """Whether most letters, outside quotes, are of another script than the Latin one."""
    outside = re.sub("\"[^\"]*\"|'[^']*'|`[^`]*`|“[^”]*”|‘[^’]*’|«[^»]*»|「[^」]*」", "", text)
    letters = [one for one in outside if one.isalpha()]
    latin = sum(one.isascii() or unicodedata.name(one, "").startswith("LATIN") for one in letters)
    return 2 * latin < len(letters)


def vague(label: str) -> bool:
    """Whether the label would fit any feature: "various topics", "words in different contexts", "no clear pattern"."""
    if re.search("[\"'`‘’“”«»]", label):
        return False  # it names something: the word 'for'
    words = re.findall(r"\w+", label.lower())
    return bool(words) and all(word in _EMPTY for word in words)
