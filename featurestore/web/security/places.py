"""Where the store lies on the disk: messages about damaged files name it, and answers do not."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from flask import Response

from featurestore.errors import FeatureStoreError
from featurestore.storage.locations import PLACES, hide_path
from featurestore.values.dictionary import Dictionary

FAILED = 500  # from this status on answers may be about files
CACHE = "the cache"


class HiddenPlaces:
    """Takes the directories above a store, and that of copies, out of answers about what failed."""

    def __init__(self, location: str, cache: Path, list_dictionaries: Callable[[], Iterable[Dictionary]]):
        places = [location] if "://" in location else [location, os.path.abspath(location), os.path.realpath(location)]
        self._list_dictionaries = list_dictionaries
        names = {place: re.split(r"[/\\]", place.rstrip("/\\"))[-1] or "store" for place in places}
        shown = {form: name for place, name in names.items() for form in _forms(place.rstrip("/\\")) if form != name}
        shown |= dict.fromkeys(_forms(str(cache)), CACHE)
        # The longest first: one may be a part of another.
        self._shown = dict(sorted(shown.items(), key=lambda item: -len(item[0])))

    def hide_in(self, answer: Response) -> Response:
        """Return the answer, which then names the store, and not where it lies."""
        if answer.status_code < FAILED or answer.is_streamed or answer.direct_passthrough:
            return answer
        text = whole = answer.get_data(as_text=True)
        for place, name in (self._shown | self._name_weights()).items():
            text = text.replace(place, name)
        if text != whole:
            answer.set_data(text)
        return answer

    def _name_weights(self) -> dict[str, str]:
        """Return the names of where models and weights lie, by those paths."""
        try:
            dictionaries = list(self._list_dictionaries())
        except FeatureStoreError:
            return {}  # what failed may have been just this: its own answer must still be given
        places = {getattr(dictionary, name) for dictionary in dictionaries for name in PLACES}
        return {
            form: name
            for place in sorted(filter(None, places), key=len, reverse=True)
            # A place that is one name, or the root itself, says nothing, and would change every word that has it.
            if len(re.findall(r"[^/\\]+", place)) > 1 and (name := hide_path(place)) not in (None, place)
            for form in _forms(place)
        }


def _forms(place: str) -> set[str]:
    """Return how a path is written in text, JSON and HTML."""
    return {place, msgspec.json.encode(place).decode()[1:-1], html.escape(place), html.escape(place, quote=False)}
