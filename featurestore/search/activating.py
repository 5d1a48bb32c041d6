"""Which features fire on texts. The package behind the entry point runs the model; its activations are ranked here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy

from featurestore.display.characters import find_first
from featurestore.display.float32 import round_float32, round_floats32
from featurestore.display.text import quote_label
from featurestore.errors import BadRequest, Unavailable
from featurestore.ids import DictionariesLike, FeaturesLike, dictionary_texts
from featurestore.notes import Notes
from featurestore.snapshot.catalog import Catalog
from featurestore.sql.engine import Engine
from featurestore.storage.user_files import is_remembered
from featurestore.values.dictionary import Dictionary
from featurestore.values.feature import id_texts
from featurestore.values.hits import Activating, ActiveFeature, Contrast, ContrastFeature
from featurestore.weights import MayOpen, check_location

ORDERS = ("specific", "activation")
MOST_K = 1000
EMPTY = "dictionary is an empty list, which matches nothing"
MOST_TEXTS = 200  # of a contrast, on either side

# By dictionary the features, tokens and activations of every non-zero activation, three arrays of one length.
Active = dict[str, tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]
# run(dictionaries, text) returns the text's tokens and what fires on them.
ModelRunner = Callable[[Sequence[Dictionary], str], tuple[list[str], Active]]


def activating(
    catalog: Catalog,
    engine: Engine,
    text: str,
    dictionary: DictionariesLike | None,
    k: int,
    order: str,
    token: int | None = None,
    may_open: MayOpen = is_remembered,
) -> Activating:
    """The k features that fire hardest on a text, or on one of its tokens; see FeatureStore.activating.

    `may_open` says of a place that the store names whether its model or weights may be opened. Raises BadRequest for a
    text, an order, a k or a token out of range, Unavailable where no package runs models, and for places that may not
    be opened.
    """
    if not text.strip():
        raise BadRequest("text: nothing to run the model on, the text is empty")
    if order not in ORDERS:
        raise BadRequest(f"order: '{order}' is not one of {', '.join(ORDERS)}")
    _check_k(k)
    if _is_empty(dictionary):
        return Activating(text=text, tokens=(), features=(), **Notes().add("empty_list", EMPTY).fields())
    dictionaries = _choose_dictionaries(catalog, dictionary)
    run = _model_runner()
    _check_locations(dictionaries, may_open)
    tokens, active = run(dictionaries, text)
    place = slice(0, len(tokens)) if token is None else _find_character(tokens, token)
    features = _rank(engine, active, len(tokens), order, place)
    measure = (
        "activation"
        if order == "activation"
        else "activation over the feature's maximum; dense features and those seen rarely count less"
    )
    on = "" if token is None else f" on {quote_label(tokens[place.start])}"
    sentence = f"{len(features):,} features fire{on}; ordered by {measure}"
    notes = Notes().add("fired", sentence, features=len(features))
    return Activating(
        text=text,
        tokens=tuple(tokens),
        token_ids=tuple(getattr(tokens, "ids", ())),
        features=tuple(features[:k]),
        **notes.fields(),
    )


def activating_of(
    catalog: Catalog,
    engine: Engine,
    text: str,
    dictionary: DictionariesLike | None,
    features: FeaturesLike,
    may_open: MayOpen = is_remembered,
) -> Activating:
    """Return the activations of these features on a text, in their order, also of those that are silent.

    `may_open` is that of `activating`. Raises BadRequest for features of several models or outside `dictionary`,
    BadRequest or NotFound for an id, and Unavailable as `activating` does.
    """
    if not text.strip():
        raise BadRequest("text: nothing to run the model on, the text is empty")
    ids = list(dict.fromkeys(catalog.feature_id(id) for id in id_texts(features)))
    if len(ids) > MOST_K:
        raise BadRequest(f"features: {len(ids):,} were given; {MOST_K:,} at most are taken")
    if not ids or _is_empty(dictionary):
        empty = "features is an empty list, which matches nothing"
        notes = Notes().add("empty_list", EMPTY if ids else empty)
        return Activating(text=text, tokens=(), features=(), **notes.fields())
    names = list(dict.fromkeys(id.dictionary for id in ids))
    if dictionary is not None:
        within = {chosen.dictionary for chosen in _choose_dictionaries(catalog, dictionary)}
        outside = next((id for id in ids if id.dictionary not in within), None)
        if outside:
            raise BadRequest(f"features: {outside} is not in {', '.join(sorted(within))}; leave dictionary out")
    dictionaries = [catalog.dictionary(name) for name in names]
    models = sorted({dictionary.model for dictionary in dictionaries})
    if len(models) > 1:
        raise BadRequest(f"features: they are of several models ({', '.join(models)}): ask for those of one")
    run = _model_runner()
    _check_locations(dictionaries, may_open)
    tokens, active = run(dictionaries, text)
    by_id = {
        feature.id: feature
        for name in names
        for feature in _describe(
            engine, name, [id.feature for id in ids if id.dictionary == name], active[name], len(tokens)
        )
    }
    ordered = tuple(by_id[str(id)] for id in ids)
    firing = sum(feature.activation != 0 for feature in ordered)
    sentence = f"{firing:,} of {len(ordered):,} given features fire; in the order given"
    notes = Notes().add("given_fired", sentence, firing=firing, features=len(ordered))
    return Activating(
        text=text,
        tokens=tuple(tokens),
        token_ids=tuple(getattr(tokens, "ids", ())),
        features=ordered,
        **notes.fields(),
    )


def contrast(
    catalog: Catalog,
    engine: Engine,
    texts: Sequence[str],
    against: Sequence[str],
    dictionary: DictionariesLike | None,
    k: int,
    may_open: MayOpen = is_remembered,
) -> Contrast:
    """The k features that fire more on `texts` than on `against`; see FeatureStore.contrast.

    Raises BadRequest for texts or a k out of range, and Unavailable as `activating` does.
    """
    _check_texts("texts", texts)
    _check_texts("against", against)
    _check_k(k)
    if _is_empty(dictionary):
        return Contrast(
            texts=len(texts), against=len(against), features=(), **Notes().add("empty_list", EMPTY).fields()
        )
    dictionaries = _choose_dictionaries(catalog, dictionary)
    run = _model_runner()
    _check_locations(dictionaries, may_open)
    strongest, strongest_against = (
        [_strongest(dictionaries, run(dictionaries, text)[1]) for text in side] for side in (texts, against)
    )
    features: list[ContrastFeature] = []
    for name in [dictionary.dictionary for dictionary in dictionaries]:
        sides = (numpy.stack([of_text[name] for of_text in side]) for side in (strongest, strongest_against))
        features += _compare(engine, name, *sides)
    features.sort(key=lambda feature: (-feature.score, feature.id))
    measure = "score: difference of the mean strongest activations of a text, as a share of the feature's largest"
    sentence = f"{len(features):,} features fire more on the first texts; {measure}"
    notes = Notes().add("fired_more", sentence, features=len(features))
    return Contrast(texts=len(texts), against=len(against), features=tuple(features[:k]), **notes.fields())


def _check_texts(name: str, texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise BadRequest(f"{name}: a list of texts is wanted, not one text")
    if not 1 <= len(texts) <= MOST_TEXTS:
        raise BadRequest(f"{name}: {len(texts)} texts were given; 1 to {MOST_TEXTS} are taken")
    for number, text in enumerate(texts):
        if not text.strip():
            raise BadRequest(f"{name}: text {number} is empty")


def _compare(
    engine: Engine, dictionary: str, texts: numpy.ndarray, against: numpy.ndarray
) -> Iterator[ContrastFeature]:
    """The features of a dictionary that fire more on `texts` than `against`: strongest activations, (texts, d_sae)."""
    difference = texts.mean(axis=0) - against.mean(axis=0)
    rows = engine.rows(
        "SELECT feature, label, density, max_activation FROM features "
        "WHERE dictionary = ? AND max_activation IS NOT NULL AND feature IN (SELECT unnest(?))",
        [dictionary, numpy.flatnonzero(difference > 0).tolist()],
    )
    for feature, label, density, largest in rows:
        yield ContrastFeature(
            id=f"{dictionary}/{feature}",
            dictionary=dictionary,
            feature=feature,
            label=label,
            density=density,
            max_activation=round_float32(largest),
            score=round_float32(difference[feature] / max(abs(largest), texts[:, feature].max())),
            mean=round_float32(texts[:, feature].mean()),
            mean_against=round_float32(against[:, feature].mean()),
            fires=float((texts[:, feature] > 0).mean()),
            fires_against=float((against[:, feature] > 0).mean()),
        )


def _strongest(dictionaries: Sequence[Dictionary], active: Active) -> dict[str, numpy.ndarray]:
    """By dictionary the strongest |activation| of each feature on one text, (d_sae,) float32."""
    by_dictionary = {}
    for dictionary in dictionaries:
        strongest = numpy.zeros(dictionary.d_sae, numpy.float32)
        features, _, values = active[dictionary.dictionary]
        numpy.maximum.at(strongest, features, numpy.abs(values))
        by_dictionary[dictionary.dictionary] = strongest
    return by_dictionary


def _check_k(k: int) -> None:
    if not 1 <= k <= MOST_K:
        raise BadRequest(f"k: {k} is not between 1 and {MOST_K:,}")


def _is_empty(names: DictionariesLike | None) -> bool:
    """Return whether names are given, and there are none: they match nothing, where None is all dictionaries."""
    return names is not None and not dictionary_texts(names)


def _choose_dictionaries(catalog: Catalog, names: DictionariesLike | None) -> list[Dictionary]:
    """The dictionaries of these ids, or all. Raises BadRequest where they are of several models."""
    ids = [] if names is None else dictionary_texts(names)
    chosen = [catalog.dictionary(id) for id in ids] or catalog.dictionaries
    models = sorted({dictionary.model for dictionary in chosen})
    if not chosen:
        raise BadRequest("the store has no dictionary yet: harvest one first")
    if len(models) > 1:
        raise BadRequest(f"dictionary: say which; the store has dictionaries of several models: {', '.join(models)}")
    return chosen


def _check_locations(dictionaries: Sequence[Dictionary], may_open: MayOpen) -> None:
    """Raise Unavailable for a model or weights that the store names and that may not be opened."""
    for dictionary in dictionaries:
        check_location("model", dictionary.model_location, dictionary, may_open)
        check_location("weights", dictionary.weights_location, dictionary, may_open)


def _model_runner() -> ModelRunner:
    """The installed function that runs models. Raises Unavailable where no package brings one."""
    from importlib.metadata import entry_points

    installed = list(entry_points(group="featurestore.activating"))
    if not installed:
        raise Unavailable("running a model needs the harvest extra: pip install 'featurestore[harvest]'")
    run: ModelRunner = installed[0].load()
    return run


def _specific(activation: float, largest: float, density: float | None, active: int | None) -> float:
    """How specific a firing is: its share of the feature's largest activation, weighed by how much a firing tells.

    A dense feature fires anyway, so it counts less. So does one that fired on few tokens, because its largest
    activation is hardly known. One that never fired in the corpus, or of which nothing is known, has 0.
    """
    if not largest or density is None or active == 0:
        return 0.0
    certain = 1.0 if active is None else active / (active + 10)
    return activation / largest * math.log(1 / (density + 1e-3)) * certain


def _find_character(tokens: Sequence[str], token: int) -> slice:
    """The tokens that share a character with one, itself included. Raises BadRequest where there is no such token."""
    if not 0 <= token < len(tokens):
        raise BadRequest(f"token: {token} is not there; the text has {len(tokens):,} tokens, from 0")
    first, last = find_first(tokens, token), token + 1
    while last < len(tokens) and not tokens[last]:
        last += 1
    return slice(first, last)


def _rank(engine: Engine, active: Active, tokens: int, order: str, place: slice) -> list[ActiveFeature]:
    """The features that fire on a place in a text of so many tokens, most active or most specific there first."""
    ranked: list[tuple[float, ActiveFeature]] = []
    for dictionary, (features, positions, values) in active.items():
        seen = _count_active_tokens(engine, dictionary, features)
        fired = numpy.unique(features[(positions >= place.start) & (positions < place.stop)]).tolist()
        for feature in _describe(engine, dictionary, fired, (features, positions, values), tokens):
            score = max(map(abs, feature.activations[place]))
            if order == "specific":
                largest = abs(feature.max_activation or 0.0)
                score = _specific(score, largest, feature.density, seen[feature.feature])
            ranked.append((float(score), feature))
    ranked.sort(key=lambda pair: (-pair[0], pair[1].id))
    return [feature for _, feature in ranked]


def _count_active_tokens(engine: Engine, dictionary: str, features: numpy.ndarray) -> dict[int, int | None]:
    """By feature the number of tokens of its corpus that it fires on; None where that is not known."""
    rows = engine.rows(
        "SELECT feature, active_tokens FROM features WHERE dictionary = ? AND feature IN (SELECT unnest(?))",
        [dictionary, numpy.unique(features).tolist()],
    )
    return dict(rows)


def _describe(
    engine: Engine,
    dictionary: str,
    features: Sequence[int],
    active: tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray],
    tokens: int,
) -> Iterator[ActiveFeature]:
    """These features of a dictionary with their activations on a text of so many tokens, 0 where they are silent."""
    numbers, positions, values = active
    rows = engine.rows(
        "SELECT feature, label, density, max_activation FROM features "
        "WHERE dictionary = ? AND feature IN (SELECT unnest(?))",
        [dictionary, list(features)],
    )
    for feature, label, density, largest in rows:
        of_feature = numbers == feature
        dense = numpy.zeros(tokens, dtype=numpy.float32)
        dense[positions[of_feature]] = values[of_feature]
        token = int(numpy.abs(dense).argmax())
        on_tokens = round_floats32(dense)
        yield ActiveFeature(
            id=f"{dictionary}/{feature}",
            dictionary=dictionary,
            feature=feature,
            label=label,
            density=density,
            max_activation=round_float32(largest),
            activation=on_tokens[token],
            token=token,
            activations=tuple(on_tokens),
        )
