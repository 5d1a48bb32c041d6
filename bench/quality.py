"""Quality of searches by meaning: `python -m bench.quality [--store PATH] [--pairs FILE] [--labels FILE ...] [--json]`.

Each line of the file of pairs has a query and, after a tab, the ids of the features that answer it (any of them
counts). The pairs in the project (bench/data/demo_queries.tsv) are of the demo store, and were written from features'
examples and logits without looking at a ranking; another store needs another file. With --dictionary, an id may be an
index alone. With --labels, sets of labels are measured instead, with queries by the rule that
bench/support/quality_sets.py states, and with --paraphrases (bench/data/paraphrases.tsv) also these.

Prints recall (hit) at 1, 10 and 50 and MRR (of the first 100), with the standard error over queries, of every way to
search, for the queries that its weights may be chosen on and for those that are kept aside (by the parity of a hash),
beside exact cosines of embeddings, TF-IDF and BM25 over the same labels. Where examples are embedded (`featurestore
index --over examples`; the demo's are), also of searches that use no label at all. Then how many answers are called
weak, of these queries and of queries that mean nothing here. With --json the last line is one object.

In sets of labels, features whose labels read the same take one place together: which of a hundred "plural nouns" comes
first says nothing of a ranking. At the end the mean over all kinds of queries is printed, each kind with equal weight.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

import featurestore
from bench.support import quality_sets
from featurestore.search import embedders

PAIRS = Path(__file__).parent / "data" / "demo_queries.tsv"
PARAPHRASES = Path(__file__).parent / "data" / "paraphrases.tsv"
DEPTH = 100
MOST_HITS = 1000  # asked for where many labels read the same
COLUMNS = ("hit_at_1", "hit_at_10", "hit_at_50", "mrr")
# Queries about nothing that the features of a language model stand for together; how weak answers look.
NONSENSE = (
    "zebra astrophysics",
    "purple elephant taxation",
    "quantum knitting recipes",
    "medieval plumbing jazz",
    "volcano dentistry",
    "penguin mortgage rates",
    "submarine poetry contest",
    "asdfgh qwerty zxcvb",
    "butterfly carburetor",
    "cheese diplomacy in antarctica",
    "opera singers eating sushi",
    "glacier hairdressing",
    "tulip bulb futures",
    "karaoke for astronauts",
    "the mating habits of badgers",
    "xylophone insurance fraud",
    "soccer goalkeeper volcano",
    "flurbish the wozzle",
    "cactus submarine ballet",
    "knitting patterns for submarines",
)
Ranking = Callable[[str], list[str]]


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a store that is indexed; without, the demo store is built")
    parser.add_argument("--pairs", type=Path, default=PAIRS)
    parser.add_argument("--labels", type=Path, nargs="+", help="files of labels; queries are held out of them")
    parser.add_argument(
        "--paraphrases", type=Path, help=f"queries about whole labels of .json files, e.g. {PARAPHRASES}"
    )
    parser.add_argument("--most", type=int, default=20_000, help="labels of a set")
    parser.add_argument("--queries", type=int, default=1_000, help="queries of a set")
    parser.add_argument("--dictionary", help="the dictionary of ids that are an index alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        if options.labels:
            for number, labels in enumerate(label_sets(options)):
                with quality_sets.write(Path(temporary) / f"{number}.features", labels.labels) as store:
                    texts = {f"{quality_sets.DICTIONARY}/{n}": text for n, text in enumerate(labels.labels)}
                    results[labels.name] = measure(labels.name, store, labels.queries, texts)
            results["mean of kinds"] = show_means(results)
        else:
            place = options.store or Path(temporary) / "demo.features"
            if options.store is None:
                subprocess.run(
                    [sys.executable, "-m", "featurestore.cli", "demo", "--store", str(place), "--no-serve"], check=True
                )
                featurestore.Store(place).index(over="examples")
            with featurestore.connect(place) as store:
                pairs = read_pairs(options.pairs, options.dictionary, store)
                asked = [quality_sets.Asked("text", query, frozenset(ids)) for query, ids in pairs.items()]
                results[place.name] = measure(place.name, store, asked)
    if options.json:
        print(json.dumps(results))


def label_sets(options: argparse.Namespace) -> Iterator[quality_sets.LabelSet]:
    """Yield the label sets that are measured: what is held out of each file, and its whole labels."""
    for file in options.labels:
        yield quality_sets.read(file, options.most, options.queries)
        yield quality_sets.read_whole(file, options.most, options.queries, options.paraphrases)


def measure(
    name: str,
    store: featurestore.FeatureStore,
    queries: list[quality_sets.Asked],
    texts: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Measure every ranking on a store, and print it for each part of the queries and each way they are asked.

    `texts` are the labels by id where those that read the same take one place.
    """
    texts = texts or {}
    # As many hits as it takes for DEPTH different labels.
    depth = min(MOST_HITS, DEPTH + len(texts) - len(set(texts.values())))
    ways = rankings(store, depth)
    places = {way: find_places(ranking, queries, texts) for way, ranking in ways.items()}
    results: dict[str, Any] = {}
    for part in quality_sets.PARTS:
        for kind in dict.fromkeys(query.kind for query in queries):
            chosen = [
                n for n, query in enumerate(queries) if query.kind == kind and quality_sets.part_of(query.text) == part
            ]
            if not chosen:
                continue
            scores = {way: score([of_way[n] for n in chosen]) for way, of_way in places.items()}
            results[f"{kind}, {part}"] = {"queries": len(chosen), "rankings": scores}
            print(f"{name}, {kind}, {part}: {len(chosen)} queries")
            print(f"{'':28}" + "".join(f"{column:>15}" for column in COLUMNS))
            for way, result in scores.items():
                print(f"{way:28}" + "".join(f"{result[key]:9.3f} ±{result[key + '_error']:.3f}" for key in COLUMNS))
    asked = {"queries": [query.text for query in queries], "nonsense": NONSENSE}
    weak = {kind: share_weak(store, texts) for kind, texts in asked.items()}
    print(f"called weak: {weak['queries']:.3f} of the queries, {weak['nonsense']:.3f} of {len(NONSENSE)} without sense")
    return {"queries": len(queries), "parts": results, "weak": weak}


def show_means(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Print the mean of each figure over all sets, parts and kinds of queries, by ranking."""
    measured = [kind["rankings"] for of_set in results.values() for kind in of_set["parts"].values()]
    ways = [
        way for way in dict.fromkeys(way for kind in measured for way in kind) if all(way in kind for kind in measured)
    ]
    means = {way: {key: float(numpy.mean([kind[way][key] for kind in measured])) for key in COLUMNS} for way in ways}
    print(f"mean of {len(measured)} kinds of queries")
    print(f"{'':28}" + "".join(f"{column:>15}" for column in COLUMNS))
    for way, figures in means.items():
        print(f"{way:28}" + "".join(f"{figures[key]:15.3f}" for key in COLUMNS))
    return means


def share_weak(store: featurestore.FeatureStore, queries: Collection[str]) -> float:
    """The share of queries whose answer is called weak."""
    return float(numpy.mean([store.search(query, k=10).weak for query in queries]))


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


def rankings(store: featurestore.FeatureStore, depth: int = DEPTH) -> dict[str, Ranking]:
    """The ways to search by name, the store's and the peers', each of so many hits."""

    def search_store(**options: Any) -> Ranking:
        """A ranking by the store's search with these options."""
        return lambda query: [hit.id for hit in store.search(query, k=depth, group=False, **options)]

    rows = store.sql(
        "SELECT l.dictionary || '/' || l.feature AS id, l.label FROM labels l "
        "LEFT JOIN features f USING (dictionary, feature) "
        "WHERE coalesce(f.state NOT IN ('dead', 'always-on'), true) ORDER BY ALL",
        max_rows=None,
    )
    ids, labels = rows["id"].to_pylist(), rows["label"].to_pylist()
    by_name = {
        "hybrid (the default)": search_store(),
        "semantic": search_store(mode="semantic"),
        "keyword": search_store(mode="keyword"),
        "peer: exact embeddings": _by_embedding(ids, labels, depth),
    }
    peer = _by_tfidf(ids, labels, depth)
    if peer:
        by_name["peer: TF-IDF (scikit-learn)"] = peer
    peer = _by_bm25(labels, ids, depth)
    if peer:
        by_name["peer: BM25 (by hand)"] = peer
    if store.sql("SELECT 1 FROM stored.examples LIMIT 1").num_rows:
        by_name["keyword, of tokens"] = search_store(over="tokens")
        by_name["hybrid, of labels and tokens"] = search_store(over=("labels", "tokens"))
    if has_examples(store):
        by_name["no labels: hybrid"] = search_store(over=("tokens", "examples"))
        by_name["no labels: examples"] = search_store(over="examples")
    return by_name


def has_examples(store: featurestore.FeatureStore) -> bool:
    """Whether the store has an index of examples."""
    try:
        return bool(store.search("a", over="examples", k=1))
    except (featurestore.NotFound, featurestore.Unavailable):
        return False


def _by_embedding(ids: list[str], labels: list[str], depth: int = DEPTH) -> Ranking:
    embedder = embedders.open_embedder()
    matrix = embedder(labels)
    return lambda query: _best(ids, matrix @ embedder([query])[0], depth)


def _by_tfidf(ids: list[str], labels: list[str], depth: int = DEPTH) -> Ranking | None:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        print("TF-IDF is left out: scikit-learn is not installed (pip install 'featurestore[bench]')")
        return None
    vectoriser = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    matrix = vectoriser.fit_transform(labels)
    return lambda query: _best(ids, (matrix @ vectoriser.transform([query]).T).toarray()[:, 0], depth)


def _by_bm25(labels: list[str], ids: list[str], depth: int = DEPTH) -> Ranking | None:
    """BM25 (k1 1.2, b 0.75) over the words of labels, without stop words."""
    try:
        from sklearn.feature_extraction.text import CountVectorizer
    except ImportError:
        return None
    vectoriser = CountVectorizer(stop_words="english")
    counts = vectoriser.fit_transform(labels).tocsr().astype(float)
    lengths = numpy.asarray(counts.sum(1))[:, 0]
    frequency = numpy.asarray((counts > 0).sum(0))[0]
    rarity = numpy.log(1 + (len(labels) - frequency + 0.5) / (frequency + 0.5))
    rows = numpy.repeat(numpy.arange(len(labels)), numpy.diff(counts.indptr))
    counts.data = 2.2 * counts.data / (counts.data + 1.2 * (0.25 + 0.75 * lengths[rows] / lengths.mean()))
    counts.data *= rarity[counts.indices]
    return lambda query: _best(ids, (counts @ (vectoriser.transform([query]) > 0).T).toarray()[:, 0], depth)


def _best(ids: list[str], scores: numpy.ndarray, depth: int) -> list[str]:
    """Ids in the order of their best label's score, each once; without scores of 0."""
    order = numpy.argsort(-scores, kind="stable")[: 4 * depth]
    return list(dict.fromkeys(ids[row] for row in order if scores[row] > 0))[:depth]


def find_places(
    ranking: Ranking, queries: Sequence[quality_sets.Asked], texts: Mapping[str, str] | None = None
) -> list[float]:
    """The place, from 1, of the first answer to each query; infinite where it is not among the first.

    Ids of the same text, if `texts` has one, take one place.
    """
    of_id = texts or {}
    places = []
    for query in queries:
        answers = {of_id.get(id, id) for id in query.answers}
        found = dict.fromkeys(of_id.get(id, id) for id in ranking(query.text))
        places.append(next((place for place, text in enumerate(found, 1) if text in answers), math.inf))
    return places


def score(places: Sequence[float]) -> dict[str, float]:
    """Hits at 1, 10 and 50 and MRR of places, with standard errors."""
    values = {f"hit_at_{k}": numpy.array([place <= k for place in places], float) for k in (1, 10, 50)}
    values["mrr"] = numpy.array([1 / place for place in places])
    root = math.sqrt(len(places))
    means = {name: float(value.mean()) for name, value in values.items()}
    return means | {f"{name}_error": float(value.std() / root) for name, value in values.items()}


if __name__ == "__main__":
    main()
