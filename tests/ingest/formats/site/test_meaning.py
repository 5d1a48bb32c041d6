"""Meanings for a browser: the mean of a question's words lies near the labels that mean the same."""

import numpy

from ingest.formats.site import meaning

TOPICS = {"dog": 0, "puppy": 0, "hound": 0, "car": 1, "truck": 1, "river": 2, "stream": 2, "the": None, "of": None}


def embed(texts):
    """Unit vectors of 96 numbers: the topics of a text's words, and a little of its own."""
    vectors = numpy.zeros((len(texts), 96), numpy.float32)
    for row, text in enumerate(texts):
        own = numpy.random.default_rng(sum(map(ord, text)))
        vectors[row] = 0.05 * own.standard_normal(96)
        for word in text.split():
            if TOPICS.get(word) is not None:
                vectors[row, TOPICS[word]] += 1
    return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


LABELS = ["the dog", "hound of the river", "the car", "truck", "the stream", "dog hound"] * 4


def rank(meanings, question):
    """The labels by cosine to the weighted mean of a question's words, as the script computes it."""
    mean = numpy.zeros(meanings.of_words.shape[1])
    for word in meaning.split_words(question):
        at = meanings.words.index(word)
        vector = meanings.of_words[at].astype(float)
        mean += meanings.weights[at] * vector / numpy.linalg.norm(vector)
    labels = meanings.of_labels.astype(float)
    return numpy.argsort(-(labels @ mean) / numpy.linalg.norm(labels, axis=1), kind="stable")


def test_a_word_that_no_label_has_finds_labels_of_its_meaning():
    meanings = meaning.compute_meanings(LABELS, [" puppy", "!!", "ab"], embed)
    assert "puppy" in meanings.words and "ab" not in meanings.words
    assert {LABELS[at] for at in rank(meanings, "puppy")[:8]} == {"the dog", "dog hound"}
    assert {LABELS[at] for at in rank(meanings, "truck")[:8]} == {"the car", "truck"}


def test_small_words_have_no_weight_in_a_question():
    meanings = meaning.compute_meanings(LABELS, [" about", " puppy", " Which"], embed)
    assert "dog" in meanings.words and "puppy" in meanings.words
    assert {"the", "of", "about", "which"}.isdisjoint(meanings.words)


def test_vectors_are_small_and_as_many_as_texts():
    meanings = meaning.compute_meanings(LABELS, [], embed)
    assert meanings.of_labels.shape == (len(LABELS), meaning.DIMENSIONS)
    assert meanings.of_words.shape == (len(meanings.words), meaning.DIMENSIONS)
    assert meanings.of_labels.dtype == numpy.int8
    assert (numpy.abs(meanings.of_labels).max(axis=1) == 127).all()


def test_labels_without_words_are_no_error():
    meanings = meaning.compute_meanings(["...", "!?"], [], embed)
    assert meanings.words == []
    assert len(meanings.of_labels) == 2
