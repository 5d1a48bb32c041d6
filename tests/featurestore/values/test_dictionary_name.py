"""Names that people and file systems hold for the same."""

import pytest

from featurestore.values.dictionary_name import find_alike


@pytest.mark.parametrize(
    ("name", "other", "alike", "alike_by_form"),
    [
        ("few", "Few", True, False),
        ("caf\u00e9/a", "cafe\u0301/a", True, True),
        ("CAF\u00c9/a", "cafe\u0301/a", True, False),
        ("\ufb01ne/a", "fine/a", True, True),
        ("few", "few2", False, False),
        ("few", "few", False, False),
    ],
)
def test_alike(name, other, alike, alike_by_form):
    assert (find_alike(name, [other]) is not None) == alike
    assert (find_alike(name, ["x", other], case=False) is not None) == alike_by_form
