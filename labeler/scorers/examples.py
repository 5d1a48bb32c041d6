"""The texts a label is scored on: some its feature is active on, and others, none of which the explainer saw.

Where positives are from held-out documents, negatives are too. Knows nothing of judges.
"""

from __future__ import annotations

import random
import statistics
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy

from featurestore import BadRequest, BadStore, Example, Feature, NotFound, Store
from featurestore.extension.text import merge_activations
from labeler.explainers.llm_explainer import MissingEvidence, select_examples

TEXTS = 20  # of each kind, for one label
FEWEST = 3  # positives without which nothing is scored
NEIGHBOURS = 6
NEAR = 0.1  # cosine under which a feature is no neighbour
TOO_NEAR, TOO_JOINT = 0.9, 0.2  # cosine, and share of tokens in common, of features that fire together
POOL = 4096  # contexts of a pool
POOLED_FEATURES, OF_EACH = 256, 4  # without contexts: whose examples are pooled, and how many of a band
KEPT = 4096  # neighbours whose examples are cached
Integers = numpy.ndarray[Any, numpy.dtype[numpy.int64]]
HELD_OUT, UNSEEN = "held-out", "unseen"


class Text(NamedTuple):
    """A window of tokens with the activations of `feature`, the one it was kept for: of a negative, another feature.

    Activations are 0 where that feature is not known.
    """

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    corpus: str
    document: int
    start: int
    held_out: bool
    feature: int | None = None

    @property
    def text(self) -> str:
        """The text of the tokens."""
        return "".join(self.tokens)

    def mark(self, spans: Spans) -> None:
        """Add its place to the spans."""
        span = (self.start, self.start + len(self.tokens))
        spans.setdefault((self.corpus, self.document), []).append(span)

    def overlaps(self, spans: Spans) -> bool:
        """Whether it shares a token with one of the spans."""
        end = self.start + len(self.tokens)
        return any(first < end and self.start < last for first, last in spans.get((self.corpus, self.document), ()))


Spans = dict[tuple[str, int], list[tuple[int, int]]]


class Material(NamedTuple):
    """The texts for one feature.

    `random` and `hard` are negatives; `examples` is HELD_OUT or UNSEEN for all of them.
    """

    positives: tuple[Text, ...]
    random: tuple[Text, ...]
    hard: tuple[Text, ...]
    examples: str


def collect_spans(examples: Iterable[Example]) -> Spans:
    """The places of examples, by corpus and document: the first token and the one after the last."""
    spans: Spans = {}
    for example in examples:
        span = (example.start, example.start + len(example.tokens))
        spans.setdefault((example.corpus, example.document), []).append(span)
    return spans


def draw_positives(page: Feature, n: int) -> tuple[list[Text], str]:
    """At most n texts that the feature is active on, in turn from each of its bands, and HELD_OUT or UNSEEN.

    They are from held-out documents where there are examples of any; else they share no token with an example that an
    explainer sees. No two share a token. The random choice is the same for each call.
    """
    held = [example for example in page.examples if example.held_out]
    if held:
        fair, kind, used = held, HELD_OUT, Spans()
    else:
        fair, kind, used = list(page.examples), UNSEEN, collect_spans(select_examples(page))
    bands: OrderedDict[str, list[Example]] = OrderedDict()
    for example in fair:
        bands.setdefault(example.band, []).append(example)
    rng = random.Random(f"positives of {page.id}")
    for band in bands.values():
        rng.shuffle(band)
    texts: list[Text] = []
    while any(bands.values()) and len(texts) < n:
        for band in bands.values():
            while band and len(texts) < n:
                text = _build_text(band.pop(), page.feature)
                if not text.overlaps(used):
                    text.mark(used)
                    texts.append(text)
                    break
    return texts, kind


def _build_text(example: Example, feature: int) -> Text:
    place = example.corpus, example.document, example.start
    activations = tuple(merge_activations(example.tokens, example.activations))
    return Text(example.tokens, activations, *place, example.held_out, feature)


class ExampleSource:
    """Texts for the features of one dictionary. Safe to share between threads."""

    def __init__(self, store: Store, dictionary: str):
        self._store, self._dictionary = store, dictionary
        self._pool = _read_contexts(store, dictionary) or _read_examples(store, dictionary)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Feature, list[Text]]] = OrderedDict()

    def collect_material(self, page: Feature, n: int = TEXTS) -> Material:
        """At most n texts of each kind. Raises MissingEvidence when there are too few that no explainer saw."""
        positives, kind = draw_positives(page, n)
        if len(positives) < FEWEST:
            raise MissingEvidence("too few examples that no explainer saw")
        held_out = kind == HELD_OUT
        own = collect_spans(page.examples)
        rng = random.Random(f"negatives of {page.id}")
        size = round(statistics.median(len(text.tokens) for text in positives))
        negatives = self._pool.draw(page.feature, own, held_out, n, size, rng)
        return Material(tuple(positives), tuple(negatives), tuple(self._find_hard(page, own, held_out, n)), kind)

    def _find_hard(self, page: Feature, own: Spans, held_out: bool, n: int) -> list[Text]:
        """At most n texts of features with near decoder vectors, in turn, on which this feature is silent as far as
        known.
        """
        joint = {other.feature for other in page.coactive if other.jaccard > TOO_JOINT}
        near = [(other, texts) for other, texts in self._read_neighbours(page) if other.feature not in joint]
        lists = [[text for text in texts if text.held_out == held_out and not text.overlaps(own)] for _, texts in near]
        hard: list[Text] = []
        used = Spans()
        for place in range(max(map(len, lists), default=0)):
            for texts in lists:
                if place < len(texts) and not texts[place].overlaps(used):
                    texts[place].mark(used)
                    hard.append(texts[place])
        return hard[:n]

    def _read_neighbours(self, page: Feature) -> list[tuple[Feature, list[Text]]]:
        try:
            near = self._store.nearest(page.id, k=NEIGHBOURS + 1, within=page.dictionary)
        except (BadRequest, BadStore, NotFound):
            return []  # a dictionary without decoder vectors, or a vector of zeros
        ids = [hit.id for hit in near if hit.id != page.id and NEAR <= hit.score <= TOO_NEAR][:NEIGHBOURS]
        with self._lock:
            known = {id: self._kept[id] for id in ids if id in self._kept}
        missing = [id for id in ids if id not in known]
        if missing:
            for other in self._store.evidence(missing):
                known[other.id] = (other, draw_positives(other, TEXTS)[0])
        with self._lock:
            for id in missing:
                self._kept[id] = known[id]
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return [known[id] for id in ids]


class _Pool:
    """Texts that are read once for a dictionary. `features[i]` (k,) int64 are those known to be active in the i-th."""

    def __init__(self, texts: Sequence[Text], features: Sequence[Integers]):
        self._texts = texts
        lengths = list(map(len, features))
        flat = numpy.concatenate([*features, numpy.empty(0, numpy.int64)]).astype(numpy.int64)
        order = numpy.argsort(flat, kind="stable")
        self._features, self._places = flat[order], numpy.repeat(numpy.arange(len(texts)), lengths)[order]

    def draw(self, feature: int, own: Spans, held_out: bool, n: int, size: int, rng: random.Random) -> list[Text]:
        """At most n texts of `size` tokens on which the feature is silent, as far as is known."""
        first, last = numpy.searchsorted(self._features, [feature, feature + 1])
        active = set(self._places[first:last].tolist())
        texts: list[Text] = []
        for place in rng.sample(range(len(self._texts)), len(self._texts)):
            text = self._texts[place]
            if place in active or text.held_out != held_out or text.overlaps(own):
                continue
            texts.append(_cut(text, size, rng))
            if len(texts) == n:
                break
        return texts


def _cut(text: Text, size: int, rng: random.Random) -> Text:
    """A random piece of a longer text, so that negatives are no longer than positives."""
    if len(text.tokens) <= size:
        return text
    at = rng.randrange(len(text.tokens) - size + 1)
    return text._replace(
        tokens=text.tokens[at : at + size], activations=text.activations[at : at + size], start=text.start + at
    )


def _read_contexts(store: Store, dictionary: str) -> _Pool | None:
    """The random contexts of the harvest, with every feature that fires in each; None where the store has none."""
    rows = store.sql(
        "SELECT c.corpus, c.document, c.start, c.length, c.features, d.held_out FROM stored.contexts c "
        "JOIN stored.documents d ON d.corpus = c.corpus AND d.document = c.document "
        "WHERE c.dictionary = $dictionary ORDER BY d.held_out DESC, c.context LIMIT $rows",
        {"dictionary": dictionary, "rows": 2 * POOL},
    )
    if not rows.num_rows:
        return None
    places = [tuple(row.values()) for row in rows.select(["corpus", "document", "start", "length"]).to_pylist()]
    texts = [
        Text(tokens, (0.0,) * len(tokens), corpus, document, start, held_out)
        for tokens, (corpus, document, start, _), held_out in zip(
            store.windows(places), places, rows["held_out"].to_pylist(), strict=True
        )
    ]
    return _Pool(texts, [numpy.asarray(row.as_py(), numpy.int64) for row in rows["features"]])


def _read_examples(store: Store, dictionary: str) -> _Pool:
    """Examples of a random sample of features, each known to be its feature's: for a store without contexts."""
    ids = store.sql(
        "SELECT dictionary || '/' || feature AS id FROM stored.features WHERE dictionary = $dictionary "
        "AND coalesce(active_tokens, density) > 0 ORDER BY hash(feature) LIMIT $rows",
        {"dictionary": dictionary, "rows": POOLED_FEATURES},
    )["id"].to_pylist()
    texts = [
        _build_text(example, page.feature)
        for page in store.evidence(ids, OF_EACH)
        for example in page.examples
        if example.tokens
    ]
    random.Random(f"pool of {dictionary}").shuffle(texts)
    return _Pool(texts[:POOL], [numpy.array([text.feature]) for text in texts[:POOL]])
