"""Search by meaning without a model: small vectors of labels, and of the words that a question may have.

The store's embedder gives vectors of labels and of single words. Both are brought down to the few directions in which
labels differ most. A map between them, fitted on the labels, makes the mean of a label's words most like the label; in
the browser the mean of a question's words then stands for the question.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy

WORD = re.compile(r"[^\W_]+")
DIMENSIONS = 64
MOST_WORDS = 20_000
SAMPLE = 20_000  # labels from which directions and the map are fitted
RIDGE = 0.01  # of the mean square; what single words add beyond it is noise

# Words that say nothing of what a text is about. An embedder gives them some meaning, and few labels have them, so that
# they would weigh most in a question.
_SMALL_WORDS = """
    a about after all also an and any are as at be because been before being but by can could did do does each for
    from had has have he her his how i if in into is it its just like may me more most my no nor not of on one only or
    other our out over own she should so some such than that the their them then there these they this those through to
    too under up very was we were what when where which while who why will with would you your
"""
SMALL_WORDS = frozenset(_SMALL_WORDS.split())

Embed = Callable[[Sequence[str]], numpy.ndarray]


class Meanings(NamedTuple):
    """Words with their weights, and the vectors of words and of labels: (words, d) and (labels, d) int8."""

    words: list[str]
    weights: list[float]
    of_words: numpy.ndarray
    of_labels: numpy.ndarray


def split_words(text: str) -> list[str]:
    """Return the words of a text, in lower case, as the site's script splits them."""
    return WORD.findall(text.lower())


def compute_meanings(labels: Sequence[str], tokens: Iterable[str], embed: Embed) -> Meanings:
    """Return the meanings of labels. `tokens` are other texts whose words a question may have, most frequent first."""
    counts: collections.Counter[str] = collections.Counter()
    for label in labels:
        counts.update(set(split_words(label)) - SMALL_WORDS)
    words = [word for word, _ in counts.most_common(MOST_WORDS)]
    more = (word for token in tokens for word in split_words(token) if len(word) > 2 and word.isalpha())
    known = set(words) | SMALL_WORDS
    for word in more:
        if len(words) >= MOST_WORDS:
            break
        if word not in known:
            known.add(word)
            words.append(word)
    weights = numpy.array([math.log(1 + len(labels) / (1 + counts[word])) for word in words])
    vectors = numpy.asarray(embed(list(labels)), numpy.float32)
    sample = numpy.random.default_rng(0).permutation(len(vectors))[:SAMPLE]
    _, _, directions = numpy.linalg.svd(_square(vectors[sample]))
    basis = directions[:DIMENSIONS].T.astype(numpy.float32)
    small = _unit(vectors @ basis)
    of_words = (numpy.asarray(embed(words), numpy.float32) if words else vectors[:0]) @ basis
    means = _mean_words([labels[at] for at in sample], words, weights, of_words)
    fitted = _fit(means, small[sample])
    return Meanings(words, [round(float(w), 2) for w in weights], _to_bytes(of_words @ fitted), _to_bytes(small))


def _square(vectors: numpy.ndarray) -> numpy.ndarray:
    square: numpy.ndarray = vectors.T @ vectors
    return square


def _mean_words(
    labels: Sequence[str], words: Sequence[str], weights: numpy.ndarray, vectors: numpy.ndarray
) -> numpy.ndarray:
    """Return the weighted mean of the vectors of each label's words, (labels, d)."""
    places = {word: at for at, word in enumerate(words)}
    means = numpy.zeros((len(labels), vectors.shape[1]), numpy.float32)
    for row, label in enumerate(labels):
        at = [places[word] for word in split_words(label) if word in places]
        if at:
            means[row] = weights[at] @ vectors[at]
    return _unit(means)


def _fit(means: numpy.ndarray, wanted: numpy.ndarray) -> numpy.ndarray:
    """Return the map (d, d) that takes means of words closest to vectors of labels."""
    square = _square(means)
    ridge = RIDGE * numpy.trace(square) / len(square) + 1e-6
    fitted: numpy.ndarray = numpy.linalg.solve(
        square + ridge * numpy.eye(len(square)), means.T @ wanted + ridge * numpy.eye(len(square))
    )
    return fitted.astype(numpy.float32)


def _unit(vectors: numpy.ndarray) -> numpy.ndarray:
    norms = numpy.linalg.norm(vectors, axis=1, keepdims=True)
    unit: numpy.ndarray = vectors / numpy.where(norms > 0, norms, 1)
    return unit


def _to_bytes(vectors: numpy.ndarray) -> numpy.ndarray:
    """Return vectors of which each has 127 as its largest number, as int8: their lengths say nothing."""
    most = numpy.abs(vectors).max(axis=1, keepdims=True, initial=0)
    scaled: numpy.ndarray = numpy.round(vectors / numpy.where(most > 0, most, 1) * 127)
    return scaled.astype(numpy.int8)
