"""Examples with their text: windows of the token stream, cut for all of a feature's examples at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy

from featurestore.display.float32 import round_floats32
from featurestore.errors import BadStore
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables.grouped_rows import Cut
from featurestore.tables.row_reader import Rows
from featurestore.values.examples import Example


class ExampleWindows:
    """Makes examples from rows of stored.examples, in one snapshot."""

    def __init__(self, rows: Rows, snapshot: Snapshot):
        self._rows = rows
        self._snapshot = snapshot

    def examples(self, cut: Cut, most: int | None) -> tuple[Example, ...]:
        """The examples of these rows, in their order, at most `most` of each band; all with None.

        Raises BadStore where the store lacks their text.
        """
        ranks = cut.values("rank")
        wanted = [n for n, rank in enumerate(ranks) if most is None or rank < most]
        if not wanted:
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
            *(cut.values(name) for name in ("band_share", "repeated", "extra")),
            strict=True,
        )
        examples = tuple(itertools.starmap(Example, columns))
        return examples if len(wanted) == len(examples) else tuple(examples[n] for n in wanted)

    def texts(self, places: Sequence[tuple[str, int, int, int]]) -> list[tuple[str, ...]]:
        """The texts of the tokens of windows, each given as (corpus, document, start, length).

        Raises BadStore where the store lacks their text.
        """
        if not places:
            return []
        documents, starts, lengths = numpy.array([place[1:] for place in places], numpy.int32).T
        return self._texts([place[0] for place in places], documents, starts, lengths)[2]

    def _texts(
        self, corpora: Sequence[str], documents: numpy.ndarray, starts: numpy.ndarray, lengths: numpy.ndarray
    ) -> tuple[list[str | None], list[bool], list[tuple[str, ...]]]:
        """For each window its document's name, whether that is held out, and the texts of the window's tokens."""
        if len(set(corpora)) == 1:
            return self._of_corpus(corpora[0], documents, starts, lengths)
        windows: list[tuple[str | None, bool, tuple[str, ...]]] = [(None, False, ())] * len(corpora)
        for corpus in set(corpora):
            places = [n for n, name in enumerate(corpora) if name == corpus]
            texts = self._of_corpus(corpus, documents[places], starts[places], lengths[places])
            for n, window in zip(places, zip(*texts, strict=True), strict=True):
                windows[n] = window
        names, held_out, tokens = zip(*windows, strict=True)
        return list(names), list(held_out), list(tokens)

    def _of_corpus(
        self, corpus: str, documents: numpy.ndarray, starts: numpy.ndarray, lengths: numpy.ndarray
    ) -> tuple[list[str | None], list[bool], list[tuple[str, ...]]]:
        names, tokenizers, held_out = self._rows.documents(self._part("documents", corpus)).of(documents)
        ids = self._rows.stream(self._part("token_stream", corpus)).windows(documents, starts, lengths)
        stops = numpy.cumsum(lengths).tolist()
        ends = list(zip([0, *stops], stops, strict=False))
        tokens: list[tuple[str, ...]] = [()] * len(ends)
        for tokenizer in set(tokenizers):
            places = [n for n, name in enumerate(tokenizers) if name == tokenizer]
            vocabulary = self._rows.vocabulary(self._part("tokenizers", tokenizer))
            for n, text in zip(places, vocabulary.windows(ids, [ends[n] for n in places]), strict=True):
                tokens[n] = text
        return names, held_out, tokens

    def _part(self, table: str, key: str) -> Part:
        parts = self._snapshot.parts(table, key)
        if not parts:
            raise BadStore(f"the store lacks {table} of {key}; run `featurestore check --repair`")
        return parts[0]


def _dense(cut: Cut, lengths: numpy.ndarray) -> list[tuple[float, ...]]:
    """For each window the activation of each of its tokens, 0 where the feature does not fire."""
    counts, offsets = cut.lists("offsets")
    _, values = cut.lists("activations")
    ends = numpy.cumsum(lengths)
    dense = numpy.zeros(int(ends[-1]))
    dense[numpy.repeat(ends - lengths, counts) + offsets] = round_floats32(values)
    whole = dense.tolist()
    stops = ends.tolist()
    return [tuple(whole[start:stop]) for start, stop in zip([0, *stops], stops, strict=False)]
