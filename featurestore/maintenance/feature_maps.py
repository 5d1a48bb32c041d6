"""Maps of features: a place for each feature of a dictionary, made of its decoder vectors and kept as a table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy
import pyarrow

from featurestore.progress import Progress
from featurestore.search.vectors.plane import place
from featurestore.storage.log import Snapshot
from featurestore.tables.layout import LAYOUTS, OTHERS
from featurestore.tables.schema import Gate
from featurestore.tables.writer import Writer

TABLE = "map_points"


def build_maps(
    writer: Writer,
    snapshot: Snapshot,
    vectors_of: Callable[[str], Iterator[numpy.ndarray]],
    progress: Progress,
) -> list[str]:
    """Make the maps that are missing or older than their dictionary's vectors. Returns one line per dictionary.

    Raises Unavailable where openTSNE is not installed.
    """
    lines = []
    for dictionary in snapshot.keys("dictionaries"):
        covers = sorted(part.sha256 for part in snapshot.parts("decoder_vectors", dictionary))
        if not covers:
            lines.append(f"{dictionary}: no map, because it has no decoder vectors")
            continue
        made = snapshot.parts(TABLE, dictionary)
        if made and made[0].about.get("covers") == covers:
            continue
        places = place(numpy.concatenate(list(vectors_of(dictionary))), progress)
        writer.remove_parts(made)
        with contextlib.closing(Gate()) as gate:
            checked = gate.check(TABLE, _tabulate(dictionary, places), LAYOUTS.get(TABLE, OTHERS).order)
        writer.add_checked(TABLE, checked, key=dictionary, about={"covers": covers})
        lines.append(f"{dictionary}: a map of {len(places):,} features")
    return lines


def _tabulate(dictionary: str, places: numpy.ndarray) -> pyarrow.Table:
    return pyarrow.table(
        {
            "dictionary": pyarrow.array([dictionary] * len(places), pyarrow.string()),
            "feature": pyarrow.array(numpy.arange(len(places), dtype=numpy.int32)),
            "x": pyarrow.array(places[:, 0]),
            "y": pyarrow.array(places[:, 1]),
        }
    )
