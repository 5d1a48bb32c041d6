"""Labels from token statistics, without a language model: which tokens a feature fires on, where, and what it predicts.

Pure: tables of examples in, labels out. What is said of a feature is contrasted with the corpus (token frequencies)
and with all other features (how often their examples lie in a comment, a string, at the start of a line ...).
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from labeler.explainers.glossary import role

PROMPT = "tokens/1"
MAX_LENGTH = 140
SAID = 3  # tokens named at most
COVER = 0.5  # share of a feature's mass that named tokens must have
MIN_SHARE = 0.07  # a token with less of it is not named
MIN_LIFT = 3.0  # nor one that is not this much more frequent than in the corpus
CONTEXT_SHARE, CONTEXT_LIFT = 0.6, 1.6
VARIOUS = "various tokens"
STANDING_OUT = 1.35  # times the tenth largest logit
MAX_TOKEN = 24  # characters of one token shown


class Firing(NamedTuple):
    """One activation of a feature and the text around it. `mass` is its weight among the feature's firings."""

    mass: float
    token: str
    before: str  # text of the window up to the token
    after: str  # and after it


class Seen(NamedTuple):
    """What a feature fired on: shares (summing to 1) of tokens, whole words, previous tokens and contexts."""

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


def see(firings: Sequence[Firing]) -> Seen:
    """Shares of what the firings have in common."""
    counters: list[dict[str, float]] = [collections.defaultdict(float) for _ in Seen._fields]
    tokens, words, previous, contexts, kinds = counters
    total = sum(firing.mass for firing in firings) or 1.0
    for firing in firings:
        share = firing.mass / total
        token = firing.token.strip(" ") or firing.token
        tokens[token] += share
        left = _WORD_END.search(firing.before)[0] if not firing.token.startswith((" ", "\n")) else ""  # type: ignore[index]
        right = _WORD_START.match(firing.after)[0]  # type: ignore[index]
        if token.isalnum():
            words[left + token + right] += share
        match = _LAST_TOKEN.search(firing.before[-40:])
        previous[match[1] if match else "\n"] += share
        kinds[kind(firing.token, left, right)] += share
        for context in where(firing.before):
            contexts[context] += share
    return Seen(tokens, words, previous, contexts, kinds)


def kind(token: str, left: str, right: str) -> str:
    """What sort of token it is, in plain words."""
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


def where(before: str) -> list[str]:
    """The contexts a position lies in, told from the text before it."""
    line = before[before.rfind("\n") + 1 :]
    stripped = line.lstrip()
    found = []
    if not stripped:
        found.append("at the start of a line")
    if before.count('"""') % 2 or (not any(c in line for c in "=(#") and _PROSE.search(line)):
        found.append("in docstring prose")
    elif "#" in line:
        found.append("in a comment")
    elif (line.count('"') - line.count('\\"')) % 2 or (line.count("'") - line.count("\\'")) % 2:
        found.append("in a string")
    if stripped.startswith("def "):
        found.append("in a function signature")
    elif stripped.startswith("class "):
        found.append("in a class definition")
    elif stripped.startswith(("import ", "from ")):
        found.append("in an import statement")
    elif stripped.startswith(("if ", "elif ", "while ")):
        found.append("in a condition")
    elif stripped.startswith(("raise ", "except ")):
        found.append("in exception handling")
    elif stripped.startswith("return "):
        found.append("in a return statement")
    elif stripped.startswith(">>> "):
        found.append("in an interactive example")
    elif line.count("(") > line.count(")"):
        found.append("inside call brackets")
    elif line.count("[") > line.count("]"):
        found.append("inside square brackets")
    if before.endswith("."):
        found.append("as an attribute after a dot")
    return found


def standing_out(effects: Sequence[tuple[str, float]]) -> list[str]:
    """The promoted tokens, of those with the largest logits in order, that stand out from the last of them.

    Every decoder vector has ten largest logits; of most vectors of early layers they are noise, all about as large.
    """
    return [token for token, value in effects if value >= STANDING_OUT * effects[-1][1]]


class Background(NamedTuple):
    """What firings have in common whatever the feature: token frequencies of the corpus, contexts of all features."""

    tokens: Mapping[str, float]
    contexts: Mapping[str, float]


def background(token_shares: Mapping[str, float], seen: Iterable[Seen]) -> Background:
    """The background of features `seen` over a corpus with these token shares."""
    contexts: collections.Counter[str] = collections.Counter()
    count = 0
    for one in seen:
        count += 1
        contexts.update(one.contexts)
    return Background(token_shares, {name: share / max(count, 1) for name, share in contexts.items()})


def label(seen: Seen, common: Background, promoted: Sequence[str]) -> str:
    """A readable label, at most 140 characters.

    `promoted` are the tokens whose logits the feature raises most, strongest first.
    """
    parts, roles = [_subject(seen, common, promoted)], []
    contexts = [
        (share / max(common.contexts.get(name, 0.0), 1e-3) * share, name)
        for name, share in seen.contexts.items()
        if share >= CONTEXT_SHARE and share >= CONTEXT_LIFT * common.contexts.get(name, 0.0)
    ]
    parts[0] += "".join(f" {name}" for _, name in sorted(contexts, reverse=True)[:1])
    # Of a token that is mostly a piece of longer words, the token's own role would mislead: `in` of `install`.
    whole = [
        token
        for token in _named(seen.tokens, common.tokens)
        if not token.isalnum() or seen.words.get(token, 0.0) >= seen.tokens[token] / 2
    ]
    words = _named(seen.words, {})
    for word in [*whole, *(words if _cover(seen.words, words) >= COVER else [])]:
        said = role(word)
        if said and said not in roles and said not in parts[0]:
            roles.append(said)
    if roles and not parts[0].startswith(VARIOUS):
        parts.append(", ".join(roles[:2]))
    next_tokens = list(dict.fromkeys(quoted(token) for token in promoted if token.strip()))[:2]
    text = ": ".join(parts)
    if next_tokens:
        with_next = f"{text}; then {', '.join(next_tokens)}"
        text = with_next if len(with_next) <= MAX_LENGTH else text
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def _subject(seen: Seen, common: Background, promoted: Sequence[str]) -> str:
    tokens = _named(seen.tokens, common.tokens)
    words = _named(seen.words, {})
    previous = _named(seen.previous, {})
    after = f" after {_list(previous[:2])}" if _cover(seen.previous, previous[:2]) >= 0.6 else ""
    if _cover(seen.tokens, tokens) >= COVER:
        # A piece of one word, or of a few, is better known by the words.
        whole = [word for word in words if word not in tokens]
        if whole and _cover(seen.words, words) >= COVER and set(words) != set(tokens):
            return f"{_list(tokens)} in {_list(words)}{after}"
        return f"{_list(tokens)}{after}"
    if words and _cover(seen.words, words) >= COVER:
        return f"pieces of {_list(words)}{after}"
    kinds = [name for name, share in seen.kinds.items() if share >= 0.6]
    examples = [token for token, _ in collections.Counter(seen.tokens).most_common(3)]
    sort = kinds[0] if kinds else VARIOUS
    return f"{sort}{after}, such as {_list(examples)}"


def _named(shares: Mapping[str, float], usual: Mapping[str, float]) -> list[str]:
    """The few tokens worth naming: with much of the mass, and more than the corpus would give them."""
    ranked = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))[:SAID]
    return [name for name, share in ranked if share >= MIN_SHARE and share >= MIN_LIFT * usual.get(name, 0.0)]


def _cover(shares: Mapping[str, float], names: Iterable[str]) -> float:
    return sum(shares.get(name, 0.0) for name in names)


def _list(tokens: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(quoted(token) for token in tokens))


def quoted(token: str) -> str:
    """A token as a label shows it: in quotes, outer spaces dropped, line breaks and runs of spaces by name."""
    bare = token.strip(" ")
    if not bare:
        return "spaces" if len(token) > 1 else "a space"
    if not bare.strip():
        return "line break" if not token.rstrip("\n ") and token.endswith("\n") else "line break and indentation"
    shown = bare.replace("\n", "⏎").replace("\t", "⇥")
    shown = shown if len(shown) <= MAX_TOKEN else shown[: MAX_TOKEN - 1] + "…"
    return f'"{shown}"' if "'" in shown else f"'{shown}'"
