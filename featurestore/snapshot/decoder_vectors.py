"""Decoder vectors as the store keeps them: read by feature, or a dictionary's all, from memory-mapped parts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy

from featurestore.errors import BadStore, NotFound
from featurestore.snapshot.catalog import Catalog
from featurestore.snapshot.shard import Shards
from featurestore.storage import numpy_files
from featurestore.storage.directory import Directory
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables.layout import SHARD_FEATURES
from featurestore.values.matrix import Matrix


class DecoderVectors:
    """Reads the decoder vectors of one snapshot."""

    def __init__(self, directory: Directory, snapshot: Snapshot, catalog: Catalog, shards: Shards):
        self._directory = directory
        self._snapshot = snapshot
        self._catalog = catalog
        self._shards = shards

    def of_feature(self, id: str, target: int | None = None) -> numpy.ndarray:
        """A feature's decoder vector, (d_out,) float32: the one into layer `target`, or its first.

        Raises BadRequest or NotFound for an id or a layer that the store does not have, and NotFound where the
        dictionary has no vectors; BadStore where the file is missing, or not what the log says of it.
        """
        feature_id = self._catalog.feature_id(id)
        part = self._shards.of(feature_id).decoder_vectors
        if part is None:
            raise NotFound(_describe_missing(feature_id.dictionary))
        layers = target_layers(part)
        row = feature_id.feature % SHARD_FEATURES * len(layers) + _find_place(layers, id, target)
        vectors = open_vectors(self._directory, part)
        if row >= len(vectors):
            raise BadStore(
                f"{self._directory.local(part)} has {len(vectors)} vectors, {len(layers)} for each feature by the log: "
                f"none is of {id}; run `featurestore check`"
            )
        vector: numpy.ndarray = vectors[row].astype(numpy.float32)
        return vector

    def matrix(self, dictionary: str, target: int | None = None) -> Matrix:
        """All vectors of a dictionary, (d_sae, d_out) float16: those into layer `target`, or each feature's first.

        Raises NotFound where the dictionary has none, or none into this layer; BadStore where a file is missing.
        """
        parts = self._snapshot.parts("decoder_vectors", dictionary)
        if not parts:
            raise NotFound(_describe_missing(dictionary))
        arrays = []
        for part in sorted(parts, key=lambda part: part.shard):
            layers = target_layers(part)
            arrays.append(open_vectors(self._directory, part)[_find_place(layers, dictionary, target) :: len(layers)])
        return Matrix(arrays)

    def of_dictionary(self, dictionary: str) -> Iterator[numpy.ndarray]:
        """Yield the first decoder vector of each feature of a dictionary, (features, d_out) float16, part by part."""
        for part in self._snapshot.parts("decoder_vectors", dictionary):
            yield open_vectors(self._directory, part)[:: len(target_layers(part))]


def _find_place(layers: list[int | None], id: str, target: int | None) -> int:
    """Return the place among a feature's vectors of the one into layer `target`, or of the first. Raises NotFound."""
    if target is None:
        return 0
    if target not in layers:
        known = ", ".join(map(str, layers)) if layers[0] is not None else "one vector alone, of no layer"
        raise NotFound(f"{id} has no decoder vector into layer {target}; there are: {known}")
    return layers.index(target)


def _describe_missing(dictionary: str) -> str:
    return (
        f"the store has no decoder vectors of {dictionary}: it was added without weights; "
        f"`featurestore attach-weights {dictionary} --weights ...` adds them"
    )


def target_layers(part: Part) -> list[int | None]:
    """The layers that each feature's vectors in a part write to, in order; [None] for features with one vector."""
    return part.about.get("targets") or [None]


def open_vectors(directory: Directory, part: Part) -> numpy.ndarray:
    """A part's vectors, (rows, d_out) float16, memory-mapped. Raises BadStore where the file cannot be read."""
    file = directory.local(part)
    try:
        vectors = numpy_files.map_array(file)
    except (OSError, ValueError) as exc:
        raise BadStore(f"{file} cannot be read; run `featurestore check` ({exc})") from None
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise BadStore(f"{file} is no matrix of numbers ({vectors.dtype}, {vectors.shape}); run `featurestore check`")
    if len(vectors) != part.rows:
        raise BadStore(f"{file} has {len(vectors)} vectors, not {part.rows}; run `featurestore check`")
    if len(vectors) % len(target_layers(part)):
        layers = len(target_layers(part))
        raise BadStore(f"{file} has {len(vectors)} vectors, and not {layers} of each feature; run `featurestore check`")
    return vectors
