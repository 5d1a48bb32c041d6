"""Keyword search over numbered texts: stemming, phrases, +must and -not. Knows rows and words, not features."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy
import tantivy

from featurestore.errors import BadStore

# With at most this many rows allowed, they go into the query itself; with more, hits are looked through.
FEW = 4096


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("row", indexed=True, fast=True)
    builder.add_text_field("text", tokenizer_name="en_stem", index_option="position")
    return builder.build()


def build(directory: Path, texts: Iterable[str]) -> int:
    """Write the index of `texts`, numbered from 0, into a new directory; how many there were."""
    directory.mkdir()
    index = tantivy.Index(_schema(), path=str(directory))
    writer = index.writer(heap_size=64_000_000, num_threads=1)
    rows = 0
    for text in texts:
        document = tantivy.Document(text=text)
        document.add_unsigned("row", rows)
        writer.add_document(document)
        rows += 1
    writer.commit()
    writer.wait_merging_threads()
    return rows


def _plain(text: str) -> str:
    """A query in the words people type, without the parser's other syntax (fields, ranges, operators in capitals)."""
    parts = []
    for sign, phrase, word in re.findall(r'(?<!\S)([+-]?)(?:"([^"]*)"|(\S+))', text.replace("\\", " ")):
        # What the analyser would split, as in what's or os.path, stands together: a phrase.
        words = re.findall(r"\w+", (phrase or word).lower().replace("_", " "))
        if words:
            parts.append(f'{sign}"{" ".join(words)}"' if len(words) > 1 else sign + words[0])
    return " ".join(parts)


class KeywordIndex:
    """An index written by `build`, opened for searching. Safe to share between threads."""

    def __init__(self, directory: Path, rows: int):
        """Raises BadStore when the directory is not a readable index of `rows` texts."""
        try:
            self._index = tantivy.Index.open(str(directory))
            self._searcher = self._index.searcher()
        except Exception as exc:  # tantivy raises bare ValueError or OSError, whatever is wrong with the files
            first = str(exc).splitlines()[0][:200]
            raise BadStore(
                f"the keyword index {directory} cannot be read; run `featurestore index` ({first})"
            ) from None
        if self._searcher.num_docs != rows:
            raise BadStore(
                f"the keyword index {directory} has {self._searcher.num_docs} texts, not {rows}; run `featurestore index`"
            )

    def __len__(self) -> int:
        return self._searcher.num_docs

    def search(self, text: str, k: int, allowed: numpy.ndarray | None = None) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `k` texts that match best by BM25: row numbers (int64) and scores (float32), best first.

        Words are stemmed; "a phrase" matches as one; +word must be there, -word must not. Anything else in the query is
        taken as words. With `allowed`, a boolean for each row, only allowed rows.
        """
        query, _ = self._index.parse_query_lenient(_plain(text), ["text"])
        if allowed is None:
            allowed = numpy.ones(len(self), dtype=bool)
        candidates = numpy.flatnonzero(allowed)
        k = min(k, len(candidates))
        if k == 0:
            return numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)
        if len(candidates) <= FEW:
            among = tantivy.Query.term_set_query(self._index.schema, "row", candidates.tolist())
            # The weight of a row's own number must not count: only the words do.
            among = tantivy.Query.const_score_query(among, 0.0)
            query = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, among)])
        limit = 2 * k
        while True:
            found = self._searcher.search(query, limit, count=False).hits
            addresses = [address for _, address in found]
            rows = numpy.array(self._searcher.fast_field_values("row", addresses), dtype=numpy.int64)
            scores = numpy.array([score for score, _ in found], dtype=numpy.float32)
            kept = allowed[rows] if len(rows) else numpy.empty(0, dtype=bool)
            if kept.sum() >= k or len(found) < limit:
                rows, scores = rows[kept], scores[kept]
                order = numpy.lexsort((rows, -scores))[:k]
                return rows[order], scores[order]
            limit *= 4
