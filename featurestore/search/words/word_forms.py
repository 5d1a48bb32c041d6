"""Forms in which words are compared: as written, up to Unicode's own equivalences, and folded, which finds more.

Knows texts; knows no index.
"""

from __future__ import annotations

import re
import unicodedata

# Letters that are a base letter with a stroke, or two letters in one, and that Unicode does not decompose.
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"})
_ACCENTS = re.compile("[\u0300-\u036f]+")  # of Latin, Greek and Cyrillic letters
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CAMEL_WORD = re.compile(r"[A-Za-z0-9]*[a-z0-9][A-Z][A-Za-z0-9]*|[A-Z]{2,}[a-z][A-Za-z0-9]*")
# Scripts that are written without spaces, or whose words carry endings that no English stemmer takes off.
_CJK = re.compile(
    "[\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003fffd]+"
)

# Words that say nothing of what is looked for, unless nothing else is asked.
STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about an and are as at be but by for from has have how in into is it its of on or that the their them then "
        "there these they this those to was were what when where which who whose why will with",
    )
)


def normalise(text: str) -> str:
    """The text with one spelling for what Unicode holds to be the same, in one case.

    Composed and decomposed accents, full-width forms and ligatures become one; accents are kept.
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def compose(text: str) -> str:
    """The text in Unicode's composed, compatible form, so that an accent is no end of a word."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def fold(text: str, asked: bool = False) -> str:
    """The normalised text without accents, names in CamelCase in parts too, and CJK text as pairs of characters.

    Of a text that is `asked` for, names are in parts alone, and pairs end with the last pair; of others the last
    character follows, so that each character begins a word.
    """
    text = compose(text)
    if asked:
        text = _CAMEL.sub(" ", text)
    else:
        text = _CAMEL_WORD.sub(lambda name: f"{name[0]} {_CAMEL.sub(' ', name[0])}", text)
    text = normalise(text)
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))
    return _CJK.sub(lambda run: f" {_pairs(run[0], asked)} ", text.translate(_LETTERS))


def _pairs(run: str, asked: bool) -> str:
    pairs = [run[n : n + 2] for n in range(len(run) - 1)]
    return " ".join(pairs if asked and pairs else [*pairs, run[-1]])


def is_cjk_character(word: str) -> bool:
    """Whether a word is one CJK character, which begins pairs of characters."""
    return len(word) == 1 and _CJK.match(word) is not None
