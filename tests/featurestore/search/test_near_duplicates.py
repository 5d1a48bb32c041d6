"""Groups of near-identical features."""

import numpy

import featurestore
from featurestore.search.near_duplicates import Groups
from featurestore.values.feature import FeatureId
from tests.support import tiny
from tests.support.exact_search import IDS, unit

VECTORS = {0: [1.0, 0.0], 1: [5.0, 0.1], 2: [0.0, 1.0], 3: [1.0, 0.0]}


def ids(*features):
    return [FeatureId("tiny/0-res", feature) for feature in features]


def groups(spaces=None, read=None):
    def vector(id):
        if read is not None:
            read.append(id.feature)
        return numpy.array(VECTORS[id.feature], numpy.float32)

    return Groups(vector, lambda id: (spaces or {}).get(id.feature, "tiny"))


def test_one_label_and_nearly_one_direction_are_a_group():
    first, near, far, same = ids(0, 1, 2, 3)
    by_label = groups()
    assert by_label.add(first, "Closing brackets!")
    assert not by_label.add(near, "closing  brackets")
    assert by_label.add(far, "closing brackets")
    assert not by_label.add(same, "closing brackets")
    assert by_label.copies(first) == (str(near), str(same))
    assert by_label.copies(far) == ()


def test_another_label_space_or_none_begins_a_group():
    first, second = ids(0, 3)
    assert groups().add(first, "a")
    by_label = groups()
    assert by_label.add(first, "a")
    assert by_label.add(second, "b")
    by_label = groups(spaces={3: "other"})
    assert by_label.add(first, "a")
    assert by_label.add(second, "a")
    by_label = groups()
    assert by_label.add(first, None)
    assert by_label.add(second, None)


def test_labels_without_letters_are_compared_as_they_are():
    first, second, third = ids(0, 1, 3)
    by_label = groups()
    assert by_label.add(first, "->")
    assert by_label.add(second, "=>")
    assert not by_label.add(third, "->")


def test_vectors_are_read_once_and_only_where_a_label_is_shared():
    read = []
    by_label = groups(read=read)
    first, second, third = ids(0, 1, 3)
    by_label.add(first, "a")
    assert read == []
    by_label.add(second, "a")
    by_label.add(third, "a")
    assert sorted(read) == [0, 1, 3]


def test_copies_are_shown_as_one(tmp_path):
    store = featurestore.create(tmp_path / "s")
    with store.writer("tests") as writer:
        for layer, source in enumerate(tiny.SOURCES):
            name = f"tiny/{source}"
            writer.add("dictionaries", tiny.table([tiny.dictionary_row(source, layer)]), key=name)
            writer.add("features", tiny.table(tiny.feature_rows(name)), key=name)
            said = [{"label": f"Axis {i % 4}!" if layer else f"axis {i % 4}", "feature": i} for i in range(22)]
            common = {"dictionary": name, "explainer": "x", "tool": "tests", "created_at": tiny.WHEN}
            writer.add("labels", tiny.table([common | row for row in said]), key=name)
            writer.add_vectors(name, tiny.vectors(layer))
    store.index()
    hits = store.search("axis 2", k=44)
    groups = [{hit.id, *hit.copies} for hit in hits]
    assert sorted(id for group in groups for id in group) == sorted(id for id in IDS if int(id.split("/")[2]) < 22)
    for group in groups:  # features of a group have one label, and lie near the first of it
        rows = [IDS.index(id) for id in group]
        assert len({row % 24 % 4 for row in rows}) == 1
    for hit, group in zip(hits, groups, strict=True):
        first = unit([IDS.index(hit.id)])[0]
        assert all(unit([IDS.index(id)])[0] @ first > 0.9 for id in group)
    # Whoever is first of its label apart from another is too far from it.
    for one in hits:
        for other in hits:
            if one.id < other.id and IDS.index(one.id) % 24 % 4 == IDS.index(other.id) % 24 % 4:
                assert unit([IDS.index(one.id)])[0] @ unit([IDS.index(other.id)])[0] <= 0.9
    assert len(store.search("axis 2", k=44, group=False)) == 44
