"""Two to eight features side by side; see FeatureStore.compare."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy

from featurestore.display.float32 import round_float32
from featurestore.errors import BadRequest, NotFound
from featurestore.notes import Notes
from featurestore.search import vectors
from featurestore.search.comparison.places import Firing, merge_windows, share
from featurestore.snapshot.catalog import Catalog
from featurestore.snapshot.feature_page import FeaturePages
from featurestore.values.comparisons import ComparedExample, ComparedFeature, ComparedPair, FeatureComparison
from featurestore.values.examples import Example
from featurestore.values.feature import Feature, FeatureId, LogitEffect

MOST_EXAMPLES = 100
MOST_TOKENS = 20


def compare_features(
    catalog: Catalog,
    pages: FeaturePages,
    read_vector: Callable[[str], numpy.ndarray],
    ids: Sequence[str],
    examples: int,
) -> FeatureComparison:
    """The comparison of features, with at most `examples` examples of each.

    Raises BadRequest or NotFound for ids that the store does not have, BadRequest for one that is named twice.
    """
    if not 0 <= examples <= MOST_EXAMPLES:
        raise BadRequest(f"examples: {examples} is not between 0 and {MOST_EXAMPLES}")
    features = [catalog.feature_id(id) for id in ids]
    for n, id in enumerate(features):
        if id in features[:n]:
            raise BadRequest(f"id: {id} is named twice; a feature is compared with others")
    shown = [pages.page(str(id), None) for id in features]
    firings = [Firing(page.examples) for page in shown]
    cosines, notes = _compare_vectors(catalog, features, read_vector)
    pairs = [
        _compare_pair((shown[i], shown[j]), (firings[i], firings[j]), cosines[i][j])
        for i, j in itertools.combinations(range(len(shown)), 2)
    ]
    unfired = [page.id for page, firing in zip(shown, firings, strict=True) if not firing.examples]
    if unfired:
        sentence = f"no examples of {', '.join(unfired)} are stored, so where it fires is not known"
        notes.add("no_examples", sentence, features=len(unfired))
    return FeatureComparison(
        features=tuple(_describe(page, firing) for page, firing in zip(shown, firings, strict=True)),
        cosines=cosines,
        pairs=tuple(pairs),
        examples=tuple(_interleave([page.id for page in shown], firings, examples)),
        **notes.fields(),
    )


def _describe(page: Feature, firing: Firing) -> ComparedFeature:
    return ComparedFeature(
        id=page.id,
        dictionary=page.dictionary,
        feature=page.feature,
        label=page.label,
        state=page.state,
        density=page.density,
        max_activation=page.max_activation,
        tokens=firing.tokens[:MOST_TOKENS],
        examples=len(firing.examples),
    )


def _compare_vectors(
    catalog: Catalog, ids: Sequence[FeatureId], read_vector: Callable[[str], numpy.ndarray]
) -> tuple[tuple[tuple[float | None, ...], ...], Notes]:
    """Return the matrix of cosines, and notes that say of which features it does not know them."""
    spaces = [catalog.dictionary(id.dictionary).space for id in ids]
    directions: list[numpy.ndarray | None] = []
    notes = Notes()
    for id in ids:
        try:
            vector = read_vector(str(id))
        except NotFound as exc:
            notes.add("cosine_unknown", f"no cosines of {id}: {exc}")
            directions.append(None)
            continue
        if not vector.any():
            notes.add("cosine_unknown", f"no cosines of {id}: its decoder vector is zero")
        directions.append(vectors.unit(vector[None])[0] if vector.any() else None)
    known = list(dict.fromkeys(space for space in spaces if space is not None))
    if len(known) > 1:
        sentence = f"features of different spaces ({', '.join(known)}) have no cosine"
        notes.add("spaces_differ", sentence, spaces=len(known))
    rows = []
    for first, space in zip(directions, spaces, strict=True):
        row: list[float | None] = []
        for second, other in zip(directions, spaces, strict=True):
            comparable = first is not None and second is not None and space == other and first.shape == second.shape
            row.append(round_float32(numpy.clip(first @ second, -1, 1)) if comparable else None)  # type: ignore[operator]
        rows.append(tuple(row))
    return tuple(rows), notes


def _compare_pair(shown: tuple[Feature, Feature], firings: tuple[Firing, Firing], cosine: float | None) -> ComparedPair:
    first, second = shown
    mine, theirs = firings
    stretches = merge_windows(firings) if mine.examples and theirs.examples else []
    shared = sum(len(stretch.features) == 2 for stretch in stretches)
    raised = _list_common(first.top_logits, second.top_logits)
    lowered = _list_common(first.bottom_logits, second.bottom_logits)
    return ComparedPair(
        id=first.id,
        other=second.id,
        cosine=cosine,
        coactivity=_find_coactivity(first, second),
        jaccard=share(mine.at, theirs.at) if stretches else None,
        contexts=shared,
        context_jaccard=shared / len(stretches) if stretches else None,
        tokens=tuple(token for token in mine.tokens if token in set(theirs.tokens)),
        token_jaccard=share(mine.tokens, theirs.tokens) if stretches else None,
        raised=raised,
        lowered=lowered,
        opposed=(
            *_list_common(first.top_logits, second.bottom_logits),
            *_list_common(first.bottom_logits, second.top_logits),
        ),
        logit_jaccard=share(_list_effects(first), _list_effects(second)),
    )


def _find_coactivity(first: Feature, second: Feature) -> float | None:
    """Return the share of tokens on which both fire, as the harvest counted it; None where it kept no count."""
    if first.dictionary != second.dictionary:
        return None
    counted = [
        pair.jaccard
        for page, other in ((first, second), (second, first))
        for pair in page.coactive
        if pair.feature == other.feature
    ]
    return counted[0] if counted else None


def _list_common(first: Sequence[LogitEffect], second: Sequence[LogitEffect]) -> tuple[str, ...]:
    theirs = {effect.token for effect in second}
    return tuple(dict.fromkeys(effect.token for effect in first if effect.token in theirs))


def _list_effects(page: Feature) -> list[tuple[str, bool]]:
    """Return the tokens whose logits a feature changes most, and whether it raises them."""
    pairs = ((page.top_logits, True), (page.bottom_logits, False))
    return [(effect.token, raises) for effects, raises in pairs for effect in effects]


def _interleave(ids: Sequence[str], firings: Sequence[Firing], most: int) -> Iterator[ComparedExample]:
    """Yield an example of each feature in turn, at most `most` of each, without those that another one shows."""
    shown: list[Example] = []
    left = [iter(firing.examples) for firing in firings]
    for _ in range(most):
        for n, examples in enumerate(left):
            example = next((each for each in examples if not any(_covers(before, each) for before in shown)), None)
            if example is not None:
                shown.append(example)
                yield _read_together(ids, firings, n, example)


def _covers(shown: Example, example: Example) -> bool:
    """Whether a window has the peak of another example in it."""
    if (shown.corpus, shown.document) != (example.corpus, example.document) or example.position is None:
        return False
    return shown.start <= example.position < shown.start + len(shown.tokens)


def _read_together(ids: Sequence[str], firings: Sequence[Firing], n: int, example: Example) -> ComparedExample:
    """Return the window of feature n's example with the activations of every feature that fires in it."""
    places = [(example.corpus, example.document, example.start + token) for token in range(len(example.tokens))]
    order = [n, *(other for other in range(len(ids)) if other != n)]
    active = [other for other in order if any(place in firings[other].at for place in places)]
    assert example.position is not None
    return ComparedExample(
        id=ids[n],
        corpus=example.corpus,
        document=example.document,
        document_name=example.document_name,
        start=example.start,
        position=example.position,
        activation=example.activation,
        tokens=example.tokens,
        features=tuple(ids[other] for other in active),
        activations=tuple(tuple(firings[other].at.get(place, 0.0) for place in places) for other in active),
    )
