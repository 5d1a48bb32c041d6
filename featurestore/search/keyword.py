"""Keyword search over numbered texts: stemming, "phrases", prefix*, +must and -not.

A word counts as it is written, and less where only its folded form or a part of a name is found; see
words/word_forms.py. Knows rows and words; knows nothing of features.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import tantivy

from featurestore.display.text import first_line
from featurestore.errors import BadRequest, BadStore, FeatureStoreError
from featurestore.search.words.word_forms import STOP_WORDS, compose, fold, is_cjk_character, normalise

# At most this many allowed rows, and at most this share of all, go into the query itself; with more, hits are looked
# through. Two thousand rows in a query take it 3 ms.
FEW = 4096
FEW_SHARE = 0.05
# Under a filter that allows a share of the rows, this many times k over that share are looked through at first.
SPARE = 1.2
# Longer words are left out, as tantivy's own analysers do.
LONGEST = 40

NOTHING = numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)

# Beside a word's stem these count this share of it: its folded form, a part of a name, and the word as it is written.
FOLDED_WEIGHT, PART_WEIGHT, WRITTEN_WEIGHT = 0.25, 0.25, 0.25
# The most that a text may have of what was asked, see `share`: more comes of its being short, or repeating a word.
MOST_SHARE = 1.3

# Each text is kept four times: as stems, by which words and phrases are found; as stems of folded words; as words, by
# which prefixes are found; and, where it is a list of tokens, as these tokens, for what is no word, such as "->".
STEMS, FOLDED, WORDS, TOKENS, STORED = "{}", "{}_folded", "{}_words", "{}_tokens", "{}_stored"


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
        written = set(_stems.analyze(normalise(text)))
        folded = set(_stems.analyze(fold(text)))
        return sum(_is_in(clause, written, folded) for clause in self.positive_clauses)

    def find_in(self, text: str) -> list[str]:
        """The words of `text` that the query asks for, normalised, each once."""
        written = {stem for clause in self.positive_clauses for word in clause.words for stem in _stems.analyze(word)}
        folded = {stem for clause in self.positive_clauses for word in clause.parts for stem in _stems.analyze(word)}
        starts = tuple(clause.words[0] for clause in self.positive_clauses if clause.prefix)
        characters = [clause.words[0] for clause in self.positive_clauses if is_cjk_character(clause.words[0])]
        words: list[str] = []
        for spelling in _spelled.analyze(compose(text)):
            word = normalise(spelling)
            if word not in words and (
                not written.isdisjoint(_stems.analyze(word))
                or not folded.isdisjoint(_stems.analyze(fold(spelling)))
                or word.startswith(starts)
                or any(character in word for character in characters)
            ):
                words.append(word)
        return words


def _is_in(clause: Clause, written: set[str], folded: set[str]) -> bool:
    if clause.prefix or is_cjk_character(clause.words[0]):
        return any(stem.startswith(clause.words[0]) for stem in written | folded)
    return written.issuperset(stem for word in clause.words for stem in _stems.analyze(word)) or folded.issuperset(
        stem for word in clause.parts for stem in _stems.analyze(word)
    )


class Rarity(NamedTuple):
    """The number of texts, and of those with the stem of each word that is asked for, and with each word itself."""

    texts: int
    with_stem: tuple[int, ...]
    with_word: tuple[int, ...]


def full_score(*rarities: Rarity) -> float:
    """The BM25 score of a text of average length that has each word once, from its rarity in every index."""
    texts = sum(rarity.texts for rarity in rarities)
    stems, words = (
        sum(weigh(texts, sum(counts)) for counts in zip(*of_indexes, strict=True))
        for of_indexes in ([rarity.with_stem for rarity in rarities], [rarity.with_word for rarity in rarities])
    )
    return stems * (1 + FOLDED_WEIGHT) + words * WRITTEN_WEIGHT


def weigh(texts: int, count: int) -> float:
    """The inverse document frequency of a word that `count` of the texts have, as BM25 takes it."""
    return math.log(1 + (texts - count + 0.5) / (count + 0.5))


def share(score: float, full: float) -> float:
    """How much of the words' weight a text of this score has: 1 for a text of average length with each word once.

    From 0 to MOST_SHARE; 1 where no words were asked for.
    """
    return min(MOST_SHARE, score / full) if full else 1.0


@functools.lru_cache(maxsize=8)
def _schema(fields: tuple[str, ...], tokens: tuple[str, ...], stored: bool) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("row", indexed=True, fast=True)
    for field in fields:
        builder.add_text_field(STEMS.format(field), tokenizer_name="en_stem", index_option="position")
        builder.add_text_field(FOLDED.format(field), tokenizer_name="en_stem", index_option="position")
        builder.add_text_field(WORDS.format(field), tokenizer_name="default", index_option="basic")
        if stored:
            builder.add_bytes_field(STORED.format(field), stored=True)
    for field in tokens:
        builder.add_text_field(TOKENS.format(field), tokenizer_name="raw", index_option="freq")
        if stored:
            builder.add_bytes_field(STORED.format(TOKENS.format(field)), stored=True)
    return builder.build()


def build(
    directory: Path,
    rows: Iterable[Mapping[str, Any]],
    fields: Sequence[str] = ("text",),
    tokens: Sequence[str] = (),
    stored: bool = False,
) -> int:
    """Write the index of `rows`, numbered from 0, into a new directory. Returns the number of rows.

    Each row has a text for each of `fields`, and a list of tokens named `{field}_tokens` for each of `tokens`. With
    `stored`, texts and tokens can be read back.
    """
    directory.mkdir()
    index = tantivy.Index(_schema(tuple(fields), tuple(tokens), stored), path=str(directory))
    writer = index.writer(heap_size=64_000_000, num_threads=1)
    count = 0
    for row in rows:
        document = tantivy.Document()
        document.add_unsigned("row", count)
        for field in fields:
            text = row[field]
            document.add_text(STEMS.format(field), normalise(text))
            document.add_text(FOLDED.format(field), fold(text))
            document.add_text(WORDS.format(field), normalise(text))
            if stored:
                document.add_bytes(STORED.format(field), text.encode())
        for field in tokens:
            for token in row[TOKENS.format(field)]:
                for form in {token, normalise(token)}:
                    document.add_text(TOKENS.format(field), form)
            if stored:
                document.add_bytes(STORED.format(TOKENS.format(field)), json.dumps(row[TOKENS.format(field)]).encode())
        writer.add_document(document)
        count += 1
    writer.commit()
    writer.wait_merging_threads()
    return count


_schemas: list[tantivy.Schema] = []  # the schemas of opened indexes, each once


def _number_of(schema: tantivy.Schema) -> int:
    """The number of the schema in `_schemas` that equals this one."""
    for number, known in enumerate(_schemas):
        if known == schema:
            return number
    _schemas.append(schema)
    return len(_schemas) - 1


class Allowed:
    """The rows that searches of one index may find, counted once. Never changes."""

    def __init__(self, mask: numpy.ndarray):
        """`mask` has a boolean for each row."""
        self.mask = mask
        self.count = int(numpy.count_nonzero(mask))


class KeywordIndex:
    """An index written by `build`, opened for searching. Safe to share between threads."""

    def __init__(self, directory: Path, rows: int):
        """Raises BadStore when the directory is not a readable index of `rows` texts."""
        self._directory = directory
        with self._translate_errors():
            self._index = tantivy.Index.open(str(self._writable(directory)))
            self._searcher = self._index.searcher()
            self._schema = _number_of(self._index.schema)
        if self._searcher.num_docs != rows:
            raise BadStore(
                f"the keyword index {directory} has {self._searcher.num_docs} texts, not {rows}; "
                "run `featurestore index --rebuild`"
            )

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise BadStore for what tantivy raises for damage: ValueError, OSError, or a panic, which is no Exception."""
        try:
            yield
        except (FeatureStoreError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
            raise
        except BaseException as exc:
            raise BadStore(
                f"the keyword index {self._directory} cannot be read; run `featurestore index --rebuild` "
                f"({first_line(exc)})"
            ) from None

    def _writable(self, directory: Path) -> Path:
        """Return a directory with the index's files in which tantivy can make its lock file.

        Where the store cannot be written to, on a read-only mount, that is a new one with links to the files.
        """
        if os.access(directory, os.W_OK) or not directory.is_dir():
            return directory
        links = Path(tempfile.mkdtemp(prefix="featurestore-words-"))
        weakref.finalize(self, shutil.rmtree, links, ignore_errors=True)
        for file in directory.iterdir():
            os.symlink(file.resolve(), links / file.name)
        return links

    def __len__(self) -> int:
        return self._searcher.num_docs

    def count(self, stem: str, field: str = "text") -> int:
        """How many texts have a word of this stem in a field."""
        with self._translate_errors():
            return int(self._searcher.doc_freq(STEMS.format(field), stem))

    def count_written(self, word: str, field: str = "text") -> int:
        """How many texts have a word in this very form in a field."""
        with self._translate_errors():
            return int(self._searcher.doc_freq(WORDS.format(field), word))

    def search(
        self,
        words: Words,
        k: int,
        allowed: Allowed | None = None,
        field: str = "text",
        tokens: bool = False,
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `k` rows that match best by BM25 in a field: row numbers (int64) and scores (float32), best first.

        With `tokens` also rows with a token that equals the query's text, and no form of a word counts more than its
        other forms. With `allowed` only allowed rows. Raises BadStore where the index is damaged.
        """
        with self._translate_errors():
            return self._search(words, k, allowed, field, tokens)

    def _search(
        self, words: Words, k: int, allowed: Allowed | None, field: str, tokens: bool
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        query = _query(self._schema, words, field, tokens)
        candidates = len(self) if allowed is None else allowed.count
        k = min(k, candidates)
        if k == 0 or query is None:
            return NOTHING
        if allowed is not None and candidates <= FEW and candidates <= FEW_SHARE * len(self):
            query = self._among(query, numpy.flatnonzero(allowed.mask))
            allowed = None
        # Among so many hits k are allowed on average, and some more; each costs a look at its row's number.
        limit = k if candidates == len(self) else math.ceil(SPARE * k * len(self) / candidates)
        while True:
            rows, scores = self._hits(query, limit)
            count = len(rows)
            if not count:
                return NOTHING
            is_allowed = numpy.ones(len(rows), bool) if allowed is None else allowed.mask[rows]
            if is_allowed.sum() >= k or count < limit:
                rows, scores = rows[is_allowed], scores[is_allowed]
                order = numpy.lexsort((rows, -scores))[:k]
                return rows[order], scores[order]
            limit *= 4

    def search_among(
        self, words: Words, rows: numpy.ndarray, field: str = "text"
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Those of these rows that match, with their BM25 scores, best first."""
        with self._translate_errors():
            query, matches = _query(self._schema, words, field, False), [NOTHING]
            for start in range(0, len(rows), FEW):
                if query is None:
                    break
                among = rows[start : start + FEW]
                matches.append(self._hits(self._among(query, among), len(among)))
        numbers, scores = (numpy.concatenate(parts) for parts in zip(*matches, strict=True))
        order = numpy.lexsort((numbers, -scores))
        return numbers[order], scores[order]

    def _among(self, query: tantivy.Query, rows: numpy.ndarray) -> tantivy.Query:
        """A query that finds the same among these rows alone."""
        among = tantivy.Query.term_set_query(self._index.schema, "row", rows.tolist())
        # The weight of a row's own number must not count: only the words do.
        among = tantivy.Query.const_score_query(among, 0.0)
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, among)])

    def _hits(self, query: tantivy.Query, limit: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `limit` best rows of a query in tantivy's form, and their scores, best first."""
        hits = self._searcher.search(query, limit, count=False).hits
        if not hits:
            return NOTHING
        rows = self._searcher.fast_field_values("row", [address for _, address in hits])
        return numpy.array(rows, dtype=numpy.int64), numpy.array([score for score, _ in hits], dtype=numpy.float32)

    def rarity(self, words: Words, field: str = "text", tokens: bool = False) -> Rarity:
        """How rare the words are that are asked for, in a field; `tokens` as in `search`."""
        with_stem = (self.count(stem, field) for stem in words.positive_stems)
        with_word = (self.count_written(word, field) for word in words.positive_written if not tokens)
        return Rarity(len(self), tuple(with_stem), tuple(with_word))

    def texts(self, row: int) -> dict[str, str]:
        """The texts of a row by field, from an index that was built with `stored`; lists of tokens as JSON."""
        with self._translate_errors():
            query = tantivy.Query.term_query(self._index.schema, "row", row)
            _, address = self._searcher.search(query, 1, count=False).hits[0]
            values = self._searcher.doc(address).to_dict()
            ending = STORED.format("")
            return {
                name.removesuffix(ending): bytes(texts[0]).decode()
                for name, texts in values.items()
                if name.endswith(ending) and texts
            }


@functools.lru_cache(maxsize=64)
def _query(number: int, words: Words, field: str, tokens: bool) -> tantivy.Query | None:
    """A query in tantivy's form for the schema of a number; None for one without words.

    Kept, because one search asks the indexes of many dictionaries the same.
    """
    schema = _schemas[number]
    pieces = []
    for clause in words.clauses:
        occur = {"+": tantivy.Occur.Must, "-": tantivy.Occur.MustNot}.get(clause.sign, tantivy.Occur.Should)
        pieces.append((occur, _query_of_clause(schema, clause, field, written=not tokens)))
    by_words = tantivy.Query.boolean_query(pieces) if pieces else None
    if not tokens:
        return by_words
    # Tokens differ by a leading space, which people often leave out.
    exact = [
        tantivy.Query.term_query(schema, TOKENS.format(field), token, index_option="freq")
        for token in {words.text, words.text.strip(), " " + words.text.strip()}
        | {normalise(words.text.strip()), " " + normalise(words.text.strip())}
        if token.strip()
    ]
    return tantivy.Query.boolean_query(
        [(tantivy.Occur.Should, query) for query in ([by_words] if by_words else []) + exact]
    )


def _query_of_clause(schema: tantivy.Schema, clause: Clause, field: str, written: bool) -> tantivy.Query:
    """Finds a piece of a query by its stems, folded, and, where it is a name that nobody quoted, by its parts.

    With `written` a word counts more in its very form.
    """
    if clause.prefix:
        return tantivy.Query.regex_query(schema, WORDS.format(field), re.escape(clause.words[0]) + ".*")
    forms = [
        _query_of_phrase(schema, STEMS.format(field), clause.words),
        tantivy.Query.boost_query(_query_of_phrase(schema, FOLDED.format(field), clause.parts), FOLDED_WEIGHT),
    ]
    if written and clause.exact_form is not None:
        word = tantivy.Query.term_query(schema, WORDS.format(field), clause.exact_form, index_option="basic")
        forms.append(tantivy.Query.boost_query(word, WRITTEN_WEIGHT))
    if len(clause.parts) > 1 and not clause.sign and not clause.quoted:
        forms += [
            tantivy.Query.boost_query(_query_of_phrase(schema, FOLDED.format(field), (part,)), PART_WEIGHT)
            for part in clause.parts
        ]
    return tantivy.Query.boolean_query([(tantivy.Occur.Should, form) for form in forms])


def _query_of_phrase(schema: tantivy.Schema, field: str, words: tuple[str, ...]) -> tantivy.Query:
    """Finds words that follow one another; one CJK character also begins longer words."""
    if len(words) == 1 and is_cjk_character(words[0]):
        return tantivy.Query.regex_query(schema, field, re.escape(words[0]) + ".*")
    stems = [stem for word in words for stem in _stems.analyze(word)]
    if len(stems) == 1:
        return tantivy.Query.term_query(schema, field, stems[0], index_option="position")
    return tantivy.Query.phrase_query(schema, field, stems)  # type: ignore[arg-type]
