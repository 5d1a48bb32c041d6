"""Whether searches find what is meant: `python -m bench.quality [--store PATH] [--pairs FILE] [--json]`.

Each line of the pairs' file has a query and, behind a tab, the ids of the features that answer it (any of them
counts). The pairs that come with the project (bench/data/demo_queries.tsv) are of the demo store, and were written
from features' examples and logits without looking at a ranking; give a file of your own for a store of your own. A
feature that the demo calls by an index alone may stand as such, with --dictionary.

Printed are hit@10 and MRR (of the first 100), with the standard error over queries, of the ways to search there are
beside exact cosines of embeddings and TF-IDF over the same labels. With --json the last line is one object.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

import featurestore
from featurestore.search import embedders

PAIRS = Path(__file__).parent / "data" / "demo_queries.tsv"
DEPTH = 100
Ranking = Callable[[str], list[str]]


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a store that is indexed; without, the demo store is built")
    parser.add_argument("--pairs", type=Path, default=PAIRS)
    parser.add_argument("--dictionary", help="the dictionary of ids that are an index alone")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = given.store or Path(temporary) / "demo.features"
        if given.store is None:
            subprocess.run(
                [sys.executable, "-m", "featurestore.cli", "demo", "--store", str(place), "--no-serve"], check=True
            )
        with featurestore.connect(place) as store:
            pairs = read_pairs(given.pairs, given.dictionary, store)
            found = {name: measured(ranking, pairs) for name, ranking in rankings(store).items()}
    print(f"{len(pairs)} queries\n{'':28} {'hit@10':>14} {'MRR':>14}")
    for name, one in found.items():
        shown = " ".join(f"{one[key]:8.3f} ±{one[key + '_error']:.3f}" for key in ("hit_at_10", "mrr"))
        print(f"{name:28} {shown}")
    if given.json:
        print(json.dumps({"queries": len(pairs), "rankings": found}))


def read_pairs(path: Path, dictionary: str | None, store: featurestore.FeatureStore) -> dict[str, set[str]]:
    """Queries and the ids that answer each. Stops with a line for a feature the store lacks."""
    sizes = {one.dictionary: one.d_sae for one in store.dictionaries()}
    pairs: dict[str, set[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        query, _, ids = line.partition("\t")
        answers = {f"{dictionary}/{id}" if dictionary and "/" not in id else id for id in ids.split()}
        for id in answers:
            name, _, index = id.rpartition("/")
            if not (index.isdigit() and int(index) < sizes.get(name, 0)):
                sys.exit(f"{path}, line {number}: the store has no feature {id}")
        pairs[query] = answers
    return pairs


def rankings(store: featurestore.FeatureStore) -> dict[str, Ranking]:
    """The ways to search, ours and the peers."""

    def ours(**options: Any) -> Ranking:
        return lambda query: [hit.id for hit in store.search(query, k=DEPTH, group=False, **options)]

    rows = store.sql(
        "SELECT l.dictionary || '/' || l.feature AS id, l.label FROM labels l "
        "JOIN features f USING (dictionary, feature) WHERE f.state NOT IN ('dead', 'always-on') ORDER BY ALL"
    )
    ids, labels = rows["id"].to_pylist(), rows["label"].to_pylist()
    found = {
        "hybrid (the default)": ours(),
        "semantic": ours(mode="semantic"),
        "keyword": ours(mode="keyword"),
        "peer: exact embeddings": _by_embedding(ids, labels),
    }
    peer = _by_tfidf(ids, labels)
    if peer:
        found["peer: TF-IDF (scikit-learn)"] = peer
    if store.sql("SELECT 1 FROM stored.examples LIMIT 1").num_rows:
        found["keyword, of tokens"] = ours(over="tokens")
        found["hybrid, of labels and tokens"] = ours(over=("labels", "tokens"))
    return found


def _by_embedding(ids: list[str], labels: list[str]) -> Ranking:
    embedder = embedders.open_embedder()
    matrix = embedder(labels)
    return lambda query: _best(ids, matrix @ embedder([query])[0])


def _by_tfidf(ids: list[str], labels: list[str]) -> Ranking | None:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        print("TF-IDF is left out: scikit-learn is not installed (pip install 'featurestore[bench]')")
        return None
    vectoriser = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    matrix = vectoriser.fit_transform(labels)
    return lambda query: _best(ids, (matrix @ vectoriser.transform([query]).T).toarray()[:, 0])


def _best(ids: list[str], scores: numpy.ndarray) -> list[str]:
    """Each feature once, by its best label; what matches in nothing is not found."""
    order = numpy.argsort(-scores, kind="stable")[: 4 * DEPTH]
    return list(dict.fromkeys(ids[row] for row in order if scores[row] > 0))[:DEPTH]


def measured(ranking: Ranking, pairs: dict[str, set[str]]) -> dict[str, float]:
    """hit@10 and MRR of a ranking, with standard errors."""
    places = []
    for query, answers in pairs.items():
        found = ranking(query)
        places.append(next((place for place, id in enumerate(found, 1) if id in answers), math.inf))
    hits = numpy.array([place <= 10 for place in places], float)
    reciprocal = numpy.array([1 / place for place in places])
    root = math.sqrt(len(pairs))
    return {
        "hit_at_10": float(hits.mean()),
        "hit_at_10_error": float(hits.std() / root),
        "mrr": float(reciprocal.mean()),
        "mrr_error": float(reciprocal.std() / root),
    }


if __name__ == "__main__":
    main()
