"""The row of a dictionary and the rows of its features, from what was imported and what the store has."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy
import pyarrow

import featurestore
from featurestore import BadRequest, Conflict
from ingest.formats.joining.example_rows import SHARD_FEATURES, reach_of
from ingest.formats.joining.spool import DictionarySpool

if TYPE_CHECKING:
    from featurestore import Dictionary, Store

MOST_FEATURES = 1 << 27
COPIED = ("label", "explainer")  # columns of features that compact fills
# Facts that a dictionary has, and that files of another dictionary would contradict.
IDENTITY = {
    "d_in": "width of input",
    "d_out": "width of output",
    "weights_hash": "hash of the weights",
    "layer": "layer",
}


def choose_size(dictionary: str, known: Dictionary | None, facts: Mapping[str, Any], largest: int) -> tuple[int, bool]:
    """Return d_sae, and whether somebody stated it; otherwise it is one more than the largest feature.

    Raises Conflict when features lie beyond the store's dictionary, BadRequest when they lie beyond the stated one.
    """
    stated = facts.get("d_sae")
    if known is not None:
        counted = read_import(known).get("d_sae") == "counted"
        if stated and stated != known.d_sae and not (counted and stated > known.d_sae):
            raise Conflict(
                f"the files say that {dictionary} has {stated:,} features, the store's has {known.d_sae:,}: they are "
                "of another dictionary; name it with --dictionary MODEL/SOURCE"
            )
        if largest >= known.d_sae and not counted:
            raise Conflict(
                f"the files have feature {largest:,} of {dictionary}, which ends at {known.d_sae - 1:,} in the store: "
                "they are of another dictionary; name it with --dictionary MODEL/SOURCE"
            )
        return max(known.d_sae, stated or 0, largest + 1), not counted or bool(stated)
    if stated and largest >= stated:
        raise BadRequest(f"the files have feature {largest:,} of {dictionary}, but d_sae is {stated:,}")
    if not stated and largest >= MOST_FEATURES:
        raise BadRequest(
            f"the largest feature of {dictionary} is {largest:,}: if it has that many, say so with --d-sae NUMBER"
        )
    return stated or largest + 1, bool(stated)


def check_identity(known: Dictionary, facts: Mapping[str, Any]) -> None:
    """Raise Conflict when the files say something else of the dictionary than the store does."""
    for name, words in IDENTITY.items():
        here, there = getattr(known, name), facts.get(name)
        if here is not None and there is not None and here != there:
            raise Conflict(
                f"the files say that the {words} of {known.dictionary} is {there}, in the store it is {here}: they are "
                "of another dictionary; name it with --dictionary MODEL/SOURCE"
            )


def read_import(known: Dictionary | None) -> dict[str, Any]:
    """Return what the store remembers of the import of a dictionary; {} of one that was not imported."""
    try:
        about = json.loads((known and known.settings) or "{}")
    except ValueError:
        return {}
    remembered = about.get("import") if isinstance(about, dict) else None
    return remembered if isinstance(remembered, dict) else {}


def make_row(
    dictionary: str, known: Dictionary | None, facts: Mapping[str, Any], remembered: Mapping[str, Any]
) -> pyarrow.Table:
    """Return the row of stored.dictionaries; what the files do not say stays as the store has it."""
    model, _, source = dictionary.partition("/")
    row: dict[str, Any] = {
        "dictionary": dictionary,
        "model": model,
        "source": source,
        "kind": guess_kind(source),
        "layer": guess_layer(source),
        "origin": "import",
    }
    if known is not None:
        row |= {name: getattr(known, name) for name in known.__struct_fields__}
    row |= {name: value for name, value in facts.items() if value is not None}
    row |= {
        "settings": json.dumps({"import": dict(remembered)}),
        "tool": f"featurestore {featurestore.__version__} import",
        "created_at": datetime.datetime.now(datetime.UTC),
    }
    return pyarrow.Table.from_pylist([row])


def guess_kind(source: str) -> str:
    """Return the kind that a source's name suggests: an SAE if nothing else."""
    words = re.split(r"[^a-z]+", source.casefold())
    return "clt" if "clt" in words else "transcoder" if {"transcoder", "tc", "plt"} & set(words) else "sae"


def guess_layer(source: str) -> int | None:
    """Return the layer that a source's name begins or ends with, as in 8-res-jb, resid_12 or layer_3; None without."""
    match = re.match(r"(\d{1,3})-", source) or re.search(r"(?:^|[_.-])(?:l|layer[_.-]?|layers[_.-])?(\d{1,3})$", source)
    return int(match[1]) if match else None


def read_new_features(spool: DictionarySpool, shard: int | None = None) -> pyarrow.Table | None:
    """Return the imported rows of a shard, or of all, ordered by feature with int32 numbers; None where there are none.

    Of a feature that several files have, it is the row of the last one.
    """
    features = spool.table("features", None if shard is None else reach_of(shard))
    if features is None:
        return None
    number = features["feature"].to_numpy()
    _, last = numpy.unique(number[::-1], return_index=True)
    if len(last) < len(number) or (numpy.diff(number) < 0).any():
        features = features.take(pyarrow.array(len(number) - 1 - last))
    at = features.column_names.index("feature")
    return features.set_column(at, "feature", features["feature"].cast(pyarrow.int32()))


def merge_features(
    store: Store, dictionary: str, known: Dictionary | None, new: pyarrow.Table | None, shard: int
) -> pyarrow.Table | None:
    """Return a shard's rows of stored.features: imported ones, else those the store has; None where there are none.

    The writer adds rows of nulls for the other features.
    """
    first = shard * SHARD_FEATURES
    tables = []
    taken = numpy.zeros(SHARD_FEATURES, bool)
    if new is not None:
        taken[new["feature"].to_numpy() - first] = True
        tables.append(new.drop_columns([name for name in ("dictionary",) if name in new.column_names]))
    if known is not None and first < known.d_sae:
        old = read_features(store, dictionary, first, first + SHARD_FEATURES)
        tables.append(old.filter(pyarrow.array(~taken[old["feature"].to_numpy() - first])))
    tables = [table for table in tables if table.num_rows]
    if not tables:
        return None
    rows = pyarrow.concat_tables(tables, promote_options="permissive")
    return rows.append_column("dictionary", pyarrow.array([dictionary] * rows.num_rows))


def read_features(store: Store, dictionary: str, first: int, last: int) -> pyarrow.Table:
    """Return the store's rows of stored.features, without its copies of labels."""
    statement = (
        "select * exclude (dictionary, label, explainer) from stored.features "
        "where dictionary = $dictionary and feature >= $first and feature < $last order by feature"
    )
    return store.sql(statement, {"dictionary": dictionary, "first": first, "last": last}).to_arrow()


def count_changed(store: Store, dictionary: str, new: pyarrow.Table, shard: int) -> int:
    """Return how many imported features of a shard have other statistics than the store's."""
    first = shard * SHARD_FEATURES
    old = read_features(store, dictionary, first, first + SHARD_FEATURES)
    wanted = pyarrow.array(numpy.isin(old["feature"].to_numpy(), new["feature"].to_numpy()))
    return _count_different(new, old.filter(wanted))


def _count_different(new: pyarrow.Table, old: pyarrow.Table) -> int:
    """Return how many rows of `new` differ from `old`, which may have fewer."""
    names = [name for name in new.column_names if name in old.column_names]
    old = old.select(names)
    try:
        new = new.select(names).cast(old.schema)
    except (pyarrow.ArrowException, ValueError):
        return int(new.num_rows)
    if new.combine_chunks().equals(old.combine_chunks()):
        return 0
    there = {row["feature"]: row for row in old.to_pylist()}
    return len([row for row in new.to_pylist() if there.get(row["feature"]) != row])
