"""Numbers in few characters: on pages, in notebooks, in tables."""

import pytest

from featurestore.display.numbers import format_percent, format_value


@pytest.mark.parametrize(
    ("density", "shown"),
    [(None, "–"), (0.0, "0 %"), (1.0, "100 %"), (0.05, "5 %"), (0.00123, "0.12 %"), (1.7e-6, "0.00017 %")],
)
def test_percentages(density, shown):
    assert format_percent(density) == shown


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (None, 3, "–"),
        (True, 3, "yes"),
        (False, 4, "no"),
        (1234567, 3, "1,234,567"),
        (0.123456, 3, "0.123"),
        (0.123456, 4, "0.1235"),
        (1e-7, 3, "1e-07"),
        ("live", 3, "live"),
    ],
)
def test_values(value, digits, shown):
    assert format_value(value, digits) == shown
