"""Labels written since the label index was built: while they are few, they are compared one by one beside it.

A feature with such a label is looked up here with all its labels, and no longer in the index.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy
import pyarrow

from featurestore.search import keyword
from featurestore.search.embedders import Embedder
from featurestore.search.keyword import KeywordIndex
from featurestore.search.words import rarity, word_query
from featurestore.search.words.word_query import Clause, Words
from featurestore.snapshot.catalog import Catalog
from featurestore.sql.engine import Engine
from featurestore.storage.log_files import Part
from featurestore.tables.row_reader import Rows

FEW = 500  # rows of labels; embedding so many takes a second or two, once
KEPT_VECTORS = 8192  # vectors of texts that are kept between commits
# BM25 as tantivy computes it
SATURATION, LENGTH_SHARE = 1.2, 0.75

Found = tuple[numpy.ndarray, numpy.ndarray]  # row numbers (n,) int64 and scores (n,) float32, best first
ReadLabels = Callable[[Sequence[Part]], pyarrow.Table]


def read_labels(rows: Rows, engine: Engine, parts: Sequence[Part]) -> pyarrow.Table:
    """Every label that the features of these parts of labels have now.

    Columns: dictionary, feature, label, explainer; of features without one these two are null.
    """
    changed = pyarrow.concat_tables([rows.all(part, ("dictionary", "feature")) for part in parts])
    return engine.table(
        "SELECT c.dictionary, c.feature, l.label, l.explainer "
        "FROM (SELECT DISTINCT unnest(?) AS dictionary, unnest(?) AS feature) c "
        "LEFT JOIN labels l ON l.dictionary = c.dictionary AND l.feature = c.feature "
        "ORDER BY c.dictionary, c.feature, l.explainer",
        [changed["dictionary"].to_pylist(), changed["feature"].to_pylist()],
    )


class FreshLabels:
    """The labels of the features that were labelled since the index was built. Safe to share between threads."""

    def __init__(self, table: pyarrow.Table, catalog: Catalog):
        """`table` as `read_labels` returns it."""
        numbers = catalog.numbers(table["dictionary"], table["feature"].to_numpy())
        self.changed = numpy.unique(numbers[numbers >= 0])
        labelled = table["label"].is_valid().to_numpy() & (numbers >= 0)
        self.numbers: numpy.ndarray = numbers[labelled]
        kept = table.filter(pyarrow.array(labelled))
        self.labels: list[str] = kept["label"].to_pylist()
        self.explainers: list[str] = kept["explainer"].to_pylist()
        self._stems = [word_query.stem_words(label) for label in self.labels]
        self._folded = [word_query.stem_folded(label) for label in self.labels]
        self._written = [word_query.split_words(label) for label in self.labels]

    def by_meaning(self, embedder: Embedder, vector: numpy.ndarray, k: int, mask: numpy.ndarray) -> Found:
        """The k labels of allowed features nearest to a vector, with their cosines. `mask` is by catalog number."""
        allowed = numpy.flatnonzero(mask[self.numbers])
        return _best(*self.meaning_of(embedder, vector, allowed), k)

    def meaning_of(self, embedder: Embedder, vector: numpy.ndarray, rows: numpy.ndarray) -> Found:
        """These rows, with the cosines of their labels."""
        if not len(rows):
            return keyword.NOTHING
        matrix = _embed([self.labels[row] for row in rows.tolist()], embedder)
        return rows, matrix @ vector.astype(numpy.float32)

    def by_words(self, index: KeywordIndex | None, words: Words, k: int, mask: numpy.ndarray) -> Found:
        """The k labels of allowed features that match best, with their BM25 scores."""
        return _best(*self.words_of(index, words, numpy.flatnonzero(mask[self.numbers])), k)

    def words_of(self, index: KeywordIndex | None, words: Words, rows: numpy.ndarray) -> Found:
        """Those of these rows that match, with their BM25 scores."""
        scores = numpy.array([self._score(index, words, row) for row in rows.tolist()], numpy.float32)
        return rows[scores > 0], scores[scores > 0]

    def rarity(self, words: Words) -> rarity.Rarity:
        """How rare the words are that are asked for."""
        with_stem = (_count(self._stems, stem) for stem in words.positive_stems)
        with_word = (_count(self._written, word) for word in words.positive_written)
        return rarity.Rarity(len(self._stems), tuple(with_stem), tuple(with_word))

    def _score(self, index: KeywordIndex | None, words: Words, row: int) -> float:
        total = 0.0
        for clause in words.clauses:
            score = self._score_clause(index, clause, row)
            if (clause.sign == "+" and not score) or (clause.sign == "-" and score):
                return 0.0
            total += score
        return total

    def _score_clause(self, index: KeywordIndex | None, clause: Clause, row: int) -> float:
        if clause.prefix:
            return float(any(word.startswith(clause.words[0]) for word in word_query.split_words(self.labels[row])))
        score = self._score_phrase(index, clause.words, self._stems, row)
        score += rarity.FOLDED_WEIGHT * self._score_phrase(index, clause.parts, self._folded, row)
        if clause.exact_form is not None:
            score += rarity.WRITTEN_WEIGHT * self._score_written(index, clause.exact_form, row)
        if len(clause.parts) > 1 and not clause.sign and not clause.quoted:
            parts = (self._score_phrase(index, (part,), self._folded, row) for part in clause.parts)
            score += rarity.PART_WEIGHT * sum(parts)
        return score

    def _score_phrase(
        self, index: KeywordIndex | None, words: Sequence[str], texts: list[list[str]], row: int
    ) -> float:
        stems, text = [stem for word in words for stem in word_query.stem_words(word)], texts[row]
        count = sum(text[at : at + len(stems)] == stems for at in range(len(text) - len(stems) + 1)) if stems else 0
        if not count:
            return 0.0
        return sum(self._weigh(index, stem) for stem in stems) * _saturate(count, texts, row)

    def _score_written(self, index: KeywordIndex | None, word: str, row: int) -> float:
        """A word's score in its own form; the index counts no repetition of it."""
        if word not in self._written[row]:
            return 0.0
        texts = len(index) if index else len(self._written)
        weight = rarity.weigh(texts, index.count_written(word) if index else _count(self._written, word))
        return weight * _saturate(1, self._written, row)

    def _weigh(self, index: KeywordIndex | None, stem: str) -> float:
        """The inverse document frequency of a stem among the indexed labels, so that both are weighed alike."""
        texts = len(index) if index else len(self._stems)
        return rarity.weigh(texts, index.count(stem) if index else _count(self._stems, stem))


def _count(texts: list[list[str]], word: str) -> int:
    """How many texts have a word."""
    return sum(word in text for text in texts)


def _saturate(count: int, texts: list[list[str]], row: int) -> float:
    """How much a word counts that a text has so many times, by BM25: less in a text that is longer than the others."""
    mean = sum(map(len, texts)) / len(texts)
    length = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * len(texts[row]) / mean)
    return count * (SATURATION + 1) / (count + length)


def merge(first: Found, second: Found, k: int) -> Found:
    """The k best of two rankings."""
    rows, scores = (numpy.concatenate(pair) for pair in zip(first, second, strict=True))
    return _best(rows, scores, k)


def _best(rows: numpy.ndarray, scores: numpy.ndarray, k: int) -> Found:
    order = numpy.lexsort((rows, -scores))[:k]
    return rows[order].astype(numpy.int64), scores[order].astype(numpy.float32)


_vectors: dict[tuple[str, str], numpy.ndarray] = {}  # by embedder and text; each commit has most of the last one's
_lock = threading.Lock()


def _embed(texts: Sequence[str], embedder: Embedder) -> numpy.ndarray:
    """Unit vectors of texts, (n, d) float32; each text is embedded once."""
    with _lock:
        known = {text: _vectors[embedder.id, text] for text in texts if (embedder.id, text) in _vectors}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            if len(_vectors) + len(missing) > KEPT_VECTORS:
                _vectors.clear()
            embedded = dict(zip(missing, embedder(missing), strict=True))
            _vectors.update({(embedder.id, text): vector for text, vector in embedded.items()})
            known |= embedded
        return numpy.stack([known[text] for text in texts]).astype(numpy.float32)
