"""The page of a neighbourhood: a feature, its nearest and theirs, as a drawing and as a list."""

from __future__ import annotations

import math
from typing import NamedTuple

from flask import render_template
from flask.typing import ResponseReturnValue

from featurestore.interface import FeatureStore
from featurestore.web.pages.drawings.neighbourhood_layout import PHONE, SCREEN, SHAPES, choose_shapes, lay_out
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.wire.requests import Request

MOST_NEAREST = 12  # of each feature that is drawn: more cannot be told apart, and make the page heavy


class NeighbourhoodFields(Request, frozen=True):
    """The fields of the page: how many nearest features each feature has."""

    k: int = 8


def show_neighbourhood(store: FeatureStore, model: str, source: str, index: str) -> ResponseReturnValue:
    """Return the page of what is near a feature."""
    k = read(NeighbourhoodFields).k
    neighbourhood = store.neighbourhood(f"{model}/{source}/{index}", min(k, MOST_NEAREST))
    chance = estimate_chance(store, neighbourhood.nodes[0].dictionary)
    others = list(enumerate(neighbourhood.nodes[1:], 1))
    dictionaries = {dictionary.dictionary: dictionary for dictionary in store.dictionaries()}
    shapes = choose_shapes(neighbourhood)
    return render_template(
        "neighbourhood.html",
        neighbourhood=neighbourhood,
        drawings={"screen": lay_out(neighbourhood, SCREEN), "phone": lay_out(neighbourhood, PHONE)},
        k=min(k, MOST_NEAREST),
        asked=k,
        chance=chance,
        near=[pair for pair in others if chance is None or pair[1].score >= chance.cosine],
        far=[pair for pair in others if chance is not None and pair[1].score < chance.cosine],
        outlines=SHAPES,
        shapes=shapes,
        legend=[(dictionaries.get(name), name, shape) for name, shape in shapes.items()],
    )


class Chance(NamedTuple):
    """The cosine that the nearest of `features` random directions of `width` numbers has by chance."""

    cosine: float
    features: int
    width: int


def estimate_chance(store: FeatureStore, name: str) -> Chance | None:
    """Return the cosine below which a neighbour in a dictionary's space means nothing; None where it is not known.

    Of n random directions in d dimensions the nearest has a cosine of about sqrt(2 ln n / d).
    """
    dictionary = store.dictionary(name)
    features = sum(each.d_sae for each in store.dictionaries() if each.space == dictionary.space)
    if not dictionary.d_out or dictionary.space is None or features < 2:
        return None
    return Chance(min(1.0, math.sqrt(2 * math.log(features) / dictionary.d_out)), features, dictionary.d_out)


PAGES = (Page("/neighbourhood/<model>/<source>/<index>", show_neighbourhood, may_embed=True),)
