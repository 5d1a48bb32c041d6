"""Why a hit was found, in words."""

from __future__ import annotations

from typing import Any, NamedTuple

from featurestore.search.cursor import Match
from featurestore.search.keyword import Words
from featurestore.search.label_index import LabelIndex
from featurestore.search.token_index import TokenIndex
from featurestore.snapshot.catalog import Catalog
from featurestore.snapshot.feature_page import Pages

SHOWN = 60  # characters of a label that is not the one shown


class _Found(NamedTuple):
    name: str
    score: float
    row: int
    rank: int | None


class Why:
    """What the rankings of one query found of each feature, and how that is said."""

    def __init__(
        self,
        pages: Pages,
        words: Words | None = None,
        labels: LabelIndex | None = None,
        tokens: TokenIndex | None = None,
        catalog: Catalog | None = None,
    ):
        self._pages, self._words, self._labels, self._tokens, self._catalog = pages, words, labels, tokens, catalog
        self._found: dict[int, dict[str, _Found]] = {}

    def add(self, number: int, name: str, score: float, row: int, rank: int | None = None) -> str:
        """A ranking found a feature: by meaning or words by that row of labels, by tokens or logits. Nothing is said yet."""
        self._found.setdefault(number, {})[name] = _Found(name, score, row, rank)
        return ""

    def of(self, match: Match, card: dict[str, Any]) -> str:
        """What matched of a feature, whose shown label is in `card`."""
        if match.why:
            return match.why
        return ", ".join(
            self._said(one, match.number, card) + (f" (#{one.rank})" if one.rank else "")
            for one in self._found[match.number].values()
        )

    def _said(self, one: _Found, number: int, card: dict[str, Any]) -> str:
        if one.name == "tokens":
            return self._fires(number)
        if one.name == "logits":
            return self._raises(number)
        assert self._labels is not None and self._words is not None
        label, explainer = self._labels.label(one.row)
        other = "" if label == card["label"] else f" in {explainer}'s “{_short(label)}”"
        if one.name == "meaning":
            return f"meaning {one.score:.2f}{other}"
        found = self._words.found_in(label)
        return f"words {one.score:.1f}: {' '.join(found)}{other}" if found else f"words {one.score:.1f}{other}"

    def _fires(self, number: int) -> str:
        assert self._tokens is not None and self._words is not None
        windows = self._tokens.windows(number)
        found = [self._words.found_in(window) for window in windows]
        some = list(dict.fromkeys(word for words in found for word in words))
        if not some:
            return f"fires on {self._words.text.strip()!r}"
        return f"fires on {' '.join(some)} in {sum(map(bool, found))} of {len(windows)} top examples"

    def _raises(self, number: int) -> str:
        assert self._catalog is not None and self._words is not None
        logits = self._pages.top_logits(self._catalog.id(number))
        asked = self._words.text.strip()
        for place, one in enumerate(logits, 1):
            if one.token.strip() == asked or self._words.found_in(one.token):
                return f"raises {one.token!r} {one.value:+.2f} (its #{place})"
        return f"raises {asked!r}"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1].rstrip() + "…"
