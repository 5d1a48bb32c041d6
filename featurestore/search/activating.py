"""Which features fire on texts: the model is run by whoever is installed for it, and what fires is ranked here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

import numpy

from featurestore.errors import BadRequest, Unavailable
from featurestore.snapshot.catalog import Catalog
from featurestore.sql.engine import Engine
from featurestore.values.dictionary import Dictionary
from featurestore.values.hits import Activating, ActiveFeature, Contrast, ContrastFeature

ORDERS = ("specific", "activation")
MOST_K = 1000
MOST_TEXTS = 200  # of a contrast, on either side

# By dictionary the (feature, token, activation) of every non-zero activation.
Active = dict[str, tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]


def activating(
    catalog: Catalog, engine: Engine, text: str, dictionary: str | Sequence[str] | None, k: int, order: str
) -> Activating:
    """The k features that fire hardest on a text; see FeatureStore.activating."""
    if not text.strip():
        raise BadRequest("text: nothing to run the model on, the text is empty")
    if order not in ORDERS:
        raise BadRequest(f"order: '{order}' is not one of {', '.join(ORDERS)}")
    _check_k(k)
    tokens, active = _activations()(_one_model(catalog, dictionary), text)
    found = _ranked(engine, active, len(tokens), order)
    said = (
        "activation"
        if order == "activation"
        else "activation over the feature's maximum; dense features and those seen rarely count less"
    )
    notes = (f"{len(found):,} features fire; ordered by {said}",)
    return Activating(text=text, tokens=tuple(tokens), features=tuple(found[:k]), notes=notes)


def contrast(
    catalog: Catalog,
    engine: Engine,
    texts: Sequence[str],
    against: Sequence[str],
    dictionary: str | Sequence[str] | None,
    k: int,
) -> Contrast:
    """The k features that fire more on some texts than on others; see FeatureStore.contrast."""
    for name, some in (("texts", texts), ("against", against)):
        if isinstance(some, str):
            raise BadRequest(f"{name}: a list of texts is wanted, not one text")
        if not 1 <= len(some) <= MOST_TEXTS:
            raise BadRequest(f"{name}: {len(some)} texts were given; 1 to {MOST_TEXTS} are taken")
        for number, text in enumerate(some):
            if not text.strip():
                raise BadRequest(f"{name}: text {number} is empty")
    _check_k(k)
    chosen = _one_model(catalog, dictionary)
    run = _activations()
    ours, theirs = ([_strongest(chosen, run(chosen, text)[1]) for text in some] for some in (texts, against))
    found: list[ContrastFeature] = []
    for one in chosen:
        name = one.dictionary
        mine, other = (numpy.stack([text[name] for text in side]) for side in (ours, theirs))
        difference = mine.mean(axis=0) - other.mean(axis=0)
        more = numpy.flatnonzero(difference > 0)
        rows = engine.rows(
            "SELECT feature, label, density, max_activation FROM features "
            "WHERE dictionary = ? AND max_activation IS NOT NULL AND feature IN (SELECT unnest(?))",
            [name, more.tolist()],
        )
        for feature, label, density, largest in rows:
            found.append(
                ContrastFeature(
                    id=f"{name}/{feature}",
                    dictionary=name,
                    feature=feature,
                    label=label,
                    density=density,
                    max_activation=largest,
                    score=float(difference[feature] / max(abs(largest), mine[:, feature].max())),
                    mean=float(mine[:, feature].mean()),
                    mean_against=float(other[:, feature].mean()),
                    fires=float((mine[:, feature] > 0).mean()),
                    fires_against=float((other[:, feature] > 0).mean()),
                )
            )
    found.sort(key=lambda feature: (-feature.score, feature.id))
    said = "score: difference of the mean strongest activations of a text, as a share of the feature's largest"
    notes = (f"{len(found):,} features fire more on the first texts; {said}",)
    return Contrast(texts=len(texts), against=len(against), features=tuple(found[:k]), notes=notes)


def _strongest(dictionaries: Sequence[Dictionary], active: Active) -> dict[str, numpy.ndarray]:
    """By dictionary the strongest |activation| of each feature on one text, (d_sae,) float32."""
    found = {}
    for one in dictionaries:
        strongest = numpy.zeros(one.d_sae, numpy.float32)
        features, _, values = active[one.dictionary]
        numpy.maximum.at(strongest, features, numpy.abs(values))
        found[one.dictionary] = strongest
    return found


def _check_k(k: int) -> None:
    if not 1 <= k <= MOST_K:
        raise BadRequest(f"k: {k} is not between 1 and {MOST_K:,}")


def _one_model(catalog: Catalog, asked: str | Sequence[str] | None) -> list[Dictionary]:
    names = [asked] if isinstance(asked, str) else list(asked or [])
    chosen = [catalog.dictionary(name) for name in names] or catalog.dictionaries
    models = sorted({dictionary.model for dictionary in chosen})
    if not chosen:
        raise BadRequest("the store has no dictionary yet: harvest one first")
    if len(models) > 1:
        raise BadRequest(f"dictionary: say which; the store has dictionaries of several models: {', '.join(models)}")
    return chosen


def _activations() -> Callable[[Sequence[Dictionary], str], tuple[list[str], Active]]:
    found = list(entry_points(group="featurestore.activating"))
    if not found:
        raise Unavailable("running a model needs the harvest extra: pip install 'featurestore[harvest]'")
    return found[0].load()


def _specific(activation: float, largest: float, density: float, active: int) -> float:
    """How much a text is what a feature is for: the share of its largest activation, weighed by how telling a firing is.

    A dense feature fires anyway; of one that fired on few tokens the largest activation is hardly known; one that never
    fired in the corpus has nothing to compare with and comes last.
    """
    if not active or not largest:
        return 0.0
    return activation / largest * math.log(1 / (density + 1e-3)) * active / (active + 10)


def _ranked(engine: Engine, active: dict[str, Any], tokens: int, order: str) -> list[ActiveFeature]:
    """The features of sparse activations {dictionary: (feature, token, value)}, hardest first."""
    ranked: list[tuple[float, ActiveFeature]] = []
    for dictionary, (features, positions, values) in active.items():
        fired = numpy.unique(features)
        rows = engine.rows(
            "SELECT feature, label, density, max_activation, active_tokens FROM features "
            "WHERE dictionary = ? AND feature IN (SELECT unnest(?))",
            [dictionary, fired.tolist()],
        )
        for feature, label, density, largest, seen in rows:
            mine = features == feature
            dense = numpy.zeros(tokens, dtype=numpy.float32)
            dense[positions[mine]] = values[mine]
            token = int(numpy.abs(dense).argmax())
            activation = float(dense[token])
            score = abs(activation)
            if order == "specific":
                score = _specific(score, abs(largest or 0.0), density or 0.0, seen or 0)
            ranked.append(
                (
                    float(score),
                    ActiveFeature(
                        id=f"{dictionary}/{feature}",
                        dictionary=dictionary,
                        feature=feature,
                        label=label,
                        density=density,
                        max_activation=largest,
                        activation=activation,
                        token=token,
                        activations=tuple(float(x) for x in dense),
                    ),
                )
            )
    ranked.sort(key=lambda pair: (-pair[0], pair[1].id))
    return [feature for _, feature in ranked]
