"""Scores without a language model: whether a label's embedding is nearer to texts its feature is active on than to
others.
"""

from __future__ import annotations

import collections
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy
import pyarrow

from featurestore import Progress, Store
from labeler.explainers.llm_explainer import MissingEvidence
from labeler.runs.row_buffer import Row, RowBuffer
from labeler.runs.score_run import Page, ScoreReport, read_pages
from labeler.scorers import statistics
from labeler.scorers.examples import Material, Text
from labeler.scorers.judge import build_row
from labeler.scorers.methods import HARD, RANDOM, Result
from labeler.scorers.sample import Target

METHOD = "embedding"
TEXTS = 8  # of each kind: embedding them is most of the work
AROUND = 24  # tokens of a text on either side of its strongest
TOGETHER = 32  # features whose texts are embedded at once
KEPT = 50_000  # texts whose vectors are cached: a neighbour's texts are needed again

Vectors = numpy.ndarray[Any, numpy.dtype[numpy.float32]]


def score_with_embedder(
    store: Store,
    labels: pyarrow.Table,
    *,
    representative: bool,
    embedder: str | None = None,
    redo: bool = False,
    progress: Progress,
) -> ScoreReport:
    """Score labels (a table of sample.read_labels) by whether the cosine of label and text tells where a feature fires.

    `embedder` is a setting of featurestore (default: that of the store's label index). Labels that it scored before are
    skipped unless `redo`. Raises Unavailable when the embedder is not installed or does not answer.
    """
    vectors = TextVectors(store.embedder(embedder))
    scored = set() if redo else _read_scored(store, vectors.id)
    rows, counts, failed = RowBuffer(store, "scores", "score"), collections.Counter[str](), collections.Counter[str]()
    stage = progress(f"scoring with {vectors.id}", labels.num_rows)
    for pages in _group(read_pages(store, labels), TOGETHER):
        work: list[tuple[Target, Material]] = []
        for page in pages:
            unscored = [target for target in page[2] if _identify(target) not in scored]
            counts["skipped"] += len(page[2]) - len(unscored)
            work += _collect_work(page, unscored, failed)
            stage(len(page[2]))
        for new_rows in _score(vectors, work, representative):
            counts["labels"] += 1
            counts["without_hard"] += not any(row["negatives"] == HARD for row in new_rows)
            rows.add(new_rows)
        if rows.due:
            rows.write()
    rows.write()
    return ScoreReport(
        judge=vectors.id,
        labels=counts["labels"],
        scores=rows.written,
        skipped=counts["skipped"],
        without_hard=counts["without_hard"],
        failed=dict(failed),
    )


def _collect_work(
    page: Page, unscored: Sequence[Target], failed: collections.Counter[str]
) -> list[tuple[Target, Material]]:
    """Each label with the texts of its feature; where there are too few, the labels are counted in `failed`."""
    feature, examples, _ = page
    try:
        material = examples.collect_material(feature, TEXTS)
    except MissingEvidence as exc:
        failed[str(exc)] += len(unscored)
        return []
    return [(target, material) for target in unscored]


def _read_scored(store: Store, embedder: str) -> set[tuple[Any, ...]]:
    """The labels that this embedder has scored, as `_identify` names them."""
    table = store.sql(
        "SELECT dictionary, feature, label, explainer FROM stored.scores WHERE method = 'embedding' AND judge = $judge",
        {"judge": embedder},
    )
    return set(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))


def _identify(target: Target) -> tuple[Any, ...]:
    return target.dictionary, target.feature, target.label, target.explainer


def _group(pages: Iterable[Page], size: int) -> Iterator[list[Page]]:
    iterator = iter(pages)
    while group := list(itertools.islice(iterator, size)):
        yield group


def _score(vectors: TextVectors, work: Sequence[tuple[Target, Material]], representative: bool) -> Iterator[list[Row]]:
    """The rows of each label's scores; all labels and texts are embedded first."""
    vectors.remember([text for _, material in work for texts in material[:3] for text in texts])
    label_vectors = vectors.embed_labels([target.label for target, _ in work])
    for label_vector, (target, material) in zip(label_vectors, work, strict=True):
        results = _compare(vectors, label_vector, material)
        yield [
            build_row(target, METHOD, result, 0.5, material.examples, representative) | {"judge": vectors.id}
            for result in results
        ]


def _compare(vectors: TextVectors, label_vector: Vectors, material: Material) -> list[Result]:
    """The area under the ROC curve against each kind of negatives."""
    near = vectors.look_up(material.positives) @ label_vector
    results = []
    for kind, texts in ((RANDOM, material.random), (HARD, material.hard)):
        if texts:
            far = vectors.look_up(texts) @ label_vector
            value = statistics.area(near, far)
            estimate = statistics.area_interval(value, len(near), len(far), statistics.deviations())
            results.append(Result(kind, estimate, value, len(near) + len(far), 0))
    return results


class TextVectors:
    """Vectors of texts. Each text is embedded once as long as it is cached."""

    def __init__(self, embedder: Any):
        self.id: str = embedder.id
        self._embedder = embedder
        self._cache: OrderedDict[str, Vectors] = OrderedDict()

    def embed_labels(self, labels: Sequence[str]) -> Vectors:
        """Unit vectors (n, d) float32."""
        vectors: Vectors = self._embedder(labels)
        return vectors

    def remember(self, texts: Sequence[Text]) -> None:
        """Embed the texts that are not cached, all at once."""
        while len(self._cache) > KEPT:
            self._cache.popitem(last=False)
        cuts = dict.fromkeys(cut_around(text) for text in texts)
        new = [cut for cut in cuts if cut not in self._cache]
        if new:
            self._cache.update(zip(new, self._embedder(new), strict=True))

    def look_up(self, texts: Sequence[Text]) -> Vectors:
        """Unit vectors (n, d) float32 of texts that were remembered."""
        return numpy.stack([self._cache[cut_around(text)] for text in texts])


def cut_around(text: Text) -> str:
    """The part of a text around its strongest token, or around its middle where no activation is known."""
    size = len(text.tokens)
    strongest = int(numpy.argmax(numpy.abs(text.activations))) if any(text.activations) else size // 2
    first = max(0, min(strongest - AROUND, size - 2 * AROUND - 1))
    return "".join(text.tokens[first : first + 2 * AROUND + 1])
