"""Why a hit was found, in words: made for the hits of a page, from what their ranking keeps."""

from __future__ import annotations

from typing import Protocol

from featurestore.display.text import shorten
from featurestore.search.cursor import Match
from featurestore.search.direction import VectorRanking
from featurestore.search.fusion import Evidence, TextRanking
from featurestore.search.keyword import Words
from featurestore.search.label_index import LabelIndex
from featurestore.search.token_index import TokenIndex
from featurestore.snapshot.catalog import Catalog
from featurestore.snapshot.feature_page import Card, FeaturePages


class Reasons(Protocol):
    """Says why features were found."""

    def of(self, match: Match, card: Card) -> str:
        """Why a feature was found; `card` has the label that is shown of it."""
        ...


class VectorReasons:
    """Reasons of a search by vectors: the cosine, and the layer a vector writes to."""

    def __init__(self, ranking: VectorRanking):
        self._ranking = ranking

    def of(self, match: Match, card: Card) -> str:
        """The cosine, such as "cosine 0.913 into layer 3"."""
        layer = self._ranking.layer(match.number)
        return f"cosine {match.score:.3f}" + ("" if layer is None else f" into layer {layer}")


class TextReasons:
    """Reasons of a search by text: what each search found of a feature, and its rank where several were fused."""

    def __init__(
        self,
        ranking: TextRanking,
        words: Words,
        catalog: Catalog,
        pages: FeaturePages,
        labels: LabelIndex | None,
        tokens: TokenIndex | None,
    ):
        self._ranking = ranking
        self._words = words
        self._catalog = catalog
        self._pages = pages
        self._labels = labels
        self._tokens = tokens

    def of(self, match: Match, card: Card) -> str:
        """What matched, such as "meaning 0.53 (#2), words 4.1: loops (#1)"."""
        return ", ".join(
            self._explain(name, match.number, evidence, card) + (f" (#{evidence.rank})" if evidence.rank else "")
            for name, evidence in self._ranking.evidence(match.number).items()
        )

    def _explain(self, name: str, number: int, evidence: Evidence, card: Card) -> str:
        if name == "tokens":
            return self._explain_tokens(number)
        if name == "logits":
            return self._explain_logits(number)
        assert self._labels is not None
        label, explainer = self._labels.label(evidence.row)
        other = "" if label == card.label else f" in {explainer}'s “{shorten(label)}”"
        if name == "meaning":
            return f"meaning {evidence.score:.2f}{other}"
        words = self._words.find_in(label)
        return f"words {evidence.score:.1f}{': ' if words else ''}{' '.join(words)}{other}"

    def _explain_tokens(self, number: int) -> str:
        assert self._tokens is not None
        windows = self._tokens.windows(number)
        words_by_window = [self._words.find_in(window) for window in windows]
        words = list(dict.fromkeys(word for words in words_by_window for word in words))
        if not words:
            return f"fires on {self._words.text.strip()!r}"
        return f"fires on {' '.join(words)} in {sum(map(bool, words_by_window))} of {len(windows)} top examples"

    def _explain_logits(self, number: int) -> str:
        text = self._words.text.strip()
        for place, logit in enumerate(self._pages.top_logits(self._catalog.id(number)), 1):
            if logit.token.strip() == text or self._words.find_in(logit.token):
                return f"raises {logit.token!r} {logit.value:+.2f} (its #{place})"
        return f"raises {text!r}"
