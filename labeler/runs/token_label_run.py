"""Labels of a whole dictionary from token statistics: no language model. What the statistics say is labeler/explainers/token_explainer.py's."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow

from featurestore import Progress
from labeler.explainers import token_explainer
from labeler.runs.label_run import Labelled
from labeler.runs.row_buffer import Rows

TOP_SHARE = 0.5  # of a feature's mass, what its strongest examples get; sampled ones have the rest


def by_tokens(store: Any, dictionaries: Sequence[str], progress: Progress) -> Labelled:
    """Label every feature with examples that are not held out from token statistics; the others are skipped and counted."""
    rows = Rows(store, "labels", "label")
    features = 0
    for dictionary in dictionaries:
        common: dict[str, Any] = {
            "dictionary": dictionary,
            "explainer": "tokens",
            "prompt": token_explainer.PROMPT,
        }
        found = list(_labels(store, dictionary, progress))
        rows.add([common | {"feature": feature, "label": text, "examples": n} for feature, text, n in found])
        rows.write()
        features += store.dictionary(dictionary).d_sae
    return Labelled(explainer="tokens", labelled=rows.written, skipped=features - rows.written)


def _labels(store: Any, dictionary: str, progress: Progress) -> Iterator[tuple[int, str, int]]:
    name = dictionary.replace("'", "''")
    of_corpus = _shares(store, name)
    promoted = {
        row["feature"]: token_explainer.standing_out([(one["token"], one["value"]) for one in row["top_logits"] or []])
        for row in store.sql(f"SELECT feature, top_logits FROM stored.features WHERE dictionary = '{name}'").to_pylist()
    }
    seen: dict[int, token_explainer.Seen] = {}
    counts: dict[int, int] = {}
    stage = progress(f"reading examples of {dictionary}", len(promoted))
    for feature, firings in _firings(store, name):
        seen[feature] = token_explainer.see(firings)
        counts[feature] = len(firings)
        stage(1)
    common = token_explainer.background(of_corpus, seen.values())
    for feature, one in seen.items():
        yield feature, token_explainer.label(one, common, promoted.get(feature, [])), counts[feature]


def _shares(store: Any, name: str) -> dict[str, float]:
    """Share of each token (text, outer spaces dropped) among the tokens of the dictionary's corpus."""
    rows = store.sql(
        f"""
        WITH mine AS (SELECT corpus, tokenizer FROM stored.dictionaries WHERE dictionary = '{name}'),
             counted AS (
                 SELECT t, count(*) AS n
                 FROM (SELECT unnest(tokens) AS t FROM stored.tokens WHERE corpus IN (SELECT corpus FROM mine))
                 GROUP BY t)
        SELECT z.pieces[t + 1] AS piece, n FROM counted, stored.tokenizers z
        WHERE z.tokenizer IN (SELECT tokenizer FROM mine)
        """
    )
    total = sum(rows["n"].to_pylist()) or 1
    shares: dict[str, float] = collections.defaultdict(float)
    for piece, n in zip(rows["piece"].to_pylist(), rows["n"].to_pylist(), strict=True):
        shares[piece.strip(" ") or piece] += n / total
    return shares


def _firings(store: Any, name: str) -> Iterator[tuple[int, list[token_explainer.Firing]]]:
    mine = f"(SELECT corpus FROM stored.dictionaries WHERE dictionary = '{name}')"
    table = store.sql(
        f"""
        SELECT feature, band = 'top' AS top, coalesce(weight, 1) * abs(activation) AS mass,
               position - start AS peak, e.document, start, e.length
        FROM stored.examples e JOIN stored.documents d ON d.corpus = e.corpus AND d.document = e.document
        WHERE dictionary = '{name}' AND NOT held_out ORDER BY feature
        """
    )
    # Windows are cut here: a join would copy a whole document, a novel say, for each of its examples.
    runs = store.sql(f"SELECT document, run, tokens FROM stored.tokens WHERE corpus IN {mine} ORDER BY document, run")
    corpus = runs["tokens"].combine_chunks()
    stream = corpus.flatten().to_numpy()
    first = runs["run"].to_numpy() == 0
    begins = dict(
        zip(runs["document"].to_numpy()[first].tolist(), corpus.offsets.to_numpy()[:-1][first].tolist(), strict=True)
    )
    pieces = store.sql(
        "SELECT pieces FROM stored.tokenizers WHERE tokenizer IN "
        f"(SELECT tokenizer FROM stored.dictionaries WHERE dictionary = '{name}')"
    )["pieces"].to_pylist()
    if not pieces:
        return
    text = pieces[0]
    for batch in _groups(table):
        totals = {top: sum(mass for _, at_top, mass, *_ in batch if at_top == top) or 1.0 for top in (True, False)}
        both = len({top for _, top, *_ in batch}) == 2
        firings = []
        for _, top, mass, peak, document, start, length in batch:
            at = begins[document] + start
            ids = stream[at : at + length].tolist()
            share = (TOP_SHARE if top else 1 - TOP_SHARE) if both else 1.0
            before = "".join([text[id] for id in ids[:peak]])
            after = "".join([text[id] for id in ids[peak + 1 : peak + 8]])
            firings.append(token_explainer.Firing(share * mass / totals[top], text[ids[peak]], before, after))
        yield batch[0][0], firings


def _groups(table: pyarrow.Table) -> Iterator[list[tuple[int, bool, float, int, int, int, int]]]:
    columns = [column.to_pylist() for column in table.columns]
    for _, group in itertools.groupby(zip(*columns, strict=True), key=lambda row: row[0]):
        yield list(group)
