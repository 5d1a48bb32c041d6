"""Keyword search over numbered texts, by BM25: an index of tantivy, written and asked.

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
from typing import Any

import numpy
import tantivy

from featurestore.display.text import first_line
from featurestore.errors import BadStore, FeatureStoreError
from featurestore.search.words.rarity import FOLDED_WEIGHT, PART_WEIGHT, WRITTEN_WEIGHT, Rarity
from featurestore.search.words.word_forms import fold, is_cjk_character, normalise
from featurestore.search.words.word_query import Clause, Words, list_stems

# At most this many allowed rows, and at most this share of all, go into the query itself; with more, hits are looked
# through. Two thousand rows in a query take it 3 ms.
FEW = 4096
FEW_SHARE = 0.05
# Under a filter that allows a share of the rows, this many times k over that share are looked through at first.
SPARE = 1.2

NOTHING = numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)

# Each text is kept four times: as stems, by which words and phrases are found; as stems of folded words; as words, by
# which prefixes are found; and, where it is a list of tokens, as these tokens, for what is no word, such as "->".
STEMS, FOLDED, WORDS, TOKENS, STORED = "{}", "{}_folded", "{}_words", "{}_tokens", "{}_stored"


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
    stems = [stem for word in words for stem in list_stems(word)]
    if len(stems) == 1:
        return tantivy.Query.term_query(schema, field, stems[0], index_option="position")
    return tantivy.Query.phrase_query(schema, field, stems)  # type: ignore[arg-type]
