"""Quality of searches by meaning: `python -m bench.quality [--store PATH] [--pairs FILE] [--json]`.

Each line of the file of pairs has a query and, after a tab, the ids of the features that answer it (any of them
counts). The pairs in the project (bench/data/demo_queries.tsv) are of the demo store, and were written from features'
examples and logits without looking at a ranking; another store needs another file. With --dictionary, an id may be an
index alone.

Prints hit@10 and MRR (of the first 100), with the standard error over queries, of every way to search, beside exact
cosines of embeddings and TF-IDF over the same labels. With --json the last line is one object.
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = options.store or Path(temporary) / "demo.features"
        if options.store is None:
            subprocess.run(
                [sys.executable, "-m", "featurestore.cli", "demo", "--store", str(place), "--no-serve"], check=True
            )
        with featurestore.connect(place) as store:
            pairs = read_pairs(options.pairs, options.dictionary, store)
            scores = {name: score(ranking, pairs) for name, ranking in rankings(store).items()}
    print(f"{len(pairs)} queries\n{'':28} {'hit@10':>14} {'MRR':>14}")
    for name, result in scores.items():
        columns = " ".join(f"{result[key]:8.3f} ±{result[key + '_error']:.3f}" for key in ("hit_at_10", "mrr"))
        print(f"{name:28} {columns}")
    if options.json:
        print(json.dumps({"queries": len(pairs), "rankings": scores}))


def read_pairs(path: Path, dictionary: str | None, store: featurestore.FeatureStore) -> dict[str, set[str]]:
    """Queries, and the ids that answer each. Exits when the store lacks a feature."""
    sizes = {entry.dictionary: entry.d_sae for entry in store.dictionaries()}
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
    """The ways to search by name, the store's and the peers'."""

    def search_store(**options: Any) -> Ranking:
        """A ranking by the store's search with these options."""
        return lambda query: [hit.id for hit in store.search(query, k=DEPTH, group=False, **options)]

    rows = store.sql(
        "SELECT l.dictionary || '/' || l.feature AS id, l.label FROM labels l "
        "JOIN features f USING (dictionary, feature) WHERE f.state NOT IN ('dead', 'always-on') ORDER BY ALL"
    )
    ids, labels = rows["id"].to_pylist(), rows["label"].to_pylist()
    by_name = {
        "hybrid (the default)": search_store(),
        "semantic": search_store(mode="semantic"),
        "keyword": search_store(mode="keyword"),
        "peer: exact embeddings": _by_embedding(ids, labels),
    }
    peer = _by_tfidf(ids, labels)
    if peer:
        by_name["peer: TF-IDF (scikit-learn)"] = peer
    if store.sql("SELECT 1 FROM stored.examples LIMIT 1").num_rows:
        by_name["keyword, of tokens"] = search_store(over="tokens")
        by_name["hybrid, of labels and tokens"] = search_store(over=("labels", "tokens"))
    return by_name


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
    """Ids in the order of their best label's score, each once; without scores of 0."""
    order = numpy.argsort(-scores, kind="stable")[: 4 * DEPTH]
    return list(dict.fromkeys(ids[row] for row in order if scores[row] > 0))[:DEPTH]


def score(ranking: Ranking, pairs: dict[str, set[str]]) -> dict[str, float]:
    """hit@10 and MRR of a ranking, with standard errors."""
    places = []
    for query, answers in pairs.items():
        ids = ranking(query)
        places.append(next((place for place, id in enumerate(ids, 1) if id in answers), math.inf))
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
