"""Keyword search over numbered texts: stemming, "phrases", prefix*, +must and -not.

Knows rows and words; knows nothing of features.
"""

from __future__ import annotations

import contextlib
import functools
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

# At most this many allowed rows, and at most this share of all, go into the query itself; with more, hits are looked
# through. Two thousand rows in a query take it 3 ms.
FEW = 4096
FEW_SHARE = 0.05
# Under a filter that allows a share of the rows, this many times k over that share are looked through at first.
SPARE = 1.2
# Longer words are left out, as tantivy's own analysers do.
LONGEST = 40

NOTHING = numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)

# Each text is kept three times: as stems, by which words and phrases are found; as words, by which prefixes are found;
# and, where it is a list of tokens, as these tokens, for what is no word, such as "->".
STEMS, WORDS, TOKENS = "{}", "{}_words", "{}_tokens"


def _analyser(stemmed: bool) -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    builder = builder.filter(tantivy.Filter.remove_long(LONGEST)).filter(tantivy.Filter.lowercase())
    return (builder.filter(tantivy.Filter.stemmer("English")) if stemmed else builder).build()


_stems, _words = _analyser(stemmed=True), _analyser(stemmed=False)


def stem_words(text: str) -> list[str]:
    """The stems of a text's words, in order, as the index has them."""
    return list(_stems.analyze(text))


def split_words(text: str) -> list[str]:
    """The words of a text in lower case, in order."""
    return list(_words.analyze(text))


class Clause(NamedTuple):
    """One piece of a query: `sign` is "", "+" or "-"; several `words` are a phrase."""

    sign: str
    words: tuple[str, ...]
    prefix: bool


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
            words = tuple(_words.analyze(piece.replace("_", " ")))
            if words:
                clauses.append(Clause(sign, words, prefix=piece.endswith("*") and len(words) == 1))
        if clauses and all(clause.sign == "-" for clause in clauses):
            raise BadRequest(f"text: {text!r} only says what must not be there; add a word that should")
        return cls(text, tuple(clauses))

    def find_in(self, text: str) -> list[str]:
        """The words of `text` that the query asks for, as the text spells them, each once."""
        clauses = [clause for clause in self.clauses if clause.sign != "-"]
        wanted = {stem for clause in clauses for word in clause.words for stem in _stems.analyze(word)}
        starts = tuple(clause.words[0] for clause in self.clauses if clause.prefix)
        words: list[str] = []
        for word in _words.analyze(text):
            stem = _stems.analyze(word)
            if word not in words and ((stem and stem[0] in wanted) or (starts and word.startswith(starts))):
                words.append(word)
        return words


@functools.lru_cache(maxsize=8)
def _schema(fields: tuple[str, ...], tokens: tuple[str, ...], stored: bool) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("row", indexed=True, fast=True)
    for field in fields:
        builder.add_text_field(STEMS.format(field), stored=stored, tokenizer_name="en_stem", index_option="position")
        builder.add_text_field(WORDS.format(field), tokenizer_name="default", index_option="basic")
    for field in tokens:
        builder.add_text_field(TOKENS.format(field), tokenizer_name="raw", index_option="freq")
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
    `stored`, the texts can be read back.
    """
    directory.mkdir()
    index = tantivy.Index(_schema(tuple(fields), tuple(tokens), stored), path=str(directory))
    writer = index.writer(heap_size=64_000_000, num_threads=1)
    count = 0
    for row in rows:
        document = tantivy.Document()
        document.add_unsigned("row", count)
        for field in fields:
            document.add_text(STEMS.format(field), row[field])
            document.add_text(WORDS.format(field), row[field])
        for field in tokens:
            for token in row[TOKENS.format(field)]:
                document.add_text(TOKENS.format(field), token)
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
                "run `featurestore index`"
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
                f"the keyword index {self._directory} cannot be read; run `featurestore index` ({first_line(exc)})"
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

    def search(
        self,
        words: Words,
        k: int,
        allowed: Allowed | None = None,
        field: str = "text",
        tokens: bool = False,
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `k` rows that match best by BM25 in a field: row numbers (int64) and scores (float32), best first.

        With `tokens` also rows with a token that equals the query's text. With `allowed` only allowed rows. Raises
        BadStore where the index is damaged.
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
            rows_allowed = numpy.flatnonzero(allowed.mask).tolist()
            among = tantivy.Query.term_set_query(self._index.schema, "row", rows_allowed)
            # The weight of a row's own number must not count: only the words do.
            among = tantivy.Query.const_score_query(among, 0.0)
            query = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, among)])
            allowed = None
        # Among so many hits k are allowed on average, and some more; each costs a look at its row's number.
        limit = k if candidates == len(self) else math.ceil(SPARE * k * len(self) / candidates)
        while True:
            hits = self._searcher.search(query, limit, count=False).hits
            if not hits:
                return NOTHING
            addresses = [address for _, address in hits]
            rows = numpy.array(self._searcher.fast_field_values("row", addresses), dtype=numpy.int64)
            scores = numpy.array([score for score, _ in hits], dtype=numpy.float32)
            is_allowed = numpy.ones(len(rows), bool) if allowed is None else allowed.mask[rows]
            if is_allowed.sum() >= k or len(hits) < limit:
                rows, scores = rows[is_allowed], scores[is_allowed]
                order = numpy.lexsort((rows, -scores))[:k]
                return rows[order], scores[order]
            limit *= 4

    def texts(self, row: int) -> dict[str, str]:
        """The texts of a row by field, from an index that was built with `stored`."""
        with self._translate_errors():
            query = tantivy.Query.term_query(self._index.schema, "row", row)
            _, address = self._searcher.search(query, 1, count=False).hits[0]
            return {field: values[0] for field, values in self._searcher.doc(address).to_dict().items() if values}


@functools.lru_cache(maxsize=64)
def _query(number: int, words: Words, field: str, tokens: bool) -> tantivy.Query | None:
    """A query in tantivy's form for the schema of a number; None for one without words.

    Kept, because one search asks the indexes of many dictionaries the same.
    """
    schema = _schemas[number]
    stems_field, words_field = STEMS.format(field), WORDS.format(field)
    pieces = []
    for clause in words.clauses:
        occur = {"+": tantivy.Occur.Must, "-": tantivy.Occur.MustNot}.get(clause.sign, tantivy.Occur.Should)
        if clause.prefix:
            query = tantivy.Query.regex_query(schema, words_field, re.escape(clause.words[0]) + ".*")
        else:
            stems = [stem for word in clause.words for stem in _stems.analyze(word)]
            if len(stems) == 1:
                query = tantivy.Query.term_query(schema, stems_field, stems[0], index_option="position")
            else:
                query = tantivy.Query.phrase_query(schema, stems_field, stems)  # type: ignore[arg-type]
        pieces.append((occur, query))
    by_words = tantivy.Query.boolean_query(pieces) if pieces else None
    if not tokens:
        return by_words
    # Tokens differ by a leading space, which people often leave out.
    exact = [
        tantivy.Query.term_query(schema, TOKENS.format(field), token, index_option="freq")
        for token in {words.text, words.text.strip(), " " + words.text.strip()}
        if token
    ]
    return tantivy.Query.boolean_query(
        [(tantivy.Occur.Should, query) for query in ([by_words] if by_words else []) + exact]
    )
