"""What a query asks for: words, "phrases", prefix*, +must and -not, and whether a text has them.

Words are split and stemmed here as the keyword index does it.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

import tantivy

from featurestore.errors import BadRequest
from featurestore.search.words.word_forms import STOP_WORDS, compose, fold, is_cjk_character, normalise

# Longer words are left out, as tantivy's own analysers do.
LONGEST = 40


def _analyser(stemmed: bool) -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    builder = builder.filter(tantivy.Filter.remove_long(LONGEST)).filter(tantivy.Filter.lowercase())
    return (builder.filter(tantivy.Filter.stemmer("English")) if stemmed else builder).build()


_stems, _words = _analyser(stemmed=True), _analyser(stemmed=False)
_spelled = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).build()


def stem_words(text: str) -> list[str]:
    """The stems of a text's words, in order, as the index has them."""
    return list(_stems.analyze(normalise(text)))


def stem_folded(text: str) -> list[str]:
    """The stems of a text's folded words, in order, as the index has them."""
    return list(_stems.analyze(fold(text)))


def list_stems(word: str) -> list[str]:
    """The stems of a word that is normalised or folded."""
    return list(_stems.analyze(word))


def split_words(text: str) -> list[str]:
    """The words of a text in lower case, in order."""
    return list(_words.analyze(normalise(text)))


class Clause(NamedTuple):
    """One piece of a query: `sign` is "", "+" or "-"; several `words` are a phrase.

    `parts` are its folded words; where they are not `quoted` as a phrase, each counts alone too.
    """

    sign: str
    words: tuple[str, ...]
    parts: tuple[str, ...]
    prefix: bool
    quoted: bool

    @property
    def exact_form(self) -> str | None:
        """The word that counts more where it is found as it is written; None for phrases and single CJK characters."""
        return None if len(self.words) > 1 or self.prefix or is_cjk_character(self.words[0]) else self.words[0]

    @property
    def is_stop_word(self) -> bool:
        """Whether it is an ordinary word that says nothing of what is looked for."""
        return not (self.sign or self.quoted or self.prefix) and self.words[0] in STOP_WORDS and len(self.words) == 1


class Words(NamedTuple):
    """A query: its text, and what the text was parsed into."""

    text: str
    clauses: tuple[Clause, ...]

    @classmethod
    def of(cls, text: str) -> Words:
        """Parse a query; any text is one. Raises BadRequest when it only says what must not be there."""
        clauses = []
        # A minus or plus before a space is an ordinary character.
        for sign, phrase, word in re.findall(r'(?<!\S)([+-]?)(?:"([^"]*)"|(\S+))', text):
            piece = phrase or word
            # What the analyser splits, such as what's or os.path, is a phrase.
            words = tuple(_words.analyze(normalise(piece)))
            if words:
                parts = tuple(_words.analyze(fold(piece, asked=True)))
                clauses.append(Clause(sign, words, parts, piece.endswith("*") and len(words) == 1, bool(phrase)))
        if clauses and all(clause.sign == "-" for clause in clauses):
            raise BadRequest(f"text: {text!r} only says what must not be there; add a word that should")
        telling = tuple(clause for clause in clauses if not clause.is_stop_word)
        return cls(text, telling if any(clause.sign != "-" for clause in telling) else tuple(clauses))

    @property
    def positive_clauses(self) -> tuple[Clause, ...]:
        """The pieces that a text should have."""
        return tuple(clause for clause in self.clauses if clause.sign != "-")

    @property
    def positive_stems(self) -> tuple[str, ...]:
        """The stems of the words that a text should have."""
        return tuple(stem for clause in self.positive_clauses for word in clause.words for stem in _stems.analyze(word))

    @property
    def positive_written(self) -> tuple[str, ...]:
        """The words that count more where they are found as they are written."""
        return tuple(clause.exact_form for clause in self.positive_clauses if clause.exact_form is not None)

    def count_in(self, text: str) -> int:
        """How many of the pieces that are asked for are in a text, in all their words or parts."""
        written, folded = _stem_text(text)
        return sum(sought.is_in(written, folded) for sought in _seek(self.clauses))

    def find_in(self, text: str) -> list[str]:
        """The words of `text` that the query asks for, normalised, each once."""
        sought = _seek(self.clauses)
        return list(dict.fromkeys(word.normalised for word in _spell(text) if any(map(word.is_sought, sought))))


class _Sought(NamedTuple):
    """A piece that a text should have, as it is compared with many texts."""

    words: frozenset[str]  # stems
    parts: frozenset[str]  # stems of folded words
    start: str | None  # of a word
    character: str | None  # of CJK text

    def is_in(self, written: frozenset[str], folded: frozenset[str]) -> bool:
        """Whether a text has the piece, whose stems these are."""
        begins = self.start or self.character
        if begins is not None:
            return any(stem.startswith(begins) for stem in written | folded)
        return written >= self.words or folded >= self.parts


class _Spelling(NamedTuple):
    """A word as a text spells it: in one case, by its stems, and by those of its folded form."""

    normalised: str
    words: frozenset[str]
    parts: frozenset[str]

    def is_sought(self, sought: _Sought) -> bool:
        """Whether this word is one of those that a piece asks for."""
        return bool(
            not self.words.isdisjoint(sought.words)
            or not self.parts.isdisjoint(sought.parts)
            or (sought.start is not None and self.normalised.startswith(sought.start))
            or (sought.character is not None and sought.character in self.normalised)
        )


@functools.lru_cache(maxsize=256)
def _seek(clauses: tuple[Clause, ...]) -> tuple[_Sought, ...]:
    return tuple(
        _Sought(
            words=frozenset(stem for word in clause.words for stem in _stems.analyze(word)),
            parts=frozenset(stem for word in clause.parts for stem in _stems.analyze(word)),
            start=clause.words[0] if clause.prefix else None,
            character=clause.words[0] if is_cjk_character(clause.words[0]) else None,
        )
        for clause in clauses
        if clause.sign != "-"
    )


# The reasons of a page of hits look at hundreds of windows of tokens, most of which the next page has too. Texts may be
# long, so few are kept; words are few and short.
@functools.lru_cache(maxsize=2048)
def _stem_text(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """The stems of a text's words, and of its folded words."""
    return frozenset(_stems.analyze(normalise(text))), frozenset(_stems.analyze(fold(text)))


@functools.lru_cache(maxsize=2048)
def _spell(text: str) -> tuple[_Spelling, ...]:
    """The words of a text, in order."""
    return tuple(map(_spell_word, _spelled.analyze(compose(text))))


@functools.lru_cache(maxsize=16_384)
def _spell_word(spelling: str) -> _Spelling:
    word = normalise(spelling)
    return _Spelling(word, frozenset(_stems.analyze(word)), frozenset(_stems.analyze(fold(spelling))))
