"""The texts a label is scored on: those its feature is active on, and others, all unseen by whoever made the label.

The documents of one side are the documents of the other: where positives are of held-out documents, negatives are too.
"""

from __future__ import annotations

import random
import statistics
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy

from featurestore import BadRequest, BadStore, Example, Feature, NotFound
from labeler.explainers.llm_explainer import MissingEvidence, select_examples
from labeler.selection import quoted

TEXTS = 20  # of each kind, for one label
FEWEST = 3  # positives without which nothing is scored
NEIGHBOURS = 6
NEAR = 0.1  # cosine under which a feature is no neighbour
TOO_NEAR, TOO_JOINT = 0.9, 0.2  # cosine, and share of tokens in common, of features that fire together
POOL, POOLED_FEATURES, OF_EACH = (
    4096,
    256,
    4,
)  # contexts of a pool; without contexts, whose examples, how many of a band
KEPT = 4096  # neighbours whose examples are kept at hand
HELD_OUT, UNSEEN = "held-out", "unseen"


class Text(NamedTuple):
    """A window of tokens, with the activations of the feature it was kept for, where that is known: of a negative, another."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    corpus: str
    document: int
    start: int
    held_out: bool
    feature: int | None = None

    @property
    def text(self) -> str:
        """What people read."""
        return "".join(self.tokens)

    def overlaps(self, spans: Spans) -> bool:
        """Whether it shares a token with one of the spans."""
        end = self.start + len(self.tokens)
        return any(first < end and self.start < last for first, last in spans.get((self.corpus, self.document), ()))


Spans = dict[tuple[str, int], list[tuple[int, int]]]


class Material(NamedTuple):
    """The texts for one feature. `random` and `hard` are negatives; `examples` says which documents all are of."""

    positives: tuple[Text, ...]
    random: tuple[Text, ...]
    hard: tuple[Text, ...]
    examples: str


def spans(examples: Iterable[Example]) -> Spans:
    """Where examples lie: by corpus and document, first token and the one after the last."""
    found: Spans = {}
    for one in examples:
        found.setdefault((one.corpus, one.document), []).append((one.start, one.start + len(one.tokens)))
    return found


def positives(page: Feature, n: int) -> tuple[list[Text], str]:
    """At most n texts that the feature is active on, in turn from each of its bands, and which kind they are.

    Of held-out documents where it has any; else those that share no token with one that an explainer was shown. No two
    share a token. The choice depends on nothing but the feature.
    """
    held = [one for one in page.examples if one.held_out]
    if held:
        fair, kind, taken = held, HELD_OUT, Spans()
    else:
        fair, kind, taken = list(page.examples), UNSEEN, spans(select_examples(page))
    bands: OrderedDict[str, list[Example]] = OrderedDict()
    for one in fair:
        bands.setdefault(one.band, []).append(one)
    chance = random.Random(f"positives of {page.id}")
    for band in bands.values():
        chance.shuffle(band)
    found: list[Text] = []
    while any(bands.values()) and len(found) < n:
        for band in bands.values():
            while band and len(found) < n:
                text = _text(band.pop(), page.feature)
                if not text.overlaps(taken):
                    taken.setdefault((text.corpus, text.document), []).append(
                        (text.start, text.start + len(text.tokens))
                    )
                    found.append(text)
                    break
    return found, kind


def _text(example: Example, feature: int) -> Text:
    one = example
    return Text(one.tokens, one.activations, one.corpus, one.document, one.start, one.held_out, feature)


class Examples:
    """Texts for the features of one dictionary. Safe to share between threads."""

    def __init__(self, store: Any, dictionary: str):
        self._store, self._dictionary = store, dictionary
        self._pool = _contexts(store, dictionary) or _others(store, dictionary)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Feature, list[Text]]] = OrderedDict()

    def material(self, page: Feature, n: int = TEXTS) -> Material:
        """At most n texts of each kind. Raises MissingEvidence when too few are fair to score a label on."""
        found, kind = positives(page, n)
        if len(found) < FEWEST:
            raise MissingEvidence("too few examples that no explainer saw")
        held_out = kind == HELD_OUT
        mine = spans(page.examples)
        chance = random.Random(f"negatives of {page.id}")
        size = round(statistics.median(len(one.tokens) for one in found))
        drawn = self._pool.draw(page.feature, mine, held_out, n, size, chance)
        return Material(tuple(found), tuple(drawn), tuple(self._hard(page, mine, held_out, n)), kind)

    def _hard(self, page: Feature, mine: Spans, held_out: bool, n: int) -> list[Text]:
        """Texts of features whose decoder vectors are near, on which this one is silent as far as is known: each in turn."""
        joint = {one.feature for one in page.coactive if one.jaccard > TOO_JOINT}
        near = [(other, texts) for other, texts in self._neighbours(page) if other.feature not in joint]
        lists = [[text for text in texts if text.held_out == held_out and not text.overlaps(mine)] for _, texts in near]
        found: list[Text] = []
        taken = Spans()
        for place in range(max(map(len, lists), default=0)):
            for texts in lists:
                if place < len(texts) and not texts[place].overlaps(taken):
                    text = texts[place]
                    taken.setdefault((text.corpus, text.document), []).append(
                        (text.start, text.start + len(text.tokens))
                    )
                    found.append(text)
        return found[:n]

    def _neighbours(self, page: Feature) -> list[tuple[Feature, list[Text]]]:
        try:
            near = self._store.nearest(page.id, k=NEIGHBOURS + 1, within=page.dictionary)
        except (BadRequest, BadStore, NotFound):
            return []  # a dictionary without decoder vectors, or a vector of zeros
        ids = [hit.id for hit in near if hit.id != page.id and NEAR <= hit.score <= TOO_NEAR][:NEIGHBOURS]
        with self._lock:
            known = {id: self._kept[id] for id in ids if id in self._kept}
        lacking = [id for id in ids if id not in known]
        if lacking:
            for other in self._store.evidence(lacking):
                known[other.id] = (other, positives(other, TEXTS)[0])
        with self._lock:
            for id in lacking:
                self._kept[id] = known[id]
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return [known[id] for id in ids]


class _Pool:
    """Texts drawn once for a dictionary. `features[i]` are those known to be active in the i-th."""

    def __init__(self, texts: Sequence[Text], features: Sequence[numpy.ndarray]):
        self._texts = texts
        lengths = [len(some) for some in features]
        flat = numpy.concatenate([*features, numpy.empty(0, numpy.int64)]).astype(numpy.int64)
        order = numpy.argsort(flat, kind="stable")
        self._features, self._places = flat[order], numpy.repeat(numpy.arange(len(texts)), lengths)[order]

    def draw(self, feature: int, mine: Spans, held_out: bool, n: int, size: int, chance: random.Random) -> list[Text]:
        """At most n texts of `size` tokens on which the feature is silent, as far as is known."""
        first, last = numpy.searchsorted(self._features, [feature, feature + 1])
        active = set(self._places[first:last].tolist())
        found: list[Text] = []
        for place in chance.sample(range(len(self._texts)), len(self._texts)):
            text = self._texts[place]
            if place in active or text.held_out != held_out or text.overlaps(mine):
                continue
            found.append(_cut(text, size, chance))
            if len(found) == n:
                break
        return found


def _cut(text: Text, size: int, chance: random.Random) -> Text:
    """A piece of a longer text, so that length does not tell negatives from positives."""
    if len(text.tokens) <= size:
        return text
    at = chance.randrange(len(text.tokens) - size + 1)
    return text._replace(
        tokens=text.tokens[at : at + size], activations=text.activations[at : at + size], start=text.start + at
    )


def _contexts(store: Any, dictionary: str) -> _Pool | None:
    """The pool that the harvest drew at random, with every feature that fires in each text; None where there is none."""
    rows = store.sql(
        "SELECT c.corpus, c.document, c.start, c.length, c.features, d.held_out FROM stored.contexts c "
        "JOIN stored.documents d ON d.corpus = c.corpus AND d.document = c.document "
        f"WHERE c.dictionary = {quoted(dictionary)} ORDER BY d.held_out DESC, c.context LIMIT {2 * POOL}"
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


def _others(store: Any, dictionary: str) -> _Pool:
    """Without contexts: examples of features drawn at random, each known to be of its feature."""
    ids = store.sql(
        f"SELECT dictionary || '/' || feature AS id FROM stored.features WHERE dictionary = {quoted(dictionary)} "
        f"AND active_tokens > 0 ORDER BY hash(feature) LIMIT {POOLED_FEATURES}"
    )["id"].to_pylist()
    texts = [_text(one, page.feature) for page in store.evidence(ids, OF_EACH) for one in page.examples if one.tokens]
    random.Random(f"pool of {dictionary}").shuffle(texts)
    return _Pool(texts[:POOL], [numpy.array([text.feature]) for text in texts[:POOL]])
