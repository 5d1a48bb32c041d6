"""What labels and scores say of one another: disagreement, repetition, contradiction, and what a point of score costs."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy

from featurestore import BadRequest
from labeler.selection import quoted

BATCH = 2048  # pairs of labels embedded at once
SHOWN = 5  # features named of those that share a label


def disagreements(
    store: Any, one: str, other: str, dictionaries: Sequence[str], k: int, embedder: str | None = None
) -> list[dict[str, Any]]:
    """The k features on which two explainers disagree most: 1 - the cosine of their labels' embeddings, largest first.

    Raises BadRequest when no feature has labels of both.
    """
    statement = f"""
        SELECT a.dictionary || '/' || a.feature AS id, a.label AS one, b.label AS other
        FROM labels a JOIN labels b ON b.dictionary = a.dictionary AND b.feature = a.feature
        WHERE a.explainer = {quoted(one)} AND b.explainer = {quoted(other)} AND a.dictionary IN ({_listed(dictionaries)})
    """
    embed = store.embedder(embedder)
    best: list[tuple[float, str, str, str]] = []
    with store.stream(statement) as found:
        for batch in found:
            ids, ones, others = (batch.column(name).to_pylist() for name in ("id", "one", "other"))
            texts = list(dict.fromkeys([*ones, *others]))
            vectors = dict(zip(texts, embed(texts), strict=True))
            far = [max(0.0, 1 - float(numpy.dot(vectors[a], vectors[b]))) for a, b in zip(ones, others, strict=True)]
            best = heapq.nlargest(k, [*best, *zip(far, ids, ones, others, strict=True)])
    if not best:
        raise BadRequest(f"no feature has labels by both {one} and {other}; by feature there are: {_explainers(store)}")
    return [{"id": id, "distance": round(away, 6), one: a, other: b} for away, id, a, b in best]


def repeated(store: Any, dictionaries: Sequence[str], explainer: str | None, k: int) -> list[dict[str, Any]]:
    """The k labels that most features share, letters' case aside: of each feature the best label, or that of `explainer`."""
    of = f"labels WHERE explainer = {quoted(explainer)} AND" if explainer else "features WHERE label IS NOT NULL AND"
    return store.sql(
        f"""
        SELECT min(label) AS label, count(*) AS features, count(DISTINCT dictionary) AS dictionaries,
               list(dictionary || '/' || feature ORDER BY dictionary, feature)[:{SHOWN}] AS some
        FROM (SELECT dictionary, feature, label FROM {of} dictionary IN ({_listed(dictionaries)}))
        GROUP BY lower(trim(label)) HAVING count(*) > 1 ORDER BY features DESC, label LIMIT {k}
        """
    ).to_pylist()


def contradicted(store: Any, dictionaries: Sequence[str], below: float, k: int) -> list[dict[str, Any]]:
    """The k labels whose scores are surely low, the surest first: the whole interval lies under `below`.

    Of labels that were replaced since nothing is said.
    """
    return store.sql(
        f"""
        SELECT s.dictionary || '/' || s.feature AS id, s.label, s.explainer, s.method, s.negatives, s.value, s.low, s.high,
               s.n, s.judge
        FROM scores s JOIN labels l ON l.dictionary = s.dictionary AND l.feature = s.feature AND l.label = s.label
                                   AND l.explainer = s.explainer
        WHERE s.high < {float(below)} AND s.dictionary IN ({_listed(dictionaries)})
        ORDER BY s.high, s.value, id, s.method, s.negatives LIMIT {k}
        """
    ).to_pylist()


def costs(store: Any, dictionaries: Sequence[str]) -> list[dict[str, Any]]:
    """For each explainer, method and judge: how many labels were scored, what making and scoring one took, and what a
    point of score costs: the tokens (and money) of making one label over the hundredths its score is above chance.

    Null where the tokens of the labels are not known, or the score is not above chance.
    """
    return store.sql(
        f"""
        WITH made AS (
            SELECT explainer, avg(tokens_in + tokens_out) AS tokens, avg(money) AS money
            FROM labels WHERE dictionary IN ({_listed(dictionaries)}) GROUP BY explainer),
        judged AS (
            SELECT explainer, method, judge, negatives, count(value) AS labels, avg(value) AS score,
                   any_value(baseline) AS chance, avg(coalesce(tokens_in, 0) + coalesce(tokens_out, 0)) AS tokens
            FROM scores WHERE dictionary IN ({_listed(dictionaries)}) GROUP BY explainer, method, judge, negatives)
        SELECT j.explainer, j.method, j.negatives, j.judge, j.labels, j.score, j.chance,
               m.tokens AS tokens_a_label, j.tokens AS tokens_a_score,
               CASE WHEN j.score > j.chance THEN m.tokens / (100 * (j.score - j.chance)) END AS tokens_a_point,
               CASE WHEN j.score > j.chance THEN m.money / (100 * (j.score - j.chance)) END AS money_a_point
        FROM judged j LEFT JOIN made m ON m.explainer = j.explainer
        ORDER BY j.method, j.judge, j.negatives, tokens_a_point NULLS LAST, j.explainer
        """
    ).to_pylist()


def _listed(dictionaries: Sequence[str]) -> str:
    return ", ".join(quoted(name) for name in dictionaries)


def _explainers(store: Any) -> str:
    rows = store.sql("SELECT explainer, count(*) AS n FROM labels GROUP BY explainer ORDER BY n DESC LIMIT 10")
    return ", ".join(f"{row['explainer']} ({row['n']:,})" for row in rows.to_pylist()) or "none"
