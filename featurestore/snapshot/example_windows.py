"""Examples with their text: windows of the token stream, cut for all of a feature's examples at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy

from featurestore.errors import BadStore
from featurestore.storage.log import Part, Snapshot
from featurestore.tables.grouped_rows import Cut
from featurestore.tables.row_reader import Rows
from featurestore.values.feature import Example


class ExampleWindows:
    """Makes examples of rows of stored.examples, in one snapshot."""

    def __init__(self, rows: Rows, snapshot: Snapshot):
        self._rows = rows
        self._snapshot = snapshot

    def examples(self, cut: Cut, most: int | None) -> tuple[Example, ...]:
        """The examples of these rows, in their order, at most `most` of each band. Raises BadStore where text lacks."""
        ranks = cut.values("rank")
        kept = [n for n, rank in enumerate(ranks) if most is None or rank < most]
        if not kept:
            return ()
        corpora, lengths = cut.values("corpus"), cut.numbers("length")
        documents, starts = cut.numbers("document"), cut.numbers("start")
        names, held_out, tokens = self._texts(corpora, documents, starts, lengths)
        # In the order of Example's fields.
        columns = zip(
            cut.values("band"),
            cut.values("band_low"),
            cut.values("band_high"),
            ranks,
            cut.values("weight"),
            corpora,
            documents.tolist(),
            names,
            held_out,
            starts.tolist(),
            cut.values("position"),
            cut.values("activation"),
            tokens,
            _dense(cut, lengths),
            strict=True,
        )
        made = tuple(itertools.starmap(Example, columns))
        return made if len(kept) == len(made) else tuple(made[n] for n in kept)

    def texts(self, places: Sequence[tuple[str, int, int, int]]) -> list[tuple[str, ...]]:
        """The text of the tokens of windows: corpus, document, start and length of each. Raises BadStore where text lacks."""
        if not places:
            return []
        documents, starts, lengths = numpy.array([place[1:] for place in places], numpy.int32).T
        return self._texts([place[0] for place in places], documents, starts, lengths)[2]

    def _texts(
        self, corpora: Sequence[str], documents: numpy.ndarray, starts: numpy.ndarray, lengths: numpy.ndarray
    ) -> tuple[list[str | None], list[bool], list[tuple[str, ...]]]:
        """Of each window the name of its document, whether that is held out, and the text of the window's tokens."""
        if len(set(corpora)) == 1:
            return self._of_corpus(corpora[0], documents, starts, lengths)
        found: list[tuple[str | None, bool, tuple[str, ...]]] = [(None, False, ())] * len(corpora)
        for corpus in set(corpora):
            mine = [n for n, one in enumerate(corpora) if one == corpus]
            texts = self._of_corpus(corpus, documents[mine], starts[mine], lengths[mine])
            for n, one in zip(mine, zip(*texts, strict=True), strict=True):
                found[n] = one
        names, held_out, tokens = zip(*found, strict=True)
        return list(names), list(held_out), list(tokens)

    def _of_corpus(
        self, corpus: str, documents: numpy.ndarray, starts: numpy.ndarray, lengths: numpy.ndarray
    ) -> tuple[list[str | None], list[bool], list[tuple[str, ...]]]:
        names, tokenizers, held_out = self._rows.documents(self._one("documents", corpus)).of(documents)
        ids = self._rows.stream(self._one("token_stream", corpus)).windows(documents, starts, lengths)
        stops = numpy.cumsum(lengths).tolist()
        ends = list(zip([0, *stops], stops, strict=False))
        tokens: list[tuple[str, ...]] = [()] * len(ends)
        for tokenizer in set(tokenizers):
            some = [n for n, one in enumerate(tokenizers) if one == tokenizer]
            vocabulary = self._rows.vocabulary(self._one("tokenizers", tokenizer))
            for n, text in zip(some, vocabulary.windows(ids, [ends[n] for n in some]), strict=True):
                tokens[n] = text
        return names, held_out, tokens

    def _one(self, table: str, key: str) -> Part:
        found = self._snapshot.parts(table, key)
        if not found:
            raise BadStore(f"the store lacks {table} of {key}; run `featurestore check --repair`")
        return found[0]


def _dense(cut: Cut, lengths: numpy.ndarray) -> list[tuple[float, ...]]:
    """Of each window one activation for each token, 0 where silent."""
    counts, offsets = cut.lists("offsets")
    _, values = cut.lists("activations")
    ends = numpy.cumsum(lengths)
    dense = numpy.zeros(int(ends[-1]))
    dense[numpy.repeat(ends - lengths, counts) + offsets] = values
    whole = dense.tolist()
    stops = ends.tolist()
    return [tuple(whole[start:stop]) for start, stop in zip([0, *stops], stops, strict=False)]
