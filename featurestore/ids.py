"""How features and dictionaries are named: an id as text, or any value that has one. Knows no store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Protocol, cast

import msgspec

from featurestore.errors import BadRequest


class FeatureId(msgspec.Struct, frozen=True, order=True):
    """The parts of an id `model/source/index`: the dictionary `model/source`, and the number of the feature in it."""

    dictionary: str
    feature: int

    @classmethod
    def parse(cls, given: FeatureLike) -> FeatureId:
        """Return the id of a feature, given as `id_text` takes it.

        Raises BadRequest for a text that is not of the form model/source/index.
        """
        text = id_text(given)
        match = re.fullmatch(r"([^/\s]+/[^/\s]+)/(0|[1-9][0-9]{0,8})", text)
        if match is None:
            remedy = "write model/source/index, as in gpt2-small/8-res-jb/1234"
            if re.fullmatch(r"[^/\s]+/[^/\s]+/[^/\s]+", text):
                index = text.rpartition("/")[2]
                remedy = f"its index is '{index}', and indices are whole numbers from 0, as in gpt2-small/8-res-jb/1234"
            raise BadRequest(f"'{text}' is not a feature id: {remedy}")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.dictionary}/{self.feature}"


class HasId(Protocol):
    """What has the id of a feature: a Hit, a Feature, a neighbour."""

    @property
    def id(self) -> str:
        """Returns the id, model/source/index."""
        ...


# Neuronpedia's forms of an id, and the address of a feature's page.
NEURONPEDIA = (
    re.compile(r"([^/@\s]+)@([^/:\s]+):([0-9]+)"),
    re.compile(r"https?://(?:www\.)?neuronpedia\.org/(?:api/feature/)?([^/\s]+)/([^/\s]+)/([0-9]+)/?"),
)
FeatureLike = str | FeatureId | HasId | tuple[str, int]
FeaturesLike = FeatureLike | Sequence[FeatureLike]


def id_text(given: FeatureLike) -> str:
    """Return the id of a feature as text, model/source/index.

    It is given as that text, in Neuronpedia's form model@source:index, as the address of its page on Neuronpedia, as a
    pair of dictionary and index, or as a Hit, a Feature or another value that has an `id`. A text of no such form is
    returned as it is.
    """
    if isinstance(given, tuple):
        return "/".join(map(str, given))
    text = str(given) if isinstance(given, str | FeatureId) else str(getattr(given, "id", given))
    match = next((match for form in NEURONPEDIA if (match := form.fullmatch(text.strip()))), None)
    return "/".join(match.groups()) if match else text.strip()


def is_feature(given: object) -> bool:
    """Whether this names one feature, rather than several or a vector."""
    if isinstance(given, tuple):
        return len(given) == 2 and isinstance(given[0], str) and isinstance(given[1], Integral)
    return isinstance(given, str | FeatureId) or isinstance(getattr(given, "id", None), str)


def id_texts(given: FeatureLike | Iterable[FeatureLike]) -> list[str]:
    """Return the ids of features as text, each given as `id_text` takes it; one alone is a list of one.

    Raises BadRequest for what is neither.
    """
    if is_feature(given):
        return [id_text(cast(FeatureLike, given))]
    try:
        return [id_text(each) for each in cast("Iterable[FeatureLike]", given)]
    except TypeError:
        raise BadRequest(
            f"ids: {given!r:.100} is neither a feature nor several; name one as model/source/index"
        ) from None


class HasDictionary(Protocol):
    """What has the id of a dictionary: a Dictionary, a Hit, a Feature."""

    @property
    def dictionary(self) -> str:
        """Returns the id, model/source."""
        ...


DictionaryLike = str | HasDictionary
DictionariesLike = DictionaryLike | Sequence[DictionaryLike]


def dictionary_text(given: DictionaryLike) -> str:
    """Return the id of a dictionary, given as text or as a value that has it."""
    return given if isinstance(given, str) else str(getattr(given, "dictionary", given))


def dictionary_texts(given: DictionaryLike | Iterable[DictionaryLike]) -> list[str]:
    """Return the ids of dictionaries, each given as `dictionary_text` takes it; one alone is a list of one.

    Raises BadRequest for what is neither.
    """
    if isinstance(given, str) or isinstance(getattr(given, "dictionary", None), str):
        return [dictionary_text(cast(DictionaryLike, given))]
    try:
        return [dictionary_text(each) for each in cast("Iterable[DictionaryLike]", given)]
    except TypeError:
        raise BadRequest(
            f"dictionary: {given!r:.100} is neither a dictionary nor several; name one as model/source"
        ) from None
