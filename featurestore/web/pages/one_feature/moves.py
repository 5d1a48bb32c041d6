"""From one feature to another of its dictionary: the one of an index, or a live one at random."""

from __future__ import annotations

import random
from urllib.parse import quote

from flask import redirect
from flask.typing import ResponseReturnValue

from featurestore.errors import BadRequest, NotFound
from featurestore.interface import FeatureStore
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.wire.limits import SQL_SECONDS
from featurestore.wire.requests import Request

# Dead features have nothing to show; features of which nothing is known may have labels.
NEXT_ALIVE = """
SELECT feature FROM features WHERE dictionary = $dictionary AND state <> 'dead' AND feature >= $first
ORDER BY feature LIMIT 1
"""


class MoveFields(Request, frozen=True):
    """Which feature: the one of this index, or any."""

    index: int | None = None


def move_to_feature(store: FeatureStore, model: str, source: str) -> ResponseReturnValue:
    """Lead to the page of the feature with an index, or of a random one that is not dead.

    Raises BadRequest for an index that the dictionary does not have, NotFound where all are dead.
    """
    index = read(MoveFields).index
    dictionary = store.dictionary(f"{model}/{source}")
    if index is None:
        index = _choose_randomly(store, dictionary.dictionary, dictionary.d_sae)
    elif not 0 <= index < dictionary.d_sae:
        raise BadRequest(
            f"index: {index} is not there; {dictionary.dictionary} has {dictionary.d_sae:,} features, from 0"
        )
    return redirect(f"/features/{quote(dictionary.dictionary)}/{index}", 303)


def _choose_randomly(store: FeatureStore, dictionary: str, d_sae: int) -> int:
    for first in (random.randrange(d_sae), 0):
        parameters = {"dictionary": dictionary, "first": first}
        rows = store.sql(NEXT_ALIVE, parameters, timeout=SQL_SECONDS).to_pylist()
        if rows:
            index: int = rows[0]["feature"]
            return index
    raise NotFound(f"{dictionary} has no feature that fires")


PAGES = (Page("/features/<model>/<source>", move_to_feature, lane="search"),)
