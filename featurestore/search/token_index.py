"""What features fire on and what they raise, as words: a keyword index for each dictionary.

It holds top examples and top logits. Of a top example those words are indexed on which the feature fires at least half
as hard as on the strongest: whole words, even where only a piece of one fires, and neighbouring words as a phrase. The
strongest tokens are indexed as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy
import pyarrow
import pyarrow.compute

from featurestore.progress import Progress, Stage
from featurestore.search import keyword
from featurestore.search.decoder_index import Once
from featurestore.search.words import rarity
from featurestore.search.words.word_query import Words
from featurestore.snapshot.catalog import Catalog, Choice
from featurestore.snapshot.shard import Shards
from featurestore.storage.directory import Directory
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables.layout import SHARD_FEATURES
from featurestore.tables.row_reader import Rows
from featurestore.tables.writer import Writer

TABLE = "token_index"
FIELDS = {"tokens": "fires", "logits": "raises"}  # fields of the index, by the names that queries use
SHARE = 0.5  # a token counts from this share of its example's largest activation
REACH = 4  # a word reaches at most this many tokens to either side
GAP = "\x1f"  # between words that are no neighbours; two of them between examples
RAISED = 10  # tokens whose logits a feature raises most that count: those farther down say less of it
STEP = 4096  # features read at a time
LAYOUT = 2  # version of the index's documents; an index of another one is built again


class Window(NamedTuple):
    """The words of a top example that a feature fires on, and the token it fires on most."""

    words: str
    strongest: str


class TokenIndex:
    """The token indexes of a store's dictionaries, searched by catalog numbers."""

    def __init__(self, directory: Directory, snapshot: Snapshot, catalog: Catalog, once: Once):
        self._catalog = catalog
        parts = snapshot.parts(TABLE)
        self._parts = {part.key: part for part in parts if part.about.get("layout") == LAYOUT}
        self._directory = directory
        self._once = once
        names = [dictionary.dictionary for dictionary in catalog.dictionaries]
        self.missing = [name for name in names if is_stale(snapshot, name, self._parts.get(name))]

    def __len__(self) -> int:
        return len(self._parts)

    def _open(self, part: Part) -> keyword.KeywordIndex:
        return self._once(
            (part.file, "keywords"), lambda: keyword.KeywordIndex(self._directory.open_index(part), part.rows)
        )

    def search(self, words: Words, k: int, choice: Choice, over: str) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The k allowed features that match best: catalog numbers (int64) and BM25 scores (float32), best first.

        `over` is "tokens" or "logits". Raises BadStore where an index is damaged.
        """
        numbers, scores = [numpy.empty(0, numpy.int64)], [numpy.empty(0, numpy.float32)]
        for dictionary, part in self._parts.items():
            run = self._catalog.run(dictionary)
            allowed = choice.once(
                (dictionary, "tokens"),
                lambda: keyword.Allowed(choice.mask[run]),  # noqa: B023 - called at once
            )
            rows, of_rows = self._open(part).search(words, k, allowed, FIELDS[over], tokens=True)
            if len(rows):
                numbers.append(rows + run.start)
                scores.append(of_rows)
        all_numbers, all_scores = numpy.concatenate(numbers), numpy.concatenate(scores)
        order = numpy.lexsort((all_numbers, -all_scores))[:k]
        return all_numbers[order], all_scores[order]

    def full_score(self, words: Words, over: str) -> float:
        """The score of a feature whose words are as many as others' and that has each word once."""
        parts = self._parts.values()
        return rarity.full_score(*(self._open(part).rarity(words, FIELDS[over], tokens=True) for part in parts))

    def windows(self, number: int) -> list[Window]:
        """What a feature fires on, one for each top example."""
        id = self._catalog.id(number)
        texts = self._open(self._parts[id.dictionary]).texts(id.feature)
        words = texts.get(FIELDS["tokens"], "").split(GAP + GAP)
        strongest = json.loads(texts.get(keyword.TOKENS.format(FIELDS["tokens"]), "[]"))
        return [Window(*both) for both in zip_longest(words, strongest, fillvalue="")] if strongest else []


def is_stale(snapshot: Snapshot, dictionary: str, index: Part | None) -> bool:
    """Whether the store has rows of the dictionary that the index was not built from."""
    covers = snapshot.evidence(dictionary)
    if index is None:
        return bool(covers)
    return index.about["covers"] != covers or index.about.get("layout") != LAYOUT


def build(
    writer: Writer,
    directory: Directory,
    snapshot: Snapshot,
    catalog: Catalog,
    rows: Rows,
    progress: Progress,
    rebuild: bool = False,
) -> list[str]:
    """Build every dictionary's token index that is missing, stale or damaged, or with `rebuild` all of them.

    Returns lines that say what was done.
    """
    lines = []
    for dictionary in catalog.dictionaries:
        name, d_sae = dictionary.dictionary, dictionary.d_sae
        old = snapshot.parts(TABLE, name)
        is_current = not is_stale(snapshot, name, old[0] if old else None) and all(map(directory.is_intact, old))
        if is_current and not (rebuild and old):
            continue
        advance = progress(f"indexing tokens of {name}", d_sae)
        reader = FiredWords(snapshot, rows)
        writer.add_built(
            TABLE,
            name,
            "",
            lambda path: _write(path, reader, name, d_sae, advance),  # noqa: B023 - called at once
            {"covers": snapshot.evidence(name), "layout": LAYOUT},
        )
        lines.append(f"token index of {name}: top examples and logits of {d_sae:,} features")
    return lines


def _write(path: Path, reader: FiredWords, dictionary: str, d_sae: int, advance: Stage) -> int:
    def read_documents() -> Iterator[dict[str, str | list[str]]]:
        """Yield the document of each feature in order."""
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

    return keyword.build(
        path, read_documents(), fields=tuple(FIELDS.values()), tokens=tuple(FIELDS.values()), stored=True
    )


class _WordPieces(NamedTuple):
    """Texts and bytes of tokens by id, GAP last, and whether each may begin and may end within a word."""

    pieces: pyarrow.Array
    bytes: pyarrow.Array
    begins: numpy.ndarray
    ends: numpy.ndarray


class FiredWords:
    """Reads what a dictionary's features fire on and which tokens they raise."""

    def __init__(self, snapshot: Snapshot, rows: Rows):
        self._snapshot = snapshot
        self._shards = Shards(snapshot)
        self._rows = rows
        self._vocabularies: dict[str, _WordPieces] = {}

    def fires(self, dictionary: str, start: int, stop: int) -> tuple[list[str], list[list[str]]]:
        """For each feature from start to stop: its words, two GAPs between examples, and its strongest tokens."""
        part = self._shards.at(dictionary, start).examples
        none: tuple[list[str], list[list[str]]] = [""] * (stop - start), [[]] * (stop - start)
        if part is None:
            return none
        table = self._rows.of_features(part, numpy.arange(start, stop))
        table = table.filter(pyarrow.compute.equal(table["band"], "top")).sort_by(
            [("feature", "ascending"), ("rank", "ascending")]
        )
        corpora = table["corpus"].unique().to_pylist()
        if len(corpora) != 1:  # several corpora may have several tokenizers: examples of the first are taken
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
        # Every token of every word once, with a gap wherever the next token is not its neighbour.
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
        joined = pyarrow.compute.binary_join(_group(vocabulary.bytes.take(ids), of_feature, stop - start), b"")
        texts = [words.decode(errors="replace") for words in joined.to_pylist()]
        position = table["position"].fill_null(-1).to_numpy()
        known = position >= 0  # a silent window has no strongest token
        peaks = stream.tokens[(windows + position - table["start"].to_numpy())[known]]
        strongest = _group(vocabulary.pieces.take(peaks), feature[known], stop - start)
        return texts, strongest.to_pylist()

    def _vocabulary(self, corpus: str) -> _WordPieces:
        if corpus not in self._vocabularies:
            documents = self._rows.all(self._snapshot.parts("documents", corpus)[0], ["tokenizer"])
            part = self._snapshot.parts("tokenizers", documents["tokenizer"][0].as_py())[0]
            table = self._rows.all(part, ["pieces", "bytes"])
            pieces, raw = (table[name][0].as_py() for name in ("pieces", "bytes"))
            inner = numpy.array([_inner(piece) for piece in raw])
            self._vocabularies[corpus] = _WordPieces(
                pyarrow.array([*pieces, GAP], pyarrow.string()),
                pyarrow.array([*raw, GAP.encode()], pyarrow.binary()),
                inner[:, 0],
                inner[:, 1],
            )
        return self._vocabularies[corpus]

    def raises(self, dictionary: str, start: int, stop: int) -> list[list[str]]:
        """For each feature from start to stop: the tokens whose logits it raises most, strongest first."""
        part = self._shards.at(dictionary, start).features
        if part is None:
            return [[]] * (stop - start)
        rows = self._rows.of_features(part, numpy.arange(start, stop), ["feature", "top_logits"])
        by_feature = dict(zip(rows["feature"].to_pylist(), rows["top_logits"].to_pylist(), strict=True))
        return [
            [effect["token"] for effect in (by_feature.get(feature) or [])[:RAISED] if effect["token"] is not None]
            for feature in range(start, stop)
        ]


def _inner(piece: bytes) -> tuple[bool, bool]:
    """Whether a token may begin and may end within a word; a piece of a character does both."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return True, True
    return text[:1].isalnum(), text[-1:].isalnum()


def _strong(table: pyarrow.Table) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The tokens that count, see SHARE: for each the row of the table (int64) and the place in its window (int64)."""
    offsets = table["offsets"].combine_chunks()
    counts = numpy.diff(offsets.offsets.to_numpy())
    row = numpy.repeat(numpy.arange(table.num_rows), counts)
    values = numpy.abs(table["activations"].combine_chunks().flatten().to_numpy())
    largest = numpy.zeros(table.num_rows, values.dtype)
    numpy.maximum.at(largest, row, values)
    strong = values >= SHARE * largest[row]
    return row[strong], offsets.flatten().to_numpy()[strong].astype(numpy.int64)


def _group(values: pyarrow.Array, owners: Sequence[int] | numpy.ndarray, count: int) -> pyarrow.ListArray:
    """Values as lists, one for each owner from 0 to count - 1; `owners` has the owner of each value, ascending."""
    ends = numpy.cumsum(numpy.bincount(owners, minlength=count))
    return pyarrow.ListArray.from_arrays(numpy.append(0, ends).astype(numpy.int32), values)
