"""Scores without a language model: whether a label's embedding is nearer to the texts its feature is active on than to others."""

from __future__ import annotations

import collections
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy
import pyarrow

from featurestore import Feature, Progress
from labeler.explainers.llm_explainer import MissingEvidence
from labeler.runs.row_buffer import Rows
from labeler.runs.score_run import Scored, pages
from labeler.scorers import statistics as statistics
from labeler.scorers.examples import Material, Text
from labeler.scorers.judge import row_of
from labeler.scorers.methods import HARD, RANDOM, Result
from labeler.scorers.sample import Target

METHOD = "embedding"
TEXTS = 8  # of each kind: embedding them is most of the work
AROUND = 24  # tokens of a text on either side of its strongest
TOGETHER = 32  # features whose texts are embedded at once
KEPT = 50_000  # texts whose vectors are kept at hand: a neighbour's texts are asked for again


def by_embedding(
    store: Any,
    chosen: pyarrow.Table,
    *,
    sampled: bool,
    embedder: str | None = None,
    redo: bool = False,
    progress: Progress,
) -> Scored:
    """Score labels (a table of score_sample.labels) by how well the cosine of label and text tells where a feature fires.

    `embedder` is a setting of featurestore (default: that of the store's label index). Raises Unavailable when it is not
    at hand.
    """
    embed = Embedded(store.embedder(embedder))
    # What was done before was done by a judge of this name.
    done = store.sql(
        "SELECT dictionary, feature, label, explainer FROM stored.scores WHERE method = 'embedding' "
        f"AND judge = '{embed.id.replace(chr(39), chr(39) * 2)}'"
    )
    known = set(zip(*(done[name].to_pylist() for name in done.column_names), strict=True)) if not redo else set()
    scores, failed = Rows(store, "scores", "score"), collections.Counter[str]()
    labels = skipped = without_hard = 0
    stage = progress(f"scoring with {embed.id}", chosen.num_rows)
    for group in _groups(pages(store, chosen), TOGETHER):
        work: list[tuple[Target, Material]] = []
        for page, examples, those in group:
            todo = [one for one in those if (one.dictionary, one.feature, one.label, one.explainer) not in known]
            skipped += len(those) - len(todo)
            stage(len(those))
            try:
                material = examples.material(page, TEXTS)
            except MissingEvidence as exc:
                failed[str(exc)] += len(todo)
                continue
            work += [(one, material) for one in todo]
        embed.remember([text for _, material in work for kind in material[:3] for text in kind])
        vectors = embed.labels([target.label for target, _ in work])
        for vector, (target, material) in zip(vectors, work, strict=True):
            results = _results(embed, vector, material)
            labels += 1
            without_hard += not any(one.negatives == HARD for one in results)
            scores.add(
                [row_of(target, METHOD, one, 0.5, material.examples, sampled) | {"judge": embed.id} for one in results]
            )
        if scores.due:
            scores.write()
    scores.write()
    done = {"labels": labels, "scores": scores.written, "skipped": skipped, "without_hard": without_hard}
    return Scored(judge=embed.id, failed=dict(failed), **done)


def _groups(items: Iterable[tuple[Feature, Any, list[Target]]], size: int) -> Iterable[list[Any]]:
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group


def _results(embed: Embedded, label: numpy.ndarray, material: Material) -> list[Result]:
    near = embed.texts(material.positives) @ label
    found = []
    for kind, texts in ((RANDOM, material.random), (HARD, material.hard)):
        if texts:
            far = embed.texts(texts) @ label
            value = statistics.area(near, far)
            estimate = statistics.area_interval(value, len(near), len(far), statistics.deviations())
            found.append(Result(kind, estimate, value, len(near) + len(far), 0))
    return found


class Embedded:
    """Vectors of texts, each embedded once as long as it is kept."""

    def __init__(self, embedder: Any):
        self.id = embedder.id
        self._embedder = embedder
        self._kept: OrderedDict[str, numpy.ndarray] = OrderedDict()

    def labels(self, labels: Sequence[str]) -> numpy.ndarray:
        """(n, d) unit vectors."""
        return self._embedder(labels)

    def remember(self, texts: Sequence[Text]) -> None:
        """Embed what is not kept, all at once."""
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        new = list(dict.fromkeys(said for one in texts if (said := around(one)) not in self._kept))
        if new:
            self._kept.update(zip(new, self._embedder(new), strict=True))

    def texts(self, texts: Sequence[Text]) -> numpy.ndarray:
        """(n, d) unit vectors of texts that were remembered."""
        return numpy.stack([self._kept[around(one)] for one in texts])


def around(text: Text) -> str:
    """A text near its strongest token, or near its middle where nothing is known to be active."""
    size = len(text.tokens)
    strongest = int(numpy.argmax(numpy.abs(text.activations))) if any(text.activations) else size // 2
    first = max(0, min(strongest - AROUND, size - 2 * AROUND - 1))
    return "".join(text.tokens[first : first + 2 * AROUND + 1])
