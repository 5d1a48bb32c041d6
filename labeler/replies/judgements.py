"""What a judge answered: a number for each text, or the number of one text, in JSON, in words or in lines.

Knows nothing of labels, of scores, or of what the texts are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from labeler.llm.completions import Answer, UnreadableReply
from labeler.replies.label_lines import unwrap
from labeler.replies.loose_json import collect_values, parse_value
from labeler.replies.reader import agree, describe_problem, find_answer_objects, read_text
from labeler.replies.refusals import is_refusal

Number = float | None
_LISTS = re.compile(r"\[(?=[^\[\]]*\w)[\s\w.,\"']*\]")
_WORDS = {
    1: "yes y true ja oui sí sì si sim да так 是 对 はい 네 예 نعم כן हाँ ✅ ✓ ✔ ✔️ ☑ 👍",
    0: "no n false nein non não нет ні 否 不是 いいえ 아니요 아니오 لا לא नहीं ❌ ✗ ✘ ✖ ✖️ 👎",
}
_NUMBER_OF = {word: number for number, words in _WORDS.items() for word in words.split()}
# "Text 2: yes", "2) no", "| 2 | 0 |"
_NUMBERED = re.compile(
    r"\W*(?:text|number|no\.?)?\W{0,3}(\d{1,4})[*_`\s]*+(?:[:)|–-]|\.(?!\d))[\s*_`|]*+([^\s|]++)[\s*_`|.]*+",
    re.IGNORECASE,
)
_TABLE_HEAD = re.compile(r"\|[^\d]*\|?")
_HEADING = re.compile(r"\W*\w+\W*:[\s*_]*")
_INDEX_NAMES = frozenset({"text", "id", "index", "number", "n", "i", "no", "text_id", "text_number"})
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth"
_CARDINALS = "one two three four five six seven eight nine ten"
_CHOICES = {word: n for words in (_ORDINALS, _CARDINALS) for n, word in enumerate(words.split(), 1)}
_KIND = "(?:text|snippet|passage|excerpt|example|option|sentence|document|item|sample|paragraph)"
_ROLE = "(?:intruder|answer|choice|odd one out|odd text out|odd one)"
_TEXT = (
    rf"(?:(?:(?:the )?{_KIND} )?(?:number |no )?(?P<number>\d{{1,9}})|(?:(?:the )?{_KIND} )?(?:number )?"
    rf"(?P<cardinal>{_CARDINALS.replace(' ', '|')})"
    rf"|(?:the )?(?P<ordinal>{_ORDINALS.replace(' ', '|')})(?: (?:one|{_KIND}))?)"
)
# What a reply says as a whole, and what one of its lines says, with blanks for all else than words and colons
_WHOLE_CHOICE = re.compile(
    rf"(?:(?:my |the |final )*{_ROLE}(?: is| would be)?[ :]*"
    rf"|(?:it is|it s|i (?:would |d )?(?:choose|pick|say)) )?{_TEXT}"
    rf"(?: is (?:the )?(?:{_ROLE}|different(?: one)?))?"
)
_NAMED_CHOICE = re.compile(rf"(?:my |the |final )*{_ROLE} ?:[ :]*(?P<text>{_TEXT}[ :]*)?")
_DENIAL = re.compile(r"\b(?:not?|none|neither|nor|never|cannot|unable|nothing)\b|n['’]t\b", re.IGNORECASE)
# What stands right before the number of a text in a sentence, and what follows a number that begins one
_BEFORE_NUMBER = re.compile(
    rf"\b(?:{_KIND}|{_ROLE}|number|no|think|pick|choose|select|say|it is|it['’ ]s)(?: is)?[ :]*", re.IGNORECASE
)
_QUANTIFIERS = frozenset(["all", "only", "these", "those", "about", "the", "of"])
_AFTER_NUMBER = re.compile(r"[\s*_`\]\"')]*(?:[.,:;(\n–—-]|(?:is|because|since|as|has)\b|\Z)", re.IGNORECASE)
MAX_PLAIN = 20_000  # characters of a reply without JSON that is read
MAX_LONG = 100_000  # of one that may name a text at its end, after its reasons
MAX_NUMBER = 1e15  # a larger one is no answer, and may be none that a float can hold


def parse_numbers(answer: Answer, name: str, count: int) -> list[float]:
    """`count` finite numbers: the list called `name` in a reply's JSON, or a bare list. Raises UnreadableReply."""
    text = read_text(answer)
    objects = find_answer_objects(text, answer)
    values = _collect(objects, name)
    if not any(found.value for found in objects):
        values = [parse_value(match[0])[1] for match in _LISTS.finditer(text)]
        if not any(isinstance(value, list) for value in values) and answer.finish != "length":
            values = [_read_plain(unwrap(text))]
    lists = [numbers for numbers in map(_read_numbers, values) if numbers]
    if not lists:
        raise UnreadableReply("refusal" if is_refusal(text) else describe_problem(answer, f"no list of {name}"))
    fitting = [numbers for numbers in lists if len(numbers) == count]
    if not fitting or len(lists[-1]) != count:
        raise UnreadableReply(f"another number of {name} than was asked for")
    if not all(number is not None and math.isfinite(number) for numbers in fitting for number in numbers):
        raise UnreadableReply(f"{name} that are no numbers")
    return [float(number or 0) for number in agree(fitting)]


def _collect(objects: Sequence[Any], name: str) -> list[Any]:
    """The values called `name`, or else so in the singular, or "answer"."""
    for called in (name, name.removesuffix("s"), "answer"):
        values = [value for found in objects for value in collect_values(found.value, called)]
        if values:
            return values
    return []


def _read_plain(text: str) -> list[Number]:
    """The numbers of a reply without JSON, in lines that are numbered or one after the other; [] for other texts."""
    if len(text) > MAX_PLAIN:
        return []
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines if not _TABLE_HEAD.fullmatch(line)]
    matches = [match for match in numbered if match]
    if matches and len(matches) == len(numbered) and _count_up([match[1] for match in matches]):
        numbers = [_read_number(match[2].rstrip("*_`.")) for match in matches]
    else:
        bare = _HEADING.sub("", text, count=1) if _HEADING.match(text) else text
        words = re.sub(r"(?m)^[^\S\n]*[-*•]\s+", "", bare).replace(",", " ").replace(";", " ").split()
        numbers = [_read_number(word) for word in words]
    return numbers if None not in numbers else []


def _count_up(numbers: Sequence[str]) -> bool:
    return list(map(int, numbers)) == list(range(1, len(numbers) + 1))


def _read_numbers(value: Any) -> list[Number]:
    """The numbers in a list, in an object that numbers them from 1, or in a text; None for what is no number."""
    if isinstance(value, str):
        if len(value) > 1 and not set(value) - {"0", "1"}:
            return [float(digit) for digit in value]
        whole, inner = parse_value(value) if value.startswith("[") else (False, None)
        return _read_numbers(inner) if whole else _read_plain(value)
    if isinstance(value, dict):
        keys = [re.fullmatch(r"\D*(\d{1,9})\D*", str(key)) for key in value]
        numbers = [key[1] for key in keys if key]
        value = list(value.values()) if len(numbers) == len(keys) and _count_up(numbers) else None
    if not isinstance(value, list):
        return []
    return [_read_item(item, at) for at, item in enumerate(value, 1)]


def _read_item(item: Any, at: int) -> Number:
    """The number in an item of a list: itself, the only one in it, or what an object says of the text `at`."""
    if isinstance(item, list) and len(item) == 1:
        return _read_number(item[0])
    if not isinstance(item, Mapping):
        return _read_number(item)
    others = [_read_number(value) for key, value in item.items() if str(key).strip().lower() not in _INDEX_NAMES]
    numbers = [number for number in others if number is not None]
    places = [value for key, value in item.items() if str(key).strip().lower() in _INDEX_NAMES]
    right = all(re.fullmatch(rf"\D*{at}\D*", str(place)) for place in places)
    return numbers[0] if right and len(numbers) == 1 else None


def _read_number(value: Any) -> Number:
    if isinstance(value, str):
        word = value.strip().rstrip(".!。").lower()
        return _NUMBER_OF.get(word, float(word) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", word) else None)
    # JSON may hold whole numbers that are larger than any float.
    huge = isinstance(value, int) and abs(value) > MAX_NUMBER
    return value if isinstance(value, int | float) and not huge else None


def parse_choice(answer: Answer, name: str, count: int) -> int:
    """A number from 1 to `count`: the one called `name` in a reply's JSON, or the only one. Raises UnreadableReply."""
    text = read_text(answer)
    objects = find_answer_objects(text, answer)
    values = _collect(objects, name)
    if not objects:
        values = _find_plain_choices(unwrap(text)) if answer.finish != "length" else []
    choices = [choice for choice in map(_read_choice, values) if choice is not None]
    if not choices:
        raise UnreadableReply("refusal" if is_refusal(text) else describe_problem(answer, "names no text"))
    choice = agree(choices)
    if not 1 <= choice <= count:
        raise UnreadableReply("names no text")
    return choice


def _find_plain_choices(text: str) -> list[Any]:
    """What a reply without JSON names: what it is as a whole, what stands after "Intruder:", or its only number."""
    if len(text) > MAX_LONG:
        return []
    lines = [line for line in map(_keep_words, text.splitlines()) if line]
    whole = _WHOLE_CHOICE.fullmatch(" ".join(lines)) if len(lines) <= 2 else None
    if whole:
        return [_choose(whole)]
    numbers = re.fullmatch(r"(\D*)(\d{1,9})(\D*)", text)
    if numbers and _names_text(numbers[1], numbers[3]):
        return [numbers[2]]
    choices = []
    for line, below in zip_longest(lines, lines[1:], fillvalue=""):
        match = _NAMED_CHOICE.fullmatch(line)
        if match and not match["text"]:
            match = re.fullmatch(_TEXT, below)
        choices += [_choose(match)] if match else []
    return choices


def _keep_words(line: str) -> str:
    """Return a line in small letters without signs; an equals sign is a colon."""
    words = re.sub(r"[^\w.:'’-]+|(?<!\d)[.'’-]+|[.'’-]+(?!\d)", " ", line.lower().replace("=", ":").replace("_", " "))
    return " ".join(words.split())


def _choose(match: re.Match[str]) -> int:
    word = match["cardinal"] or match["ordinal"]
    return _CHOICES[word] if word else int(match["number"])


def _names_text(before: str, after: str) -> bool:
    """Whether a number between two parts of a sentence is the one of a text that the sentence names."""
    if _DENIAL.search(before) or re.match(r"\W*(?:is|does|isn['’]t|doesn['’]t)\b(?:\s+not\b|(?<=t))", after):
        return False
    bare = " ".join(map(_keep_words, before.splitlines())).strip()
    if not bare:
        return bool(_AFTER_NUMBER.match(after))
    if not re.search(r"\w", after) and " " not in bare and bare not in _QUANTIFIERS:
        return True  # "Texte 2"
    ends = list(_BEFORE_NUMBER.finditer(bare))
    return bool(ends) and ends[-1].end() == len(bare)


def _read_choice(value: Any) -> int | None:
    if isinstance(value, list | dict) and len(value) == 1:
        (value,) = value.values() if isinstance(value, dict) else value
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(?:text|number|no\.?|#)?\s*#?(\d{1,9})\.?\s*", value, re.IGNORECASE)
        return int(match[1]) if match else _CHOICES.get(value.strip().lower())
    whole = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < MAX_NUMBER
        and value == int(value)
    )
    return int(value) if whole else None
