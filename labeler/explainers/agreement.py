"""What labels and scores say about one another: disagreement, repetition, contradiction, and the cost of a point of
score.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy

from featurestore import BadRequest, Store

BATCH = 2048  # pairs of labels embedded at once
SHOWN = 5  # features named of those that share a label


def find_disagreements(
    store: Store, explainer: str, other: str, dictionaries: Sequence[str], k: int, embedder: str | None = None
) -> list[dict[str, Any]]:
    """The k features on which two explainers disagree most, by 1 - the cosine of their labels' embeddings, largest
    first.

    Rows have id, distance, and the label of each explainer under its name.

    Raises BadRequest when no feature has labels of both.
    """
    statement = """
        SELECT a.dictionary || '/' || a.feature AS id, a.label AS label, b.label AS other
        FROM labels a JOIN labels b ON b.dictionary = a.dictionary AND b.feature = a.feature
        WHERE a.explainer = $explainer AND b.explainer = $other AND a.dictionary IN $names
    """
    parameters = {"explainer": explainer, "other": other, "names": list(dictionaries)}
    embed = store.embedder(embedder)
    best: list[tuple[float, str, str, str]] = []
    with store.stream(statement, parameters) as batches:
        for batch in batches:
            ids, labels, others = (batch.column(name).to_pylist() for name in ("id", "label", "other"))
            texts = list(dict.fromkeys([*labels, *others]))
            vectors = dict(zip(texts, embed(texts), strict=True))
            distances = [
                max(0.0, 1 - float(numpy.dot(vectors[a], vectors[b]))) for a, b in zip(labels, others, strict=True)
            ]
            best = heapq.nlargest(k, [*best, *zip(distances, ids, labels, others, strict=True)])
    if not best:
        raise BadRequest(
            f"no feature has labels by both {explainer} and {other}; by feature there are: {_list_explainers(store)}"
        )
    return [{"id": id, "distance": round(distance, 6), explainer: a, other: b} for distance, id, a, b in best]


def find_repeated(store: Store, dictionaries: Sequence[str], explainer: str | None, k: int) -> list[dict[str, Any]]:
    """The k labels that most features share, in upper or lower case: of each feature the best label, or `explainer`'s.

    Rows have label, features, dictionaries, and the ids of some of the features.
    """
    source = "labels WHERE explainer = $explainer" if explainer else "features WHERE label IS NOT NULL"
    parameters = {"names": list(dictionaries), "shown": SHOWN, "k": k}
    return _read_rows(
        store,
        f"""
        SELECT min(label) AS label, count(*) AS features, count(DISTINCT dictionary) AS dictionaries,
               list(dictionary || '/' || feature ORDER BY dictionary, feature)[:$shown] AS some
        FROM (SELECT dictionary, feature, label FROM {source} AND dictionary IN $names)
        GROUP BY lower(trim(label)) HAVING count(*) > 1 ORDER BY features DESC, label LIMIT $k
        """,
        parameters | ({"explainer": explainer} if explainer else {}),
    )


def find_contradicted(store: Store, dictionaries: Sequence[str], below: float, k: int) -> list[dict[str, Any]]:
    """The k labels whose scores are surely low, the surest first: the whole interval is under `below`.

    Labels that were replaced since they were scored are left out.
    """
    return _read_rows(
        store,
        """
        SELECT s.dictionary || '/' || s.feature AS id, s.label, s.explainer, s.method, s.negatives, s.value, s.low,
               s.high, s.n, s.judge
        FROM scores s JOIN labels l ON l.dictionary = s.dictionary AND l.feature = s.feature AND l.label = s.label
                                   AND l.explainer = s.explainer
        WHERE s.high < $below AND s.dictionary IN $names
        ORDER BY s.high, s.value, id, s.method, s.negatives LIMIT $k
        """,
        {"below": float(below), "names": list(dictionaries), "k": k},
    )


def compute_costs(store: Store, dictionaries: Sequence[str]) -> list[dict[str, Any]]:
    """Rows by explainer, method and judge: the labels scored, the tokens that one label and one score took, and the
    cost of a point of score: the tokens (and money) of one label, over the hundredths by which its score is above
    chance.

    That cost is null where the tokens of the labels are not known, or the score is not above chance.
    """
    return _read_rows(
        store,
        """
        WITH made AS (
            SELECT explainer, avg(tokens_in + tokens_out) AS tokens, avg(money) AS money
            FROM labels WHERE dictionary IN $names GROUP BY explainer),
        judged AS (
            SELECT explainer, method, judge, negatives, count(value) AS labels, avg(value) AS score,
                   any_value(baseline) AS chance, avg(coalesce(tokens_in, 0) + coalesce(tokens_out, 0)) AS tokens
            FROM scores WHERE dictionary IN $names GROUP BY explainer, method, judge, negatives)
        SELECT j.explainer, j.method, j.negatives, j.judge, j.labels, j.score, j.chance,
               m.tokens AS tokens_a_label, j.tokens AS tokens_a_score,
               CASE WHEN j.score > j.chance THEN m.tokens / (100 * (j.score - j.chance)) END AS tokens_a_point,
               CASE WHEN j.score > j.chance THEN m.money / (100 * (j.score - j.chance)) END AS money_a_point
        FROM judged j LEFT JOIN made m ON m.explainer = j.explainer
        ORDER BY j.method, j.judge, j.negatives, tokens_a_point NULLS LAST, j.explainer
        """,
        {"names": list(dictionaries)},
    )


def _read_rows(store: Store, statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.sql(statement, parameters).to_pylist()
    return rows


def _list_explainers(store: Store) -> str:
    rows = store.sql("SELECT explainer, count(*) AS n FROM labels GROUP BY explainer ORDER BY n DESC LIMIT 10")
    return ", ".join(f"{row['explainer']} ({row['n']:,})" for row in rows.to_pylist()) or "none"
