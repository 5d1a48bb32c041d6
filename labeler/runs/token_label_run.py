"""Labels of a whole dictionary from token statistics: reads the store for token_explainer.py. Asks no model."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow

from featurestore import Progress, Store
from featurestore.extension.text import decode_piece, find_character, join_pieces
from labeler.explainers import token_explainer
from labeler.explainers.token_explainer import Firing, FiringShares
from labeler.runs.label_run import LabelReport
from labeler.runs.row_buffer import RowBuffer

TOP_SHARE = 0.5  # of a feature's mass, which its strongest examples get; sampled ones get the rest
EXPLAINER = "tokens"
AFTER = 7  # tokens after the strongest that are looked at


def label_from_tokens(store: Store, dictionaries: Sequence[str], progress: Progress) -> LabelReport:
    """Label every feature that has examples which are not held out; the others are skipped and counted."""
    rows = RowBuffer(store, "labels", "label")
    features = 0
    for dictionary in dictionaries:
        common = {"dictionary": dictionary, "explainer": EXPLAINER, "prompt": token_explainer.PROMPT}
        rows.add(
            [
                common | {"feature": feature, "label": text, "examples": n}
                for feature, text, n in _write_labels(store, dictionary, progress)
            ]
        )
        rows.write()
        features += store.dictionary(dictionary).d_sae
    return LabelReport(explainer=EXPLAINER, labelled=rows.written, skipped=features - rows.written)


def _write_labels(store: Store, dictionary: str, progress: Progress) -> Iterator[tuple[int, str, int]]:
    """Feature, label and number of examples, for each feature that has examples."""
    token_shares = _read_token_shares(store, dictionary)
    promoted = {
        row["feature"]: token_explainer.select_outstanding(
            [(effect["token"], effect["value"]) for effect in row["top_logits"] or []]
        )
        for row in store.sql(
            "SELECT feature, top_logits[1:10] AS top_logits FROM stored.features WHERE dictionary = $name",
            {"name": dictionary},
        ).to_pylist()
    }
    shares: dict[int, FiringShares] = {}
    counts: dict[int, int] = {}
    stage = progress(f"reading examples of {dictionary}", len(promoted))
    for feature, firings in _read_firings(store, dictionary):
        shares[feature] = token_explainer.summarize(firings)
        counts[feature] = len(firings)
        stage(1)
    common = token_explainer.average(token_shares, shares.values())
    for feature, feature_shares in shares.items():
        label = token_explainer.write_label(feature_shares, common, promoted.get(feature, []))
        yield feature, label, counts[feature]


def _read_token_shares(store: Store, name: str) -> dict[str, float]:
    """The share of each token (its text without outer spaces) among the tokens of the dictionary's corpus."""
    rows = store.sql(
        """
        WITH used AS (SELECT corpus, tokenizer FROM stored.dictionaries WHERE dictionary = $name),
             counted AS (
                 SELECT t, count(*) AS n
                 FROM (SELECT unnest(tokens) AS t FROM stored.tokens WHERE corpus IN (SELECT corpus FROM used))
                 GROUP BY t)
        SELECT z.pieces[t + 1] AS piece, n FROM counted, stored.tokenizers z
        WHERE z.tokenizer IN (SELECT tokenizer FROM used)
        """,
        {"name": name},
    )
    total = sum(rows["n"].to_pylist()) or 1
    shares: dict[str, float] = collections.defaultdict(float)
    for piece, n in zip(rows["piece"].to_pylist(), rows["n"].to_pylist(), strict=True):
        shares[piece.strip(" ") or piece] += n / total
    return shares


class _Corpus(NamedTuple):
    """The token ids of a corpus (n,) int32, where each document begins in them, and the bytes of each token with their
    text, or None where they are a part of a character."""

    tokens: Any
    begins: Mapping[int, int]
    bytes: Sequence[bytes]
    texts: Sequence[str | None]

    def cut(self, begin: int, length: int, peak: int) -> tuple[str, str, str]:
        """Return the text of token `peak` of a window, of what is before it, and of the AFTER tokens after it."""
        ids = self.tokens[begin : begin + length].tolist()
        texts = [self.texts[id] for id in ids]
        if None in texts:  # a character belongs to all its tokens
            pieces = [self.bytes[id] for id in ids]
            first, end = find_character(pieces, peak)
            parts = (join_pieces(part) for part in (pieces[first:end], pieces[:first], pieces[end : end + AFTER]))
            token, before, after = map("".join, parts)
            return token, before, after
        whole = [text or "" for text in texts]
        return whole[peak], "".join(whole[:peak]), "".join(whole[peak + 1 : peak + 1 + AFTER])


def _read_corpus(store: Store, name: str) -> _Corpus | None:
    """The corpus of a dictionary; None when the store has no tokenizer for it."""
    runs = store.sql(
        "SELECT document, run, tokens FROM stored.tokens WHERE corpus IN "
        "(SELECT corpus FROM stored.dictionaries WHERE dictionary = $name) ORDER BY document, run",
        {"name": name},
    )
    pieces = store.sql(
        "SELECT bytes FROM stored.tokenizers WHERE tokenizer IN "
        "(SELECT tokenizer FROM stored.dictionaries WHERE dictionary = $name)",
        {"name": name},
    )["bytes"].to_pylist()
    if not pieces:
        return None
    tokens = runs["tokens"].combine_chunks()
    first = runs["run"].to_numpy() == 0
    documents, offsets = runs["document"].to_numpy()[first], tokens.offsets.to_numpy()[:-1][first]
    begins = dict(zip(documents.tolist(), offsets.tolist(), strict=True))
    return _Corpus(tokens.flatten().to_numpy(), begins, pieces[0], [decode_piece(piece) for piece in pieces[0]])


def _read_firings(store: Store, name: str) -> Iterator[tuple[int, list[Firing]]]:
    """Each feature with its examples that are not held out, as firings."""
    table = store.sql(
        """
        SELECT feature, band = 'top' AS top, coalesce(weight, 1) * abs(activation) AS mass,
               position - start AS peak, e.document, start, e.length
        FROM stored.examples e JOIN stored.documents d ON d.corpus = e.corpus AND d.document = e.document
        WHERE dictionary = $name AND NOT held_out AND position IS NOT NULL ORDER BY feature
        """,
        {"name": name},
    )
    # Windows are cut here: a join would copy a whole document, such as a novel, for each of its examples.
    corpus = _read_corpus(store, name)
    if corpus is None:
        return
    for rows in _group_by_feature(table):
        totals = {top: sum(row.mass for row in rows if row.top == top) or 1.0 for top in (True, False)}
        both = len({row.top for row in rows}) == 2
        firings = []
        for row in rows:
            begin = corpus.begins[row.document] + row.start
            share = (TOP_SHARE if row.top else 1 - TOP_SHARE) if both else 1.0
            firings.append(Firing(share * row.mass / totals[row.top], *corpus.cut(begin, row.length, row.peak)))
        yield rows[0].feature, firings


class _ExampleRow(NamedTuple):
    """An example: its mass, and where its window and the strongest token in it are."""

    feature: int
    top: bool
    mass: float
    peak: int
    document: int
    start: int
    length: int


def _group_by_feature(table: pyarrow.Table) -> Iterator[list[_ExampleRow]]:
    columns = [column.to_pylist() for column in table.columns]
    rows = map(_ExampleRow._make, zip(*columns, strict=True))
    for _, group in itertools.groupby(rows, key=lambda row: row.feature):
        yield list(group)
