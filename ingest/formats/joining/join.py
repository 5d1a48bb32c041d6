"""One imported dictionary joins the store: new, added to what is there, or nothing to do."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import pyarrow

import featurestore
from featurestore import BadRequest, Conflict
from ingest.formats.joining import dictionary_rows, label_rows, mixed_layers
from ingest.formats.joining.example_rows import (
    SHARD_FEATURES,
    ExcerptCorpus,
    collect_corpus,
    list_shards,
    make_example_rows,
)
from ingest.formats.joining.report import DictionaryChange
from ingest.formats.joining.spool import DictionarySpool

if TYPE_CHECKING:
    from featurestore import Dictionary, Store, Writer

TOOL = f"featurestore {featurestore.__version__} import"
COMPARED = ("feature", "band", "rank", "length", "activation", "offsets", "activations")
OWN_STATISTICS = "it has statistics of its own, so that only labels and scores were added"


def join_dictionary(
    store: Store,
    writer: Writer,
    dictionary: str,
    spool: DictionarySpool,
    facts: dict[str, Any],
    folder: Path,
    at: datetime.datetime,
    check_words: bool = True,
) -> DictionaryChange:
    """Add what is new of a dictionary to the writer, and return what that is. `folder` is for files in between.

    With `check_words`, labels have to share words with the tokens on which their features fire. Raises Conflict when
    the files are of another dictionary than the store's, BadRequest when they contradict themselves.
    """
    join = _Join(store, writer, dictionary, spool, folder)
    if join.known is not None:
        dictionary_rows.check_identity(join.known, facts)
    d_sae, is_stated = dictionary_rows.choose_size(dictionary, join.known, facts, join.find_largest())
    join.change.d_sae = d_sae
    if join.known is None or join.known.origin == "import":
        join.write_statistics(facts | {"d_sae": d_sae}, {"d_sae": "stated" if is_stated else "counted"})
    elif spool.has("features") or spool.has("windows"):
        join.change.notes += (OWN_STATISTICS,)
    join.write_labels(at, check_words)
    join.write_vectors(d_sae)
    return join.change


class _Join:
    """The tables of one dictionary on their way from the spool into the store."""

    def __init__(self, store: Store, writer: Writer, dictionary: str, spool: DictionarySpool, folder: Path):
        self._store, self._writer, self._dictionary, self._spool = store, writer, dictionary, spool
        self._folder = folder
        self.known: Dictionary | None = next(
            (row for row in store.dictionaries() if row.dictionary == dictionary), None
        )
        self._labels, self._scores = spool.table("labels"), spool.table("scores")
        self._vectors = spool.vectors()
        self.change = DictionaryChange(dictionary, "new" if self.known is None else "unchanged", 0)

    def find_largest(self) -> int:
        """Return the largest feature of any table. Raises BadRequest when there is no row at all."""
        largest = self._spool.find_largest()
        if largest < 0:
            raise BadRequest(f"the files hold nothing of {self._dictionary}")
        return largest

    def write_statistics(self, facts: dict[str, Any], remembered: dict[str, Any]) -> None:
        """Write the dictionary's row, its features and its examples, where they are not what the store has."""
        known, change = self.known, self.change
        before = dictionary_rows.read_import(known)
        corpus = collect_corpus(self._spool, self._folder) if self._spool.has("windows") else None
        shards = range(-(-facts["d_sae"] // SHARD_FEATURES))
        if known is not None:
            self._count_features(shards)
        change.examples = 0 if corpus is None else sum(map(len, corpus.documents))
        digest = before.get("examples") if corpus is None else corpus.digest
        new_examples = corpus is not None and digest != before.get("examples") and not self._has_examples(corpus)
        grown = known is not None and facts["d_sae"] > known.d_sae
        if not (known is None or grown or change.changed_features or new_examples):
            return
        change.state = "new" if known is None else "changed"
        if corpus is not None and new_examples:
            facts = facts | {"corpus": corpus.id, "tokenizer": corpus.tokenizer}
        row = dictionary_rows.make_row(self._dictionary, known, facts, before | remembered | {"examples": digest})
        with self._writing_examples(corpus if new_examples else None):
            if corpus is not None and new_examples:
                corpus.write(self._writer)
            self._writer.remove("dictionaries", self._dictionary)
            self._writer.add("dictionaries", row, key=self._dictionary)
            if known is None or grown or change.changed_features:
                self._write_features(shards)

    def _count_features(self, shards: range) -> None:
        """Count the imported features, and those of them that the store has otherwise."""
        for shard in shards:
            new = dictionary_rows.read_new_features(self._spool, shard)
            if new is not None:
                self.change.features += new.num_rows
                self.change.changed_features += dictionary_rows.count_changed(self._store, self._dictionary, new, shard)

    def _write_features(self, shards: range) -> None:
        for table in ("features", "feature_rows"):
            self._writer.remove(table, self._dictionary)
        for shard in shards:
            new = dictionary_rows.read_new_features(self._spool, shard)
            if self.known is None and new is not None:
                self.change.features += new.num_rows
            rows = dictionary_rows.merge_features(self._store, self._dictionary, self.known, new, shard)
            if rows is not None:
                self._writer.add("features", rows, key=self._dictionary, shard=shard)

    @contextlib.contextmanager
    def _writing_examples(self, corpus: ExcerptCorpus | None) -> Iterator[None]:
        """Write examples in a thread of their own meanwhile; features that were not imported keep those they have."""
        if corpus is None:
            yield
            return
        for table in ("examples", "example_rows"):
            self._writer.remove(table, self._dictionary)
        helper = self._writer.helper()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            parts = pool.submit(helper.make, lambda writer: self._write_examples(writer, corpus))
            yield
            self._writer.adopt(parts.result())

    def _write_examples(self, writer: Writer, corpus: ExcerptCorpus) -> None:
        imported = list_shards(self._spool)
        shards = set(imported)
        if self.known is not None:
            shards |= set(range(-(-self.known.d_sae // SHARD_FEATURES)))
        for shard in sorted(shards):
            new = make_example_rows(self._spool, corpus, self._dictionary, shard) if shard in imported else None
            old = self._read_examples(shard)
            tables = [] if new is None else [new]
            if old is not None and old.num_rows:
                replaced = numpy.zeros(0) if new is None else new["feature"].to_numpy()
                tables.append(old.filter(pyarrow.array(~numpy.isin(old["feature"].to_numpy(), replaced))))
            rows = pyarrow.concat_tables(tables, promote_options="permissive") if tables else None
            if rows is not None and rows.num_rows:
                writer.add("examples", rows, key=self._dictionary, shard=shard)

    def _read_examples(self, shard: int) -> pyarrow.Table | None:
        if self.known is None:
            return None
        statement = (
            "select * from stored.examples where dictionary = $dictionary and feature >= $first and feature < $last"
        )
        first = shard * SHARD_FEATURES
        return self._store.sql(
            statement, {"dictionary": self._dictionary, "first": first, "last": first + SHARD_FEATURES}
        ).to_arrow()

    def _has_examples(self, corpus: ExcerptCorpus) -> bool:
        """Return whether the store has these examples of these features already."""
        for shard in list_shards(self._spool):
            new = make_example_rows(self._spool, corpus, self._dictionary, shard)
            old = self._read_examples(shard)
            if old is None:
                return False
            old = old.filter(pyarrow.array(numpy.isin(old["feature"].to_numpy(), new["feature"].to_numpy())))
            order = [("feature", "ascending"), ("band", "ascending"), ("rank", "ascending")]
            tables = [table.select(COMPARED).sort_by(order) for table in (new, old)]
            if not tables[0].cast(tables[1].schema).equals(tables[1]):
                return False
        return True

    def write_labels(self, at: datetime.datetime, check_words: bool) -> None:
        """Write labels and scores that the store lacks. Raises Conflict for labels of another layer."""
        change = self.change
        labels = [] if self._labels is None else self._labels.to_pylist()
        if labels and self.known is not None and check_words:
            texts = {label["feature"]: label["label"] for label in reversed(labels)}
            mixed_layers.check_labels(self._store, self._dictionary, texts)
        compared = label_rows.compare_labels(self._store, self._dictionary, labels)
        change.labels, change.changed_labels, change.same_labels = compared.new, compared.changed, compared.same
        if compared.repeated:
            change.notes += (f"{compared.repeated:,} labels were there twice",)
        if compared.rows:
            table = label_rows.make_label_table(self._dictionary, compared.rows, TOOL, at)
            self._writer.add("labels", table, key=self._dictionary)
        scores = [] if self._scores is None else self._scores.to_pylist()
        new_scores = label_rows.compare_scores(self._store, self._dictionary, scores)
        change.scores = len(new_scores)
        if new_scores:
            table = label_rows.make_score_table(self._dictionary, new_scores, TOOL, at)
            self._writer.add("scores", table, key=self._dictionary)
        if change.state == "unchanged" and (compared.rows or new_scores):
            change.state = "changed"

    def write_vectors(self, d_sae: int) -> None:
        """Write vectors. Raises Conflict when the store has others of this dictionary."""
        if not self._vectors:
            return
        widths = {part.shape[1] for _, part in self._vectors}
        if len(widths) > 1:
            raise BadRequest(f"the vectors of {self._dictionary} have several widths: {sorted(widths)}")
        width = widths.pop()
        for first in range(0, d_sae, SHARD_FEATURES):
            vectors = self._place_vectors(first, min(SHARD_FEATURES, d_sae - first), width)
            if self.known is None:
                self._writer.add_vectors(self._dictionary, vectors, shard=first // SHARD_FEATURES)
                self.change.vectors += len(vectors)
                continue
            there = self._store.vectors([f"{self._dictionary}/{first + number}" for number in range(len(vectors))])
            if there.shape != vectors.shape or not numpy.array_equal(there, vectors.astype(numpy.float16)):
                raise Conflict(
                    f"the store has other vectors of {self._dictionary}: name these with --dictionary MODEL/SOURCE"
                )

    def _place_vectors(self, first: int, count: int, width: int) -> numpy.ndarray:
        """Return the vectors of features from `first` on, (count, width) float32: zeros for a feature without one."""
        vectors = numpy.zeros((count, width), numpy.float32)
        for features, part in self._vectors:
            rows = numpy.flatnonzero((features >= first) & (features < first + count))
            vectors[features[rows] - first] = part[rows]
        return vectors
