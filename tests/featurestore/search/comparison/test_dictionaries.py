"""The best matches between two dictionaries against a full comparison, in the store and over HTTP."""

import numpy
import pytest

import featurestore
from featurestore import BadRequest, NotFound
from featurestore.progress import no_progress
from featurestore.search.comparison import dictionaries, matching
from featurestore.values.matrix import Matrix
from featurestore.wire import limits
from tests.support import tiny
from tests.support.exact_search import IDS, LIVE, unit

FIRST, SECOND = "tiny/0-res", "tiny/1-res"


def compare_all():
    """The live features of either, and the cosines of all their pairs."""
    ours, theirs = [i for i in LIVE if i < 24], [i for i in LIVE if i >= 24]
    return ours, theirs, unit(ours) @ unit(theirs).T


def test_matches_are_those_of_a_full_comparison(either):
    ours, theirs, cosines = compare_all()
    found = either.compare(FIRST, SECOND, k=100, cosine=[0.999, 0.9])
    assert (found.dictionary, found.other, found.compared, found.other_compared) == (FIRST, SECOND, 22, 22)
    assert [match.cosine for match in found.matches] == pytest.approx(sorted(cosines.max(axis=1))[::-1], abs=1e-5)
    for match in found.matches:
        row = cosines[ours.index(IDS.index(match.id))]
        assert row[theirs.index(IDS.index(match.other))] == pytest.approx(row.max(), abs=1e-5)
        assert match.label == either.feature(match.id).label
        assert match.other_label == either.feature(match.other).label
    best, back = cosines.argmax(axis=1), cosines.argmax(axis=0)
    mutual = [n for n in range(len(ours)) if back[best[n]] == n]
    assert found.mutual == len(mutual) == sum(match.mutual for match in found.matches)
    assert [(count.cosine, count.matched, count.other_matched) for count in found.counts] == [
        (level, int((cosines.max(axis=1) >= level).sum()), int((cosines.max(axis=0) >= level).sum()))
        for level in (0.9, 0.999)
    ]
    assert sum(found.histogram) == sum(found.other_histogram) == 22 and len(found.edges) == 21
    assert found.exact and any("2 dead or always-on features" in note for note in found.notes)
    assert either.compare([FIRST, SECOND], k=3).matches == found.matches[:3]


def test_features_without_a_match_are_listed_from_both_sides(either):
    ours, theirs, cosines = compare_all()
    found = either.compare(FIRST, SECOND, k=5, cosine=1.0)
    for unmatched, best, ids in (
        (found.unmatched, cosines.max(axis=1), ours),
        (found.other_unmatched, cosines.max(axis=0), theirs),
    ):
        wanted = sorted(value for value in best if value < 1.0)[:5]
        assert [match.cosine for match in unmatched] == pytest.approx(wanted, abs=1e-5)
        assert {IDS.index(match.id) for match in unmatched} <= set(ids)
    turned = either.compare(SECOND, FIRST, k=5, cosine=1.0)
    assert (turned.unmatched, turned.other_unmatched) == (found.other_unmatched, found.unmatched)
    assert turned.histogram == found.other_histogram and turned.mutual == found.mutual


def test_blocks_and_the_index_find_the_same(tiny_store, monkeypatch):
    with featurestore.connect(tiny_store) as store:
        wanted = store.compare(FIRST, SECOND, k=50)
    monkeypatch.setattr(matching, "ROWS", 5)
    monkeypatch.setattr(matching, "OTHER_ROWS", 7)
    with featurestore.connect(tiny_store) as store:
        blocks = store.compare(FIRST, SECOND, k=50)
    assert blocks == wanted
    monkeypatch.setattr(dictionaries, "MOST_EXACT", 10)
    with featurestore.connect(tiny_store) as store:
        looked_up = store.compare(FIRST, SECOND, k=50)
    assert not looked_up.exact and any("that the index found" in note for note in looked_up.notes)
    assert [match.cosine for match in looked_up.matches] == pytest.approx([m.cosine for m in wanted.matches], abs=1e-5)
    assert looked_up.counts == wanted.counts


def test_memory_does_not_grow_with_the_rows(monkeypatch):
    """What is multiplied at a time has the size of a block, and progress adds up to the rows."""
    rng = numpy.random.default_rng(0)
    first, second = (Matrix([rng.normal(size=(n, 4)).astype("float16")]) for n in (301, 207))
    monkeypatch.setattr(matching, "ROWS", 64)
    monkeypatch.setattr(matching, "OTHER_ROWS", 32)
    sizes, done = [], []
    keep = matching._keep
    monkeypatch.setattr(matching, "_keep", lambda *given: (sizes.append(given[-1].size), keep(*given)))
    mine, theirs = matching.match_rows(first, numpy.arange(301), second, numpy.arange(207), done.append)
    assert max(sizes) == 64 * 32 and sum(done) == 301
    full = [part.to_numpy().astype("float64") for part in (first, second)]
    full = [rows / numpy.linalg.norm(rows, axis=1, keepdims=True) for rows in full]
    cosines = full[0] @ full[1].T
    assert (mine.best == cosines.argmax(axis=1)).all() and (theirs.best == cosines.argmax(axis=0)).all()
    numpy.testing.assert_allclose(mine.cosines, cosines.max(axis=1), atol=1e-5)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Dictionaries that cannot be compared: of another width, another space, without vectors, with nothing alive."""
    with featurestore.create(tmp_path_factory.mktemp("mixed") / "s") as store:
        with store.writer("tests") as writer:
            tiny.add_corpus(writer)
            for source, width, space in (
                ("8", 8, "tiny"),
                ("4", 4, "tiny-small"),
                ("mlp", 8, "tiny/mlp"),
                ("none", None, None),
                ("dead", 8, "tiny"),
            ):
                name = f"tiny/{source}"
                row = tiny.dictionary_row(source, 0) | {"d_out": width, "space": space}
                writer.add("dictionaries", tiny.table([row]), key=name)
                rows = tiny.feature_rows(name)
                if source == "dead":
                    rows = [row | {"density": 0.0, "active_tokens": 0} for row in rows]
                writer.add("features", tiny.table(rows), key=name)
                if width:
                    vectors = tiny.vectors(0)[:, :width].copy()
                    vectors[:, 0] += 0.1
                    vectors[5] = 0
                    writer.add_vectors(name, vectors)
        yield store


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (("tiny/8", "tiny/4"), BadRequest, "vectors of tiny/8 have 8 numbers and those of tiny/4 4 (d_model)"),
        (("tiny/8", "tiny/mlp"), BadRequest, "tiny/8 lives in the space tiny and tiny/mlp in tiny/mlp"),
        (("tiny/8", "tiny/none"), NotFound, "the store has no decoder vectors of tiny/none"),
        (("tiny/8", "tiny/8"), BadRequest, "tiny/8 is named twice"),
        (("tiny/8", "tiny/9"), NotFound, "no dictionary 'tiny/9'"),
    ],
)
def test_what_has_no_cosines_is_refused(mixed, ids, error, message):
    with pytest.raises(error) as raised:
        mixed.compare(*ids)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k: 0 is not between 1 and 1,000,000"),
        ({"cosine": 1.5}, "cosine: 1.5 is not between -1 and 1"),
        ({"cosine": []}, "cosine: no number is given"),
    ],
)
def test_numbers_out_of_range(either, options, message):
    with pytest.raises(BadRequest, match=message):
        either.compare(FIRST, SECOND, **options)


def test_zero_vectors_and_dead_dictionaries(mixed):
    found = mixed.compare("tiny/8", "tiny/dead")
    assert (found.compared, found.other_compared, found.matches, found.mutual) == (21, 0, (), 0)
    assert any(
        "tiny/8: left out: 2 dead or always-on features and 1 whose decoder vector is zero" in note
        for note in found.notes
    )
    assert found.to_arrow().column_names == list(featurestore.MatchedFeature.__struct_fields__)


def test_a_service_compares_up_to_a_size(either, monkeypatch):
    monkeypatch.setattr(limits, "MOST_PRODUCTS", 100)
    if type(either).__name__ == "Store":
        assert either.compare(FIRST, SECOND).compared == 22
        return
    with pytest.raises(BadRequest, match="too many for a service to compare. Run `featurestore compare tiny/0-res"):
        either.compare(FIRST, SECOND)


def test_dictionaries_are_named_by_their_values(either):
    first, second = either.dictionaries()
    found = either.compare(first, second)
    assert found == either.compare(FIRST, SECOND) == either.compare([first, SECOND])
    assert FIRST in repr(found) and "best match" in found._repr_html_()
    assert either.compare(first, second, progress=no_progress) == found
