"""One imported dictionary joins the store: new, added to what is there, or nothing to do."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import pyarrow
import pyarrow.compute

import featurestore
from featurestore import BadRequest, Conflict
from ingest.formats.joining import dictionary_rows, label_rows, mixed_layers
from ingest.formats.joining.example_rows import SHARD_FEATURES, ExcerptCorpus, collect_corpus, make_example_rows
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
    elif join.features is not None or spool.has_windows():
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
        self.features = _keep_last(spool.table("features"))
        self._labels, self._scores = spool.table("labels"), spool.table("scores")
        self._vectors = spool.vectors()
        self.change = DictionaryChange(dictionary, "new" if self.known is None else "unchanged", 0)

    def find_largest(self) -> int:
        """Return the largest feature of any table. Raises BadRequest when there is no row at all."""
        tables = [table for table in (self.features, self._labels, self._scores) if table is not None]
        numbers = [int(pyarrow.compute.max(table["feature"]).as_py()) for table in tables]
        numbers += [int(features.max()) for features, _ in self._vectors]
        numbers += [int(packed.rows["feature"].to_numpy().max()) for packed in self._spool.windows()]
        if not numbers:
            raise BadRequest(f"the files hold nothing of {self._dictionary}")
        return max(numbers)

    def write_statistics(self, facts: dict[str, Any], remembered: dict[str, Any]) -> None:
        """Write the dictionary's row, its features and its examples, where they are not what the store has."""
        known, change = self.known, self.change
        before = dictionary_rows.read_import(known)
        has_windows = self._spool.has_windows()
        corpus = collect_corpus(self._spool, self._folder) if has_windows else None
        change.features = 0 if self.features is None else self.features.num_rows
        if self.features is not None and known is not None:
            change.changed_features = dictionary_rows.count_changed(self._store, self._dictionary, self.features)
        examples = {} if corpus is None else dict(make_example_rows(self._spool, corpus, self._dictionary))
        change.examples = sum(rows.num_rows for rows in examples.values())
        digest = _digest(corpus, examples) if corpus else before.get("examples")
        new_examples = bool(examples) and digest != before.get("examples") and not self._has_examples(examples)
        grown = known is not None and facts["d_sae"] > known.d_sae
        if not (known is None or grown or change.changed_features or new_examples):
            return
        change.state = "new" if known is None else "changed"
        if corpus is not None and new_examples:
            corpus.write(self._writer)
            facts = facts | {"corpus": corpus.id, "tokenizer": corpus.tokenizer}
            self._write_examples(examples)
        row = dictionary_rows.make_row(self._dictionary, known, facts, before | remembered | {"examples": digest})
        self._writer.remove("dictionaries", self._dictionary)
        self._writer.add("dictionaries", row, key=self._dictionary)
        if known is None or grown or change.changed_features:
            self._write_features(facts["d_sae"])

    def _write_features(self, d_sae: int) -> None:
        for table in ("features", "feature_rows"):
            self._writer.remove(table, self._dictionary)
        for shard, rows in dictionary_rows.merge_features(
            self._store, self._dictionary, self.known, self.features, d_sae
        ):
            self._writer.add("features", rows, key=self._dictionary, shard=shard)

    def _write_examples(self, examples: dict[int, pyarrow.Table]) -> None:
        """Write examples; features that were not imported this time keep those they have."""
        for table in ("examples", "example_rows"):
            self._writer.remove(table, self._dictionary)
        shards = set(examples)
        if self.known is not None:
            shards |= set(range(-(-self.known.d_sae // SHARD_FEATURES)))
        for shard in sorted(shards):
            new, old = examples.get(shard), self._read_examples(shard)
            tables = [] if new is None else [new]
            if old is not None and old.num_rows:
                replaced = numpy.zeros(0) if new is None else new["feature"].to_numpy()
                tables.append(old.filter(pyarrow.array(~numpy.isin(old["feature"].to_numpy(), replaced))))
            rows = pyarrow.concat_tables(tables, promote_options="permissive") if tables else None
            if rows is not None and rows.num_rows:
                self._writer.add("examples", rows, key=self._dictionary, shard=shard)

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

    def _has_examples(self, examples: dict[int, pyarrow.Table]) -> bool:
        """Return whether the store has these examples of these features already."""
        for shard, new in examples.items():
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
        vectors = numpy.zeros((d_sae, widths.pop()), numpy.float32)  # a feature without one has a vector of zeros
        for features, part in self._vectors:
            vectors[features] = part
        if self.known is not None:
            ids = [f"{self._dictionary}/{number}" for number in range(len(vectors))]
            there = self._store.vectors(ids)
            if there.shape != vectors.shape or not numpy.array_equal(there, vectors.astype(numpy.float16)):
                raise Conflict(
                    f"the store has other vectors of {self._dictionary}: name these with --dictionary MODEL/SOURCE"
                )
            return
        self.change.vectors = len(vectors)
        for first in range(0, d_sae, SHARD_FEATURES):
            part = numpy.asarray(vectors[first : first + SHARD_FEATURES], dtype=numpy.float32)
            self._writer.add_vectors(self._dictionary, part, shard=first // SHARD_FEATURES)


def _keep_last(features: pyarrow.Table | None) -> pyarrow.Table | None:
    """Return the rows ordered by feature; of a feature that several files have, the row of the last one."""
    if features is None:
        return None
    number = features["feature"].to_numpy()
    _, last = numpy.unique(number[::-1], return_index=True)
    return features if len(last) == 0 else features.take(pyarrow.array(len(number) - 1 - last))


def _digest(corpus: ExcerptCorpus, examples: dict[int, pyarrow.Table]) -> str:
    """Return a hash of a dictionary's examples and their texts."""
    digest = hashlib.sha256(corpus.id.encode())
    for shard in sorted(examples):
        for name in ("feature", "document", "rank", "activation"):
            digest.update(numpy.ascontiguousarray(examples[shard][name].to_numpy()).tobytes())
    return digest.hexdigest()[:16]
