"""What features or dictionaries have in common: the answers of `compare`. Frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from featurestore.display import notebook
from featurestore.display.numbers import format_value
from featurestore.errors import BadRequest
from featurestore.ids import FeatureLike, id_text, is_feature
from featurestore.notes import NoteCode
from featurestore.values.dictionary import Dictionary
from featurestore.values.kinds import State
from featurestore.values.tables import Tabular

MOST_FEATURES = 8  # side by side
WANTED = "compare two to eight features (model/source/index), or two dictionaries (model/source)"


class ComparedFeature(msgspec.Struct, frozen=True, kw_only=True):
    """One of the features that are compared.

    `tokens` are those that its stored examples fire on, the strongest first, and `examples` the number of windows that
    it has examples of.
    """

    id: str
    dictionary: str
    feature: int
    label: str | None
    state: State
    density: float | None
    max_activation: float | None
    tokens: tuple[str, ...]
    examples: int


class ComparedPair(msgspec.Struct, frozen=True, kw_only=True):
    """What two features have in common. A number is None where the store does not hold what it is counted from.

    `cosine` is that of their decoder vectors, None for different spaces. `coactivity` is tokens on which both fire over
    tokens on which either does, in the whole corpus, where the harvest counted it. The same over the tokens of stored
    examples is `jaccard`; a feature has few of them, so it is a lower bound. `contexts` are the stretches of text that
    both have examples of, and `context_jaccard` their share of all stretches of the two. `tokens` are what both fire
    on by text, `token_jaccard` their share of the tokens of either. `raised` and `lowered` are the tokens whose logits
    both change most, `opposed` those that one raises and the other lowers; `logit_jaccard` is the share of the first
    two.
    """

    id: str
    other: str
    cosine: float | None
    coactivity: float | None
    jaccard: float | None
    contexts: int
    context_jaccard: float | None
    tokens: tuple[str, ...]
    token_jaccard: float | None
    raised: tuple[str, ...]
    lowered: tuple[str, ...]
    opposed: tuple[str, ...]
    logit_jaccard: float | None


class ComparedExample(msgspec.Struct, frozen=True, kw_only=True):
    """A window of tokens around an activation of `id`, with the activations of all that have examples there.

    `features` are the ids of those that fire in it, `id` first, and `activations` has for each of them a value for each
    token. `position` is the place in the document of the token with `activation`, as in Example.
    """

    id: str
    corpus: str
    document: int
    document_name: str | None
    start: int
    position: int
    activation: float
    tokens: tuple[str, ...]
    features: tuple[str, ...]
    activations: tuple[tuple[float, ...], ...]


class FeatureComparison(Tabular, msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="features"):
    """Two to eight features side by side. Its table has a row for each pair.

    `cosines` is the matrix of the cosines of their decoder vectors, in the order of `features`; None where two are of
    different spaces. `examples` takes one of each feature in turn, the strongest first, and each stretch of text once.
    """

    features: tuple[ComparedFeature, ...]
    cosines: tuple[tuple[float | None, ...], ...]
    pairs: tuple[ComparedPair, ...]
    examples: tuple[ComparedExample, ...]
    notes: tuple[str, ...] = ()
    note_codes: tuple[NoteCode, ...] = ()

    def _list_rows(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return ComparedPair, self.pairs

    def __repr__(self) -> str:
        return f"<FeatureComparison of {', '.join(feature.id for feature in self.features)}>"

    def _repr_html_(self) -> str:
        columns = ("feature", "label", *(f"cosine to {n}" for n in range(1, len(self.features) + 1)))
        rows = [
            (notebook.render_code(feature.id), feature.label or "no label", *cosines)
            for feature, cosines in zip(self.features, self.cosines, strict=True)
        ]
        return notebook.render_table(columns, rows, notes=self.notes)


class MatchedFeature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature, the feature of the other dictionary of largest cosine to it, and that cosine.

    `mutual`: the other one's nearest is this feature too.
    """

    id: str
    label: str | None
    other: str
    other_label: str | None
    cosine: float
    mutual: bool


class MatchCount(msgspec.Struct, frozen=True):
    """How many features of either dictionary have one of at least this cosine in the other."""

    cosine: float
    matched: int
    other_matched: int


class DictionaryComparison(Tabular, msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="dictionaries"):
    """Each feature of a dictionary beside its best match in another one. Its table has a row for each of `matches`.

    `compared` and `other_compared` features were compared. `counts` says how many have a match, by cosine. `mutual`
    pairs are each other's best. `histogram` counts the features of the first dictionary by the cosine of their best
    match, between `edges`; `other_histogram` those of the other. `matches` are the first features by cosine, the
    largest first. `unmatched` and `other_unmatched` are features of either whose best match is below the smallest
    cosine of `counts`, the farthest first. `exact` is false where an approximate index found the matches.
    """

    dictionary: str
    other: str
    compared: int
    other_compared: int
    counts: tuple[MatchCount, ...]
    mutual: int
    edges: tuple[float, ...]
    histogram: tuple[int, ...]
    other_histogram: tuple[int, ...]
    matches: tuple[MatchedFeature, ...]
    unmatched: tuple[MatchedFeature, ...]
    other_unmatched: tuple[MatchedFeature, ...]
    exact: bool = True
    notes: tuple[str, ...] = ()
    note_codes: tuple[NoteCode, ...] = ()

    def _list_rows(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return MatchedFeature, self.matches

    def __repr__(self) -> str:
        counted = ", ".join(f"{count.matched:,} of cosine {count.cosine:g}" for count in self.counts)
        return f"<DictionaryComparison of {self.dictionary} ({self.compared:,} features) with {self.other}: {counted}>"

    def _repr_html_(self) -> str:
        columns = ("feature", "best match", "cosine", "mutual", "label", "label of the match")
        rows = [
            (
                notebook.render_code(match.id),
                notebook.render_code(match.other),
                match.cosine,
                format_value(match.mutual),
                match.label,
                match.other_label,
            )
            for match in self.matches
        ]
        title = f"{self.mutual:,} pairs are each other’s best match"
        return notebook.render_table(columns, rows, title, self.notes)


Comparison = FeatureComparison | DictionaryComparison


def name_compared(given: Sequence[FeatureLike | Dictionary | Sequence[FeatureLike | Dictionary]]) -> tuple[str, ...]:
    """Return the ids of what is compared, given one by one or as one list, in any form that `id_text` takes.

    Raises BadRequest for what is neither.
    """
    items: Sequence[Any] = given
    if len(given) == 1 and not (isinstance(given[0], Dictionary) or is_feature(given[0])):
        if not isinstance(given[0], Iterable):
            raise BadRequest(f"id: {given[0]!r:.100} is nothing to compare: {WANTED}")
        items = tuple(given[0])
    return tuple(item.dictionary if isinstance(item, Dictionary) else id_text(item) for item in items)


def is_dictionary_id(id: str) -> bool:
    """Return whether an id is of the form of a dictionary's, model/source, rather than of a feature's."""
    return id.strip().count("/") == 1


def are_dictionaries(ids: Sequence[str]) -> bool:
    """Return whether two dictionaries are compared, rather than features.

    Raises BadRequest for too few, too many or both kinds.
    """
    dictionaries = [id for id in ids if is_dictionary_id(id)]
    if dictionaries and len(dictionaries) < len(ids):
        feature = next(id for id in ids if not is_dictionary_id(id))
        raise BadRequest(f"id: {dictionaries[0]} is a dictionary and {feature} is not: {WANTED}")
    if len(ids) < 2:
        raise BadRequest(f"id: {f'{ids[0]} alone is nothing to compare' if ids else 'nothing is named'}: {WANTED}")
    most = 2 if dictionaries else MOST_FEATURES
    if len(ids) > most:
        raise BadRequest(f"id: {len(ids)} {'dictionaries' if dictionaries else 'features'} are too many: {WANTED}")
    return bool(dictionaries)


def list_thresholds(cosine: float | Sequence[float]) -> list[float]:
    """Return the cosines from which on matches are counted, ascending. Raises BadRequest for none or a bad one."""
    cosines = [cosine] if isinstance(cosine, float | int) else list(cosine)
    if not cosines:
        raise BadRequest("cosine: no number is given; matches are counted from at least one cosine on")
    for each in cosines:
        if not -1 <= each <= 1:
            raise BadRequest(f"cosine: {each} is not between -1 and 1")
    return sorted(set(cosines))
