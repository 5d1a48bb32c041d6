"""What a commit may hold of a dictionary, so that every door can show it, however little it is.

A dictionary has a row for each of its features: rows that were not given are added, with null in every column. Of
decoder vectors there is one for each feature, or none at all. Features lie below d_sae, windows inside their documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy
import pyarrow
import pyarrow.compute

from featurestore.errors import BadRequest
from featurestore.storage.log_files import Part
from featurestore.tables.layout import SHARD_FEATURES
from featurestore.tables.schema import arrow_schema


class Shape(NamedTuple):
    """What the row of a dictionary says of its size; the width and the space of its vectors are None if not known."""

    dictionary: str
    d_sae: int
    d_out: int | None
    space: str | None

    @classmethod
    def of(cls, rows: pyarrow.Table) -> Shape:
        """Return the shape that the one row of stored.dictionaries says."""
        return cls(**rows.select(list(cls._fields)).to_pylist()[0])

    @property
    def shards(self) -> int:
        """How many parts the features have."""
        return -(-self.d_sae // SHARD_FEATURES)

    def size(self, shard: int) -> int:
        """Return how many features a shard has."""
        return max(0, min(SHARD_FEATURES, self.d_sae - shard * SHARD_FEATURES))

    def check_below(self, table: str, last: int) -> None:
        """Raise BadRequest if `last` is no index of a feature."""
        if last >= self.d_sae:
            raise BadRequest(f"{table}: {self.dictionary} has no feature {last}: its d_sae is {self.d_sae}")

    def check_vectors(self, shard: int, rows: int, targets: int, width: int | None) -> None:
        """Raise BadRequest unless a part has a vector of the dictionary's width for each feature of its shard.

        `width` is None where it is not known, of parts that were made elsewhere.
        """
        if self.d_out is None or self.space is None:
            raise BadRequest(
                f"decoder_vectors: the row of {self.dictionary} says no d_out or no space; give both with its vectors"
            )
        if width not in (None, self.d_out):
            raise BadRequest(f"decoder_vectors: vectors of {self.dictionary} have d_out = {self.d_out}, not {width}")
        if rows != self.size(shard) * targets:
            raise BadRequest(
                f"decoder_vectors: {rows // targets:,} vectors for the {self.size(shard):,} features of "
                f"{self.dictionary} from {shard * SHARD_FEATURES:,} on; give one for each feature, or none at all"
            )


def fill_rows(features: pyarrow.Table, dictionary: str, shard: int, size: int | None) -> pyarrow.Table:
    """Return rows of stored.features, ordered by feature, and one of nulls for each other feature of the shard.

    With `size` None the shard ends with the last row. Raises BadRequest for a feature of another shard.
    """
    first = shard * SHARD_FEATURES
    numbers = features["feature"].to_numpy()
    if len(numbers) and (numbers[0] < first or numbers[-1] >= first + SHARD_FEATURES):
        odd = numbers[0] if numbers[0] < first else numbers[-1]
        raise BadRequest(
            f"features: feature {odd} of {dictionary} belongs to shard {odd // SHARD_FEATURES}, not {shard}"
        )
    count = size if size is not None else int(numbers[-1]) - first + 1 if len(numbers) else 0
    if len(numbers) == count:
        return features
    places = numpy.full(count, -1, dtype=numpy.int64)
    places[numbers - first] = numpy.arange(len(numbers))
    wanted = arrow_schema("features")
    filled = features.take(pyarrow.array(places, mask=places < 0))
    given: dict[str, Any] = {
        "dictionary": pyarrow.array([dictionary] * count, pyarrow.string()),
        "feature": numpy.arange(first, first + count, dtype=numpy.int32),
    }
    for name, column in given.items():
        filled = filled.set_column(wanted.names.index(name), name, pyarrow.array(column))
    return filled.cast(wanted)


class Contents:
    """What one writer adds, held to the rows of dictionaries, documents and tokenizers as soon as these are known."""

    def __init__(self, read: Callable[[str, str], pyarrow.Table | None]):
        """`read(table, key)` returns the rows of a committed part of a dictionary, corpus or tokenizer."""
        self._read = read
        self._shapes: dict[str, Shape] = {}
        self._lengths: dict[str, numpy.ndarray] = {}
        self._vocabularies: dict[str, int] = {}
        self._waiting: list[Callable[[], None]] = []

    def learn(self, table: str, key: str, rows: pyarrow.Table) -> None:
        """Take in rows that other rows refer to."""
        if table == "dictionaries" and rows.num_rows:
            self._shapes[key] = Shape.of(rows)
        elif table == "documents":
            lengths = numpy.zeros(int(rows["document"].to_numpy().max(initial=-1)) + 1, dtype=numpy.int64)
            lengths[rows["document"].to_numpy()] = rows["length"].to_numpy()
            self._lengths[key] = lengths
        elif table == "tokenizers" and rows.num_rows:
            self._vocabularies[key] = pyarrow.compute.list_value_length(rows["bytes"])[0].as_py()

    def shape(self, dictionary: str) -> Shape | None:
        """Return the shape of a dictionary; None before its row is added."""
        shape: Shape | None = self._look_up(self._shapes, "dictionaries", dictionary)
        return shape

    def forget(self, dictionary: str) -> None:
        """Forget the shape of a dictionary that this writer removes."""
        self._shapes.pop(dictionary, None)

    def _look_up(self, known: Mapping[str, Any], table: str, key: str) -> Any:
        if key not in known:
            rows = self._read(table, key)
            if rows is not None:
                self.learn(table, key, rows)
        return known.get(key)

    def check_rows(self, table: str, key: str, rows: pyarrow.Table) -> None:
        """Check what rows of a dictionary refer to, now or, where that is not known yet, before the commit.

        Raises BadRequest for a feature that the dictionary does not have, and for a window beyond its document.
        """
        features = rows["features"].combine_chunks().flatten() if table == "contexts" else rows["feature"]
        if len(features):
            last = pyarrow.compute.max(features).as_py()
            self._check_below(table, key, last)
        if table in ("examples", "contexts") and rows.num_rows:
            windows = rows.select(["corpus", "document", "start", "length"])
            for corpus in windows["corpus"].unique().to_pylist():
                of_corpus = windows.filter(pyarrow.compute.equal(windows["corpus"], corpus))
                ends = of_corpus["start"].to_numpy().astype(numpy.int64) + of_corpus["length"].to_numpy()
                self._check_windows(table, corpus, of_corpus["document"].to_numpy(), ends)

    def _check_below(self, table: str, key: str, last: int, last_try: bool = False) -> None:
        shape = self.shape(key)
        if shape is not None and (last_try or last < shape.d_sae):
            shape.check_below(table, last)
        elif not last_try:  # the row of the dictionary may still come, or be replaced by one of more features
            self._waiting.append(lambda: self._check_below(table, key, last, last_try=True))

    def _check_windows(
        self, table: str, corpus: str, documents: numpy.ndarray, ends: numpy.ndarray, last_try: bool = False
    ) -> None:
        lengths = self._look_up(self._lengths, "documents", corpus)
        if lengths is None and not last_try:
            self._waiting.append(lambda: self._check_windows(table, corpus, documents, ends, last_try=True))
            return
        if lengths is None:
            raise BadRequest(f"{table}: the store has no corpus '{corpus}'; add its documents with add_corpus")
        inside = documents < len(lengths)
        beyond = numpy.flatnonzero(~inside | (ends > lengths[numpy.where(inside, documents, 0)]))
        if len(beyond):
            raise BadRequest(f"{table}: a window ends beyond document {documents[beyond[0]]} of corpus {corpus}")

    def check_tokens(self, corpus: str, tokenizers: list[str], largest: int, last_try: bool = False) -> None:
        """Check that the tokenizers of a corpus are there and have its ids, as `check_rows` does."""
        for tokenizer in tokenizers:
            size = self._look_up(self._vocabularies, "tokenizers", tokenizer)
            if size is None and not last_try:
                self._waiting.append(lambda: self.check_tokens(corpus, tokenizers, largest, last_try=True))
                return
            if size is None:
                raise BadRequest(f"documents: the store has no tokenizer '{tokenizer}', of which corpus {corpus} is")
            if largest >= size and len(tokenizers) == 1:
                raise BadRequest(f"tokens: corpus {corpus} has token {largest}, tokenizer {tokenizer} {size:,} tokens")

    def check_waiting(self) -> None:
        """Check what could not be checked when it was added. Raises BadRequest."""
        waiting, self._waiting = self._waiting, []
        for check in waiting:
            check()

    def check_parts(self, dictionary: str, parts: Mapping[str, list[Part]]) -> list[int]:
        """Check the parts that a dictionary will have, by table, and return the shards that have no part of features.

        Raises BadRequest for vectors of some features only, and for parts that do not hold their whole shard.
        """
        shape = self.shape(dictionary)
        if shape is None:
            return []
        for part in parts["features"]:
            if part.rows != shape.size(part.shard):
                raise BadRequest(
                    f"features: {part.rows:,} rows for the {shape.size(part.shard):,} features of {dictionary} "
                    f"from {part.shard * SHARD_FEATURES:,} on"
                )
        for part in parts["decoder_vectors"]:
            shape.check_vectors(part.shard, part.rows, len(part.about.get("targets") or [0]), None)
        with_vectors = {part.shard for part in parts["decoder_vectors"]}
        if with_vectors and len(with_vectors) < shape.shards:
            lacking = min(set(range(shape.shards)) - with_vectors)
            raise BadRequest(
                f"decoder_vectors: {dictionary} has none for its features from {lacking * SHARD_FEATURES:,} on; "
                "give one for each feature, or none at all"
            )
        return sorted(set(range(shape.shards)) - {part.shard for part in parts["features"]})
