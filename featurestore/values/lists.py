"""Lists of features that people keep: a name, a note, and features with a note each. Frozen values."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from featurestore.display import notebook
from featurestore.display.text import shorten
from featurestore.errors import BadRequest
from featurestore.values.feature import FeatureLike, id_text, is_feature
from featurestore.values.tables import Listing, Tabular

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", re.ASCII)
MOST_LISTED = 10_000  # features of a list


class ListedFeature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature of a list, and what its owner notes about it.

    `in_store` says whether the store has the feature; `label` is then its best label.
    """

    id: str
    label: str | None = None
    note: str | None = None
    in_store: bool = True


class ListSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A list without its features, which are only counted; fields as in schema.sql, stored.lists."""

    list: str
    note: str | None
    features: int
    tool: str
    created_at: datetime.datetime
    changed_at: datetime.datetime


class FeatureLists(Listing[ListSummary]):
    """The lists of a store, ordered by name: a Python list that can be a table too."""

    def __init__(self, values: Iterable[ListSummary] = ()):
        super().__init__(ListSummary, values)

    def _repr_html_(self) -> str:
        rows = [(notebook.render_code(entry.list), entry.features, entry.note) for entry in self]
        return notebook.render_table(("list", "features", "note"), rows)


class FeatureList(Tabular, msgspec.Struct, frozen=True, kw_only=True):
    """A list of features in its order. Searches take it by name: `among="@name"`. Its table has a row a feature."""

    list: str
    note: str | None
    features: tuple[ListedFeature, ...]
    tool: str
    created_at: datetime.datetime
    changed_at: datetime.datetime

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its features, in order."""
        return tuple(feature.id for feature in self.features)

    def __len__(self) -> int:
        return len(self.features)

    def _list_rows(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return ListedFeature, self.features

    def __repr__(self) -> str:
        return f"<FeatureList {self.list}: {len(self.features):,} features>"

    def _repr_html_(self) -> str:
        rows = [(notebook.render_code(each.id), each.label, each.note) for each in self.features]
        return notebook.render_table(("feature", "label", "note"), rows)


def is_list_name(text: str) -> bool:
    """Return whether a text stands for a list, as "@name" does where features are named."""
    return text.startswith("@")


def check_name(name: str) -> str:
    """Return the name of a list, without a leading @. Raises BadRequest for one that no list can have."""
    plain = name.removeprefix("@")
    if not NAME.fullmatch(plain):
        raise BadRequest(
            f"list: {shorten(repr(name))} cannot be the name of a list: 1 to 100 of the letters a to z, digits, '_', "
            "'-' and '.', and no '.' first"
        )
    return plain


def convert_features(features: FeatureLike | Iterable[FeatureLike | ListedFeature]) -> tuple[ListedFeature, ...]:
    """Return features, given in any form that `id_text` takes, as ListedFeature; one given twice counts once.

    Of one given twice the last note counts. Raises BadRequest for what is no feature, and for more than 10,000.
    """
    by_id: dict[str, ListedFeature] = {}
    several: Iterable[Any] = (features,) if is_feature(features) else cast("Iterable[Any]", features)
    if not isinstance(several, Iterable):
        raise BadRequest(
            f"features: {features!r:.100} is neither a feature nor several; name one as model/source/index"
        )
    for given in several:
        id = id_text(given)
        note = given.note if isinstance(given, ListedFeature) else None
        before = by_id.get(id)
        by_id[id] = ListedFeature(id=id, note=note if note is not None or before is None else before.note)
    if len(by_id) > MOST_LISTED:
        raise BadRequest(f"features: {len(by_id):,} are more than the {MOST_LISTED:,} that a list may have")
    return tuple(by_id.values())
