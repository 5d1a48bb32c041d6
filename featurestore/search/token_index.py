"""What features fire on and what they raise, as words: a keyword index of each dictionary's top examples and top logits.

Of a top example the words are indexed on which the feature fires at least half as hard as at the strongest: whole words, also
where only a piece of one fires, and words that stand together as a phrase. Besides, the strongest tokens themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import pyarrow
import pyarrow.compute

from featurestore.progress import Progress, Stage
from featurestore.search import keyword
from featurestore.snapshot.catalog import Catalog, Choice
from featurestore.snapshot.shard import Shards
from featurestore.storage.directory import Directory
from featurestore.storage.log import Part, Snapshot
from featurestore.tables.row_reader import Rows
from featurestore.tables.writer import SHARD_FEATURES, Writer

TABLE = "token_index"
FIELDS = {"tokens": "fires", "logits": "raises"}  # by the name a query has for them
SHARE = 0.5  # of an example's largest activation, what a token must have to count
REACH = 4  # tokens a word is looked for on either side
GAP = "\x1f"  # between words that do not stand together; two of them between examples
STEP = 4096  # features read at a time
LAYOUT = 1  # of the index's documents: one of another layout is built again

Once = Callable[[tuple[Any, ...], Callable[[], Any]], Any]


class TokenIndex:
    """The token indexes of a store's dictionaries, searchable by the numbers of the catalog."""

    def __init__(self, directory: Directory, snapshot: Snapshot, catalog: Catalog, once: Once):
        self._catalog = catalog
        self._parts = {part.key: part for part in snapshot.parts(TABLE)}
        self._open = lambda part: once(
            (part.file, "keywords"), lambda: keyword.KeywordIndex(directory.local(part), part.rows)
        )
        self.missing = [
            d.dictionary
            for d in catalog.dictionaries
            if is_stale(snapshot, d.dictionary, self._parts.get(d.dictionary))
        ]

    def __len__(self) -> int:
        return len(self._parts)

    def search(self, words: keyword.Words, k: int, choice: Choice, over: str) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The k allowed features that match best over "tokens" or "logits": catalog numbers and BM25 scores, best first."""
        numbers, scores = [numpy.empty(0, numpy.int64)], [numpy.empty(0, numpy.float32)]
        for dictionary, part in self._parts.items():
            run = self._catalog.run(dictionary)
            allowed = choice.once((dictionary, "tokens"), lambda: keyword.Allowed(choice.mask[run]))  # noqa: B023 - called at once
            rows, found = self._open(part).search(words, k, allowed, FIELDS[over], tokens=True)
            if len(rows):
                numbers.append(rows + run.start)
                scores.append(found)
        all_numbers, all_scores = numpy.concatenate(numbers), numpy.concatenate(scores)
        order = numpy.lexsort((all_numbers, -all_scores))[:k]
        return all_numbers[order], all_scores[order]

    def windows(self, number: int) -> list[str]:
        """The words that a feature fires on, by top example."""
        id = self._catalog.id(number)
        texts = self._open(self._parts[id.dictionary]).stored([id.feature])[0]
        return texts.get(FIELDS["tokens"], "").split(GAP + GAP)


def is_stale(snapshot: Snapshot, dictionary: str, index: Part | None) -> bool:
    """Whether there is something to index that the index was not built of."""
    covers = _covers(snapshot, dictionary)
    if index is None:
        return bool(covers)
    return index.about["covers"] != covers or index.about.get("layout") != LAYOUT


def _covers(snapshot: Snapshot, dictionary: str) -> list[str]:
    if not snapshot.parts("examples", dictionary):
        rows = snapshot.parts("features", dictionary)
    else:
        rows = [part for table in ("examples", "features") for part in snapshot.parts(table, dictionary)]
    return sorted(part.sha256 for part in rows)


def build(
    writer: Writer, directory: Directory, snapshot: Snapshot, catalog: Catalog, rows: Rows, progress: Progress
) -> list[str]:
    """Build the token index of every dictionary whose own is missing, stale or damaged; lines that say what was done."""
    said = []
    for one in catalog.dictionaries:
        name = one.dictionary
        old = snapshot.parts(TABLE, name)
        if not is_stale(snapshot, name, old[0] if old else None) and all(map(directory.is_whole, old)):
            continue
        advance = progress(f"indexing tokens of {name}", one.d_sae)
        reader = _Reader(snapshot, rows)
        writer.add_built(
            TABLE,
            name,
            "",
            lambda path: _write(path, reader, name, one.d_sae, advance),  # noqa: B023 - called at once
            {"covers": _covers(snapshot, name), "layout": LAYOUT},
        )
        said.append(f"token index of {name}: top examples and logits of {one.d_sae:,} features")
    return said


def _write(path: Path, reader: _Reader, dictionary: str, d_sae: int, advance: Stage) -> int:
    def documents() -> Iterator[dict[str, str | list[str]]]:
        for start in range(0, d_sae, STEP):
            stop = min(start + STEP, d_sae, (start // SHARD_FEATURES + 1) * SHARD_FEATURES)
            fired, strongest = reader.fires(dictionary, start, stop)
            for words, tokens, raised in zip(fired, strongest, reader.raises(dictionary, start, stop), strict=True):
                yield {
                    "fires": words,
                    "fires_tokens": tokens,
                    "raises": GAP.join(raised),
                    "raises_tokens": raised,
                }
            advance(stop - start)

    return keyword.build(path, documents(), fields=tuple(FIELDS.values()), tokens=tuple(FIELDS.values()), stored=True)


class _Vocabulary(NamedTuple):
    """Text and bytes of token ids, with GAP as the last, and which of them may begin and end within a word."""

    pieces: pyarrow.Array
    bytes: pyarrow.Array
    begins: numpy.ndarray
    ends: numpy.ndarray


class _Reader:
    """Reads what a dictionary's features fire on."""

    def __init__(self, snapshot: Snapshot, rows: Rows):
        self._snapshot = snapshot
        self._shards = Shards(snapshot)
        self._rows = rows
        self._vocabularies: dict[str, _Vocabulary] = {}

    def fires(self, dictionary: str, start: int, stop: int) -> tuple[list[str], list[list[str]]]:
        """Of features start to stop, for each: its words, examples parted by two GAPs, and its strongest tokens."""
        part = self._shards.at(dictionary, start).examples
        none: tuple[list[str], list[list[str]]] = [""] * (stop - start), [[]] * (stop - start)
        if part is None:
            return none
        table = self._rows.of_features(part, numpy.arange(start, stop))
        table = table.filter(pyarrow.compute.equal(table["band"], "top")).sort_by(
            [("feature", "ascending"), ("rank", "ascending")]
        )
        corpora = table["corpus"].unique().to_pylist()
        if len(corpora) != 1:  # none, or examples of several tokenizers perhaps: the first corpus' are taken
            if not corpora:
                return none
            table = table.filter(pyarrow.compute.equal(table["corpus"], corpora[0]))
        return self._words(table, corpora[0], start, stop)

    def _words(self, table: pyarrow.Table, corpus: str, start: int, stop: int) -> tuple[list[str], list[list[str]]]:
        stream = self._rows.stream(self._snapshot.parts("token_stream", corpus)[0])
        vocabulary = self._vocabulary(corpus)
        feature = table["feature"].to_numpy() - start
        windows = stream.places(table["document"].to_numpy(), table["start"].to_numpy())
        lengths = table["length"].to_numpy().astype(numpy.int64)
        example, place = _strong(table)
        place = windows[example] + place
        low, high = windows[example], windows[example] + lengths[example] - 1
        begin, end = place.copy(), place.copy()
        for _ in range(REACH):
            inside = (begin > low) & vocabulary.begins[stream.tokens[begin]]
            begin -= inside & vocabulary.ends[stream.tokens[numpy.maximum(begin - 1, 0)]]
            after = stream.tokens[numpy.minimum(end + 1, len(stream.tokens) - 1)]
            end += (end < high) & vocabulary.ends[stream.tokens[end]] & vocabulary.begins[after]
        # Every token of every word, each once; a gap wherever the next one is not its neighbour.
        sizes = end - begin + 1
        owner = numpy.repeat(example, sizes)
        at = numpy.arange(len(owner)) - numpy.repeat(numpy.cumsum(sizes) - sizes, sizes) + numpy.repeat(begin, sizes)
        order = numpy.lexsort((at, owner))
        owner, at = owner[order], at[order]
        fresh = numpy.append(True, (numpy.diff(owner) != 0) | (numpy.diff(at) != 0))[: len(at)]
        owner, at = owner[fresh], at[fresh]
        gaps = numpy.zeros(len(at), numpy.int64)
        if len(at):
            gaps[1:] = numpy.where(numpy.diff(owner) != 0, 2, numpy.where(numpy.diff(at) != 1, 1, 0))
            gaps[numpy.append(True, numpy.diff(feature[owner]) != 0)] = 0
        ids = numpy.full(len(at) + int(gaps.sum()), len(vocabulary.pieces) - 1)
        ids[numpy.arange(len(at)) + numpy.cumsum(gaps)] = stream.tokens[at]
        of_feature = numpy.repeat(feature[owner], 1 + gaps)
        joined = pyarrow.compute.binary_join(_grouped(vocabulary.bytes.take(ids), of_feature, stop - start), b"")
        texts = [words.decode(errors="replace") for words in joined.to_pylist()]
        peaks = stream.tokens[windows + table["position"].to_numpy() - table["start"].to_numpy()]
        strongest = _grouped(vocabulary.pieces.take(peaks), feature, stop - start)
        return texts, strongest.to_pylist()

    def _vocabulary(self, corpus: str) -> _Vocabulary:
        if corpus not in self._vocabularies:
            documents = self._rows.all(self._snapshot.parts("documents", corpus)[0], ["tokenizer"])
            part = self._snapshot.parts("tokenizers", documents["tokenizer"][0].as_py())[0]
            table = self._rows.all(part, ["pieces", "bytes"])
            pieces, raw = (table[name][0].as_py() for name in ("pieces", "bytes"))
            inner = numpy.array([_inner(piece) for piece in raw])
            self._vocabularies[corpus] = _Vocabulary(
                pyarrow.array([*pieces, GAP], pyarrow.string()),
                pyarrow.array([*raw, GAP.encode()], pyarrow.binary()),
                inner[:, 0],
                inner[:, 1],
            )
        return self._vocabularies[corpus]

    def raises(self, dictionary: str, start: int, stop: int) -> list[list[str]]:
        """Of features start to stop, for each: the tokens whose logits it raises most, strongest first."""
        part = self._shards.at(dictionary, start).features
        if part is None:
            return [[]] * (stop - start)
        rows = self._rows.of_features(part, numpy.arange(start, stop), ["feature", "top_logits"])
        found = dict(zip(rows["feature"].to_pylist(), rows["top_logits"].to_pylist(), strict=True))
        return [[one["token"] for one in found.get(feature) or []] for feature in range(start, stop)]


def _inner(piece: bytes) -> tuple[bool, bool]:
    """Whether a token's begin and its end may lie within a word; a piece of a character lies within one."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return True, True
    return text[:1].isalnum(), text[-1:].isalnum()


def _strong(table: pyarrow.Table) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The tokens that count: the row of the table, and the place in its window, of each."""
    offsets = table["offsets"].combine_chunks()
    counts = numpy.diff(offsets.offsets.to_numpy())
    row = numpy.repeat(numpy.arange(table.num_rows), counts)
    values = numpy.abs(table["activations"].combine_chunks().flatten().to_numpy())
    largest = numpy.zeros(table.num_rows, values.dtype)
    numpy.maximum.at(largest, row, values)
    kept = values >= SHARE * largest[row]
    return row[kept], offsets.flatten().to_numpy()[kept].astype(numpy.int64)


def _grouped(values: pyarrow.Array, owners: Sequence[int] | numpy.ndarray, count: int) -> pyarrow.ListArray:
    """Values as lists, one for each owner from 0 to count; `owners`, one for each value, ascend."""
    ends = numpy.cumsum(numpy.bincount(owners, minlength=count))
    return pyarrow.ListArray.from_arrays(numpy.append(0, ends).astype(numpy.int32), values)
