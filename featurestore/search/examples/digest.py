"""The digest of a feature: a short text of its own evidence, to be embedded where no label says what it means."""

from __future__ import annotations

import collections
from collections.abc import Sequence

import numpy
import pyarrow
import pyarrow.compute

from featurestore.search.token_index import GAP, FiredWords
from featurestore.snapshot.example_windows import ExampleWindows
from featurestore.snapshot.shard import Shards
from featurestore.storage.log import Snapshot
from featurestore.tables.row_reader import Rows

# Version of the text that `write_digest` makes; an index of digests of another form is built again. Numbers and order
# are chosen by `python -m bench.quality` with labels and without; docs/search.md has what was rejected.
FORM = 1
WORDS = 8  # that the feature fires on in most of its top examples
WINDOWS = 2  # of its strongest examples
BEFORE, AFTER = 6, 3  # tokens around the strongest of a window
RAISED = 3  # tokens whose logits it raises most
MOST_CHARACTERS = 120  # of a window or a word: text without spaces is cut


class DigestReader:
    """Writes the digests of a store's features, in one snapshot."""

    def __init__(self, snapshot: Snapshot, rows: Rows):
        self._shards = Shards(snapshot)
        self._rows = rows
        self._fired = FiredWords(snapshot, rows)
        self._windows = ExampleWindows(rows, snapshot)

    def digests(self, dictionary: str, start: int, stop: int) -> list[str]:
        """Return the digest of each feature from start to stop, of one shard; "" for one without any evidence."""
        fired, _ = self._fired.fires(dictionary, start, stop)
        raised = self._fired.raises(dictionary, start, stop)
        windows = self._read_windows(dictionary, start, stop)
        return [write_digest(*evidence) for evidence in zip(map(_rank_words, fired), windows, raised, strict=True)]

    def _read_windows(self, dictionary: str, start: int, stop: int) -> list[list[str]]:
        """Return for each feature the text around the strongest token of its strongest top examples."""
        windows: list[list[str]] = [[] for _ in range(start, stop)]
        part = self._shards.at(dictionary, start).examples
        if part is None:
            return windows
        table = self._rows.of_features(part, numpy.arange(start, stop))
        kept = pyarrow.compute.and_(
            pyarrow.compute.equal(table["band"], "top"),
            pyarrow.compute.and_(pyarrow.compute.less(table["rank"], WINDOWS), table["position"].is_valid()),
        )
        table = table.filter(kept).sort_by([("feature", "ascending"), ("rank", "ascending")])
        first, length, peak = (table[name].to_numpy().astype(numpy.int64) for name in ("start", "length", "position"))
        begin = numpy.maximum(first, peak - BEFORE)
        end = numpy.minimum(first + length, peak + AFTER + 1)
        places = zip(
            table["corpus"].to_pylist(),
            table["document"].to_pylist(),
            begin.tolist(),
            numpy.maximum(end - begin, 0).tolist(),
            strict=True,
        )
        for feature, tokens in zip(table["feature"].to_pylist(), self._windows.texts(list(places)), strict=True):
            windows[feature - start].append("".join(tokens))
        return windows


def _rank_words(fired: str) -> list[str]:
    """Return the words that a feature fires on, those of most examples first; `fired` is as `FiredWords` gives it."""
    examples = ({word.strip() for word in example.split(GAP)} for example in fired.split(GAP + GAP))
    counts = collections.Counter(word for words in examples for word in sorted(words) if word)
    return [word for word, _ in counts.most_common()]


def write_digest(words: Sequence[str], windows: Sequence[str], raised: Sequence[str]) -> str:
    """Return the digest of a feature: the words it fires on, texts around its strongest tokens, tokens it raises.

    All are in their order, the most important first; only the first few of each are taken. White space is made short,
    and what has no letter and no other character is left out.
    """
    parts = [
        ", ".join(_take(words, WORDS)),
        " ... ".join(_take(windows, WINDOWS)),
        ", ".join(_take(raised, RAISED)),
    ]
    return ": ".join(part for part in parts if part)


def _take(texts: Sequence[str], count: int) -> list[str]:
    """Return the first `count` different texts, in one line each."""
    lines = (" ".join(text.split())[:MOST_CHARACTERS] for text in texts)
    return list(dict.fromkeys(line for line in lines if line))[:count]
