"""Labels from token statistics, without a language model: which tokens a feature fires on, where, and what it predicts.

A label says how a feature differs from the corpus (token frequencies) and from all other features (the share of their
examples in a comment, in a string, at the start of a line ...). Knows no store and no model.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from labeler.explainers.glossary import describe_role

PROMPT = "tokens/1"
MAX_LENGTH = 140
MOST_TOKENS = 3  # named in a label
COVER = 0.5  # share of a feature's mass that named tokens must have
MIN_SHARE = 0.07  # a token with less of it is not named
MIN_LIFT = 3.0  # nor one that is not this much more frequent than in the corpus
CONTEXT_SHARE, CONTEXT_LIFT = 0.6, 1.6
VARIOUS = "various tokens"
OUTSTANDING = 1.35  # times the tenth largest logit
MAX_TOKEN = 24  # characters of one token shown


class Firing(NamedTuple):
    """One activation of a feature and the text around it. `mass` is its weight among the feature's firings."""

    mass: float
    token: str
    before: str  # text of the window up to the token
    after: str  # and after it


class FiringShares(NamedTuple):
    """What a feature fires on: the share of its mass for each token, whole word, previous token, context and kind of
    token.
    """

    tokens: Mapping[str, float]
    words: Mapping[str, float]
    previous: Mapping[str, float]
    contexts: Mapping[str, float]
    kinds: Mapping[str, float]


# Words end at underscores: in skip_bytes the word is bytes.
_WORD_END = re.compile(r"[^\W_]*$")
_WORD_START = re.compile(r"[^\W_]*")
_LAST_TOKEN = re.compile(r"(\w+|[^\w\s]+)\s*$")
_PROSE = re.compile(r"\b[a-z]{2,}[,.]? [a-z]+[,.]? [a-z]{2,}\b[^(=]*$")


def summarize(firings: Sequence[Firing]) -> FiringShares:
    """Return the shares of what the firings have in common."""
    counters: list[dict[str, float]] = [collections.defaultdict(float) for _ in FiringShares._fields]
    tokens, words, previous, contexts, kinds = counters
    total = sum(firing.mass for firing in firings) or 1.0
    for firing in firings:
        share = firing.mass / total
        token = firing.token.strip(" ") or firing.token
        tokens[token] += share
        left = _match_text(_WORD_END.search(firing.before)) if not firing.token.startswith((" ", "\n")) else ""
        right = _match_text(_WORD_START.match(firing.after))
        if token.isalnum():
            words[left + token + right] += share
        match = _LAST_TOKEN.search(firing.before[-40:])
        previous[match[1] if match else "\n"] += share
        kinds[describe_kind(firing.token, left, right)] += share
        for context in find_contexts(firing.before):
            contexts[context] += share
    return FiringShares(tokens, words, previous, contexts, kinds)


def _match_text(match: re.Match[str] | None) -> str:
    return match[0] if match else ""


def describe_kind(token: str, left: str, right: str) -> str:
    """Return what sort of token it is, in plain words."""
    bare = token.strip()
    if not bare:
        return "line breaks and indentation" if "\n" in token else "spaces"
    if bare.isdigit():
        return "numbers"
    if not any(character.isalnum() for character in bare):
        return "punctuation"
    if left:
        return "endings of words" if not right else "middles of words"
    if bare.isupper() and len(bare) > 1:
        return "upper-case names"
    if bare[0].isupper():
        return "capitalised words"
    return "beginnings of longer words" if right else "lower-case words"


def find_contexts(before: str) -> list[str]:
    """Return the contexts of a position, judged from the text before it."""
    line = before[before.rfind("\n") + 1 :]
    stripped = line.lstrip()
    contexts = []
    if not stripped:
        contexts.append("at the start of a line")
    if before.count('"""') % 2 or (not any(c in line for c in "=(#") and _PROSE.search(line)):
        contexts.append("in docstring prose")
    elif "#" in line:
        contexts.append("in a comment")
    elif (line.count('"') - line.count('\\"')) % 2 or (line.count("'") - line.count("\\'")) % 2:
        contexts.append("in a string")
    if stripped.startswith("def "):
        contexts.append("in a function signature")
    elif stripped.startswith("class "):
        contexts.append("in a class definition")
    elif stripped.startswith(("import ", "from ")):
        contexts.append("in an import statement")
    elif stripped.startswith(("if ", "elif ", "while ")):
        contexts.append("in a condition")
    elif stripped.startswith(("raise ", "except ")):
        contexts.append("in exception handling")
    elif stripped.startswith("return "):
        contexts.append("in a return statement")
    elif stripped.startswith(">>> "):
        contexts.append("in an interactive example")
    elif line.count("(") > line.count(")"):
        contexts.append("inside call brackets")
    elif line.count("[") > line.count("]"):
        contexts.append("inside square brackets")
    if before.endswith("."):
        contexts.append("as an attribute after a dot")
    return contexts


def select_outstanding(effects: Sequence[tuple[str, float]]) -> list[str]:
    """Return those of the promoted tokens (largest logit first) that stand out from the last of them.

    Every decoder vector has ten largest logits. For most vectors of early layers they are noise, all about as large.
    """
    return [token for token, value in effects if value >= OUTSTANDING * effects[-1][1]]


class Background(NamedTuple):
    """What firings of any feature have in common: token frequencies of the corpus, contexts of all features."""

    tokens: Mapping[str, float]
    contexts: Mapping[str, float]


def average(token_shares: Mapping[str, float], features: Iterable[FiringShares]) -> Background:
    """Return the background of all features, over a corpus with these token shares."""
    contexts: collections.Counter[str] = collections.Counter()
    count = 0
    for shares in features:
        count += 1
        contexts.update(shares.contexts)
    return Background(token_shares, {name: share / max(count, 1) for name, share in contexts.items()})


def write_label(shares: FiringShares, common: Background, promoted: Sequence[str]) -> str:
    """Return a readable label, at most 140 characters.

    `promoted` are the tokens whose logits the feature raises most, strongest first.
    """
    parts, roles = [_describe_subject(shares, common, promoted)], []
    contexts = [
        (share / max(common.contexts.get(name, 0.0), 1e-3) * share, name)
        for name, share in shares.contexts.items()
        if share >= CONTEXT_SHARE and share >= CONTEXT_LIFT * common.contexts.get(name, 0.0)
    ]
    parts[0] += "".join(f" {name}" for _, name in sorted(contexts, reverse=True)[:1])
    # Of a token that is mostly a piece of longer words, the token's own role would mislead: `in` of `install`.
    whole = [
        token
        for token in _select_named(shares.tokens, common.tokens)
        if not token.isalnum() or shares.words.get(token, 0.0) >= shares.tokens[token] / 2
    ]
    words = _select_named(shares.words, {})
    for word in [*whole, *(words if _sum_shares(shares.words, words) >= COVER else [])]:
        role = describe_role(word)
        if role and role not in roles and role not in parts[0]:
            roles.append(role)
    if roles and not parts[0].startswith(VARIOUS):
        parts.append(", ".join(roles[:2]))
    next_tokens = list(dict.fromkeys(quote(token) for token in promoted if token.strip()))[:2]
    text = ": ".join(parts)
    if next_tokens:
        with_next = f"{text}; then {', '.join(next_tokens)}"
        text = with_next if len(with_next) <= MAX_LENGTH else text
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def _describe_subject(shares: FiringShares, common: Background, promoted: Sequence[str]) -> str:
    tokens = _select_named(shares.tokens, common.tokens)
    words = _select_named(shares.words, {})
    previous = _select_named(shares.previous, {})
    after = f" after {_join(previous[:2])}" if _sum_shares(shares.previous, previous[:2]) >= 0.6 else ""
    if _sum_shares(shares.tokens, tokens) >= COVER:
        # A piece of one word, or of a few, is better known by the words.
        whole = [word for word in words if word not in tokens]
        if whole and _sum_shares(shares.words, words) >= COVER and set(words) != set(tokens):
            return f"{_join(tokens)} in {_join(words)}{after}"
        return f"{_join(tokens)}{after}"
    if words and _sum_shares(shares.words, words) >= COVER:
        return f"pieces of {_join(words)}{after}"
    kinds = [name for name, share in shares.kinds.items() if share >= 0.6]
    examples = [token for token, _ in collections.Counter(shares.tokens).most_common(3)]
    sort = kinds[0] if kinds else VARIOUS
    return f"{sort}{after}, such as {_join(examples)}"


def _select_named(shares: Mapping[str, float], usual: Mapping[str, float]) -> list[str]:
    """The few tokens worth naming: they have much of the mass, and more than in the corpus."""
    ranked = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_TOKENS]
    return [name for name, share in ranked if share >= MIN_SHARE and share >= MIN_LIFT * usual.get(name, 0.0)]


def _sum_shares(shares: Mapping[str, float], names: Iterable[str]) -> float:
    return sum(shares.get(name, 0.0) for name in names)


def _join(tokens: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(quote(token) for token in tokens))


def quote(token: str) -> str:
    """Return a token as a label shows it: in quotes, without outer spaces, line breaks and runs of spaces by name."""
    bare = token.strip(" ")
    if not bare:
        return "spaces" if len(token) > 1 else "a space"
    if not bare.strip():
        return "line break" if not token.rstrip("\n ") and token.endswith("\n") else "line break and indentation"
    shown = bare.replace("\n", "⏎").replace("\t", "⇥")
    shown = shown if len(shown) <= MAX_TOKEN else shown[: MAX_TOKEN - 1] + "…"
    return f'"{shown}"' if "'" in shown else f"'{shown}'"
