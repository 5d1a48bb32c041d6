"""A map of vectors: two coordinates for each, so that near vectors are near. By openTSNE; knows nothing of features."""

from __future__ import annotations

import os
from typing import Any

import numpy

from featurestore.errors import Unavailable
from featurestore.progress import Progress, no_progress

FEW = 50  # vectors that are laid out by their principal components alone
MOST_EMBEDDED = 100_000  # the others are placed at the nearest of these
COMPONENTS = 50  # of the vectors, in which neighbours are looked for
PERPLEXITY = 30
CHUNK = 20_000
EXAGGERATED, REFINED = 250, 500  # steps of the two phases, as openTSNE's authors advise


def place(vectors: numpy.ndarray, progress: Progress = no_progress) -> numpy.ndarray:
    """Return a place for each of `vectors` (n, d), as (n, 2) float32 within -1 and 1; the same for the same vectors.

    Directions count, not lengths. Zero vectors are in the middle. Raises Unavailable where openTSNE is not installed.
    """
    lengths = numpy.linalg.norm(vectors.astype(numpy.float32), axis=1, keepdims=True)
    present = lengths[:, 0] > 0
    places = numpy.zeros((len(vectors), 2), numpy.float32)
    if present.any():
        components = _project(vectors[present].astype(numpy.float32) / lengths[present])
        stage = progress("laying out the map", len(components))
        places[present] = _rescale(_embed(components, stage) if len(components) > FEW else _pad(components[:, :2]))
    return places


def _project(rows: numpy.ndarray) -> numpy.ndarray:
    """Return the first principal components of rows, strongest first, (n, at most 50)."""
    centred = rows - rows.mean(axis=0)
    # Of the covariance, which is small, rather than of the rows, which may be a million.
    _, directions = numpy.linalg.eigh(centred.T @ centred)
    directions = directions[:, ::-1][:, :COMPONENTS]
    # A direction and its opposite are as good: the one whose largest number is positive is taken.
    signs = numpy.sign(directions[numpy.abs(directions).argmax(axis=0), numpy.arange(directions.shape[1])])
    components: numpy.ndarray = centred @ (directions * signs)
    return components


def _embed(rows: numpy.ndarray, stage: Any) -> numpy.ndarray:
    try:
        import openTSNE
    except ImportError:
        raise Unavailable("openTSNE is not installed: pip install 'featurestore[map]'") from None
    chosen = numpy.arange(len(rows))
    if len(rows) > MOST_EMBEDDED:
        chosen = numpy.sort(numpy.random.default_rng(0).choice(len(rows), MOST_EMBEDDED, replace=False))
    embedding = openTSNE.TSNE(
        perplexity=min(PERPLEXITY, (len(chosen) - 1) / 3),
        metric="cosine",
        initialization="pca",
        early_exaggeration_iter=EXAGGERATED,
        n_iter=REFINED,
        random_state=0,
        n_jobs=os.cpu_count() or 1,
    ).fit(rows[chosen])
    places = numpy.zeros((len(rows), 2))
    places[chosen] = embedding
    stage(len(chosen))
    rest = numpy.setdiff1d(numpy.arange(len(rows)), chosen)
    for start in range(0, len(rest), CHUNK):
        chunk = rest[start : start + CHUNK]
        places[chunk] = embedding.prepare_partial(rows[chunk], initialization="median", k=10)
        stage(len(chunk))
    return places


def _pad(components: numpy.ndarray) -> numpy.ndarray:
    return numpy.pad(components, ((0, 0), (0, 2 - components.shape[1])))


def _rescale(places: numpy.ndarray) -> numpy.ndarray:
    """Return the places moved to the middle, the farthest at a distance of 1 along one axis."""
    centred = places - (places.max(axis=0) + places.min(axis=0)) / 2
    largest = numpy.abs(centred).max()
    return numpy.asarray(centred / largest if largest else centred, dtype=numpy.float32)
