"""Values and windows numbered by arrays: the same numbers as a dictionary of Python gives."""

import numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.formats.joining.example_rows import number_windows
from ingest.formats.records import short_texts


def number_plainly(values):
    known = {}
    numbers = [known.setdefault(value, len(known)) for value in values]
    return numbers, [values.index(value) for value in known]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40), max_size=60), st.integers(1, 6))
def test_values_are_numbered_in_the_order_of_their_first_places(values, bits):
    whole, short_texts.SLOT_BITS = short_texts.SLOT_BITS, bits  # few slots: most values meet others in theirs
    try:
        numbers, firsts = short_texts.number_values(numpy.array(values, numpy.uint64))
    finally:
        short_texts.SLOT_BITS = whole
    assert (numbers.tolist(), firsts.tolist()) == number_plainly(values)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_windows_are_numbered_in_the_order_of_their_first_places(hashes):
    numbers, firsts = number_windows(numpy.array(hashes, numpy.uint64).reshape(-1, 2))
    assert (numbers.tolist(), firsts.tolist()) == number_plainly(hashes)
