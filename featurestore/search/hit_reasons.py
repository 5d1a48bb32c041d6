"""Why a hit was found, in fields and in words, and whether it is weak: made for a page, from what its ranking keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy

from featurestore.display.float32 import round_float32
from featurestore.display.text import shorten
from featurestore.search.cursor import Match
from featurestore.search.direction import VectorRanking
from featurestore.search.fusion import COSINES, Evidence, TextRanking
from featurestore.search.label_index import LabelIndex
from featurestore.search.token_index import TokenIndex
from featurestore.search.words.word_forms import normalise
from featurestore.search.words.word_query import Words
from featurestore.snapshot.catalog import Catalog
from featurestore.snapshot.feature_page import Card, FeaturePages
from featurestore.values.hits import Hit, Reason

# A hit is weak whose label, and whose examples, have a smaller cosine than this, and that has not all words that were
# asked for. Chosen with `python -m bench.quality`, which asks questions without a meaning beside the others;
# docs/search.md has the figures.
WEAK: dict[str, float] = {"meaning": 0.4, "examples": 0.35}


class Explanation(NamedTuple):
    """Why a feature was found: in words, in fields, and whether that is weak; how many words it has of those asked."""

    why: str
    reasons: tuple[Reason, ...]
    weak: bool
    matched: int


class Quality(NamedTuple):
    """How good an answer is: whether all of it is weak, its largest cosine, and the most words of those asked."""

    weak: bool
    cosine: float | None
    matched: int | None
    asked: int | None
    of: str = "label"  # whose cosine it is

    @property
    def note(self) -> str:
        """What a reader is told of a weak answer."""
        near = "" if self.cosine is None else f"the nearest {self.of} has a cosine of {self.cosine:.2f}"
        words = "" if not self.asked else f"no hit has more than {self.matched} of the {self.asked} words"
        return f"weak: probably nothing here is about this ({', '.join(filter(None, (near, words)))})"


class Reasons(Protocol):
    """Says why features were found."""

    def of(self, match: Match, card: Card) -> Explanation:
        """Why a feature was found; `card` has the label that is shown of it."""
        ...


class VectorReasons:
    """Reasons of a search by vectors: the cosine, and the layer a vector writes to."""

    def __init__(self, ranking: VectorRanking):
        self._ranking = ranking

    def of(self, match: Match, card: Card) -> Explanation:
        """The cosine, such as "cosine 0.913 into layer 3"."""
        layer = self._ranking.layer(match.number)
        why = f"cosine {match.score:.3f}" + ("" if layer is None else f" into layer {layer}")
        return Explanation(why, (Reason(kind="vectors", score=round_float32(match.score)),), False, 0)


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
        self._matched: dict[str, int] = {}  # of the hits that were explained, by id

    def quality(self, hits: Sequence[Hit]) -> Quality:
        """How good the hits of a page are, which were explained before."""
        reasons = [reason for hit in hits for reason in hit.reasons]
        kinds = [kind for kind in COSINES if any(reason.kind == kind for reason in reasons)]
        cosines = [reason.score for reason in reasons if reason.kind in kinds[:1]]
        of = "digest of examples" if kinds[:1] == ["examples"] else "label"
        asked = len(self._words.positive_clauses) if self._by_words else None
        matched = max((self._matched[hit.id] for hit in hits), default=0) if self._by_words else None
        return Quality(bool(hits) and all(hit.weak for hit in hits), max(cosines, default=None), matched, asked, of)

    @property
    def _by_words(self) -> bool:
        """Whether anything was searched by words: what is compared by meaning alone has none that were asked for."""
        return bool(self._words.clauses and self._ranking.searches.keys() - set(COSINES))

    def of(self, match: Match, card: Card) -> Explanation:
        """What matched, such as "close in meaning (cosine 0.53, #2), has the words loops (#1)"."""
        explained = [
            self._explain(name, match.number, evidence, card)
            for name, evidence in self._ranking.evidence(match.number).items()
        ]
        matched = max((one.matched for one in explained), default=0)
        asked = len(self._words.positive_clauses)
        close = any(one.reason.score >= WEAK.get(one.reason.kind, numpy.inf) for one in explained)
        # Where nothing is compared by meaning, most of the words have to do.
        enough = asked if self._ranking.searches.keys() & WEAK.keys() else asked // 2 + 1
        weak = not close and not 0 < enough <= matched
        self._matched[str(self._catalog.id(match.number))] = matched
        return Explanation(
            ", ".join(one.sentence for one in explained), tuple(one.reason for one in explained), weak, matched
        )

    def _explain(self, name: str, number: int, evidence: Evidence, card: Card) -> _Explained:
        if name == "tokens":
            return self._explain_tokens(number, evidence)
        if name == "logits":
            return self._explain_logits(number, evidence)
        if name == "examples":
            reason = Reason(kind="examples", score=round_float32(evidence.score), rank=evidence.rank)
            place = f", #{evidence.rank}" if evidence.rank else ""
            return _Explained(f"examples close in meaning (cosine {evidence.score:.2f}{place})", reason, 0)
        assert self._labels is not None
        label, explainer = self._labels.label(evidence.row)
        other = "" if label == card.label else f" in {explainer}'s “{shorten(label)}”"
        matched = self._words.count_in(label)
        if name == "meaning":
            place = f", #{evidence.rank}" if evidence.rank else ""
            reason = Reason(kind="meaning", score=round_float32(evidence.score), rank=evidence.rank)
            return _Explained(f"close in meaning (cosine {evidence.score:.2f}{place}){other}", reason, matched)
        words = tuple(self._words.find_in(label))
        reason = Reason(kind="words", score=round_float32(evidence.score), rank=evidence.rank, words=words)
        found = f"has the word{'s' if len(words) > 1 else ''} {' '.join(words)}" if words else "has parts of words"
        return _Explained(f"{found}{_place(evidence)}{other}", reason, matched)

    def _explain_tokens(self, number: int, evidence: Evidence) -> _Explained:
        assert self._tokens is not None
        windows = self._tokens.windows(number)
        text = self._words.text.strip()
        words_by_window = [
            self._words.find_in(window.words) or [normalise(text)] * _is_same(window.strongest, text)
            for window in windows
        ]
        words = tuple(dict.fromkeys(word for words in words_by_window for word in words))
        count = sum(map(bool, words_by_window))
        reason = Reason(
            kind="tokens",
            score=round_float32(evidence.score),
            rank=evidence.rank,
            words=words,
            examples=count,
            top_examples=len(windows),
        )
        matched = max((self._words.count_in(window.words) for window in windows), default=0)
        if any(_is_same(window.strongest, text) for window in windows):
            matched = len(self._words.positive_clauses) or 1
        if not words:
            return _Explained(f"fires on {text!r}{_place(evidence)}", reason, matched)
        shown = repr(text) if words == (normalise(text),) and not text.isalnum() else " ".join(words)
        return _Explained(
            f"fires on {shown} in {count} of {len(windows)} top examples{_place(evidence)}", reason, matched
        )

    def _explain_logits(self, number: int, evidence: Evidence) -> _Explained:
        text = self._words.text.strip()
        for place, logit in enumerate(self._pages.top_logits(self._catalog.id(number)), 1):
            if _is_same(logit.token, text) or self._words.find_in(logit.token):
                sentence = f"raises {logit.token!r} {logit.value:+.2f} (its #{place}){_place(evidence)}"
                reason = Reason(
                    kind="logits", score=round_float32(evidence.score), rank=evidence.rank, words=(logit.token,)
                )
                return _Explained(sentence, reason, self._words.count_in(logit.token))
        reason = Reason(kind="logits", score=round_float32(evidence.score), rank=evidence.rank)
        return _Explained(f"raises {text!r}{_place(evidence)}", reason, 0)


class _Explained(NamedTuple):
    """What one search found, as a sentence and in fields, and how many words a text has of those asked."""

    sentence: str
    reason: Reason
    matched: int


def _place(evidence: Evidence) -> str:
    return f" (#{evidence.rank})" if evidence.rank else ""


def _is_same(token: str, text: str) -> bool:
    """Whether a token is a text, but for spaces around it and what Unicode holds to be the same."""
    return bool(token.strip()) and normalise(token).strip() == normalise(text).strip()
