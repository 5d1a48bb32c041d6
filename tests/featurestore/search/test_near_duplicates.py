"""Groups of near-identical features."""

import numpy

from featurestore.search.near_duplicates import Groups
from featurestore.values.feature import FeatureId

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
