"""Tokens as running text: whole, in shades, folded to the lines around the peak."""

import random

import pytest

from featurestore.display.tokens import choose_shade, find_bars, show_controls, show_whitespace, split_runs


def test_tokens_are_drawn_whole():
    """Whatever is folded away, all text is there, in order, and each lit token is one run with its shade."""
    rng = random.Random(0)
    pieces = ["def", " self", "\n", "\n    ", ")\n\n", " x", "", "\t", "é"]
    for _ in range(300):
        tokens = [rng.choice(pieces) for _ in range(rng.randrange(1, 30))]
        values = [rng.choice([0.0, 0.0, 1.0, -2.0]) for _ in tokens]
        peak = rng.randrange(-1, len(tokens))
        drawn = split_runs(tokens, values, 2.0, peak)
        parts = [part for run in drawn for part in run.parts]
        assert "".join(part.text for part in parts if not part.mark) == "".join(tokens)
        lit = [run for run in drawn if run.shade]
        assert [run.shade for run in lit] == [choose_shade(value, 2.0) for value in values if value]
        assert sum(run.peak for run in lit) == (peak >= 0 and values[peak] != 0)
        if peak < 0:
            assert not any(part.far for part in parts)
        if peak >= 0 and tokens[peak] and values[peak]:
            first = next(part for run in lit if run.peak for part in run.parts)
            assert not first.far
        assert all(run.far == all(part.far for part in run.parts) for run in drawn if run.parts)


def test_what_is_near_is_the_line_of_the_peak_and_the_two_beside_it():
    tokens = ["a\n", "  b", "\n\n  x", " y", "\n    ", " z", "\nq"]
    drawn = split_runs(tokens, [0, 0, 0, 2.0, 1.0, 0, 0], 2.0, 3)
    near = "".join(part.text for run in drawn for part in run.parts if not part.far and not part.mark)
    assert near == "  b\n\n  x y\n     z"
    assert [part.text for run in drawn for part in run.parts if part.mark] == ["⏎"]
    assert [run.title for run in drawn if run.shade] == ["·y  2.000", "⏎····  1.000"]


@pytest.mark.parametrize(
    ("value", "largest", "shade"), [(0, 5, 0), (5, 5, 10), (0.01, 5, 1), (-5, 5, 10), (1, None, 0)]
)
def test_shades(value, largest, shade):
    assert choose_shade(value, largest) == shade


def test_a_strip_has_a_bar_where_something_fires():
    assert find_bars([0.0, 4.0, 0.0, -2.0, 0.001]) == [(1, 1.0), (3, 0.5), (4, 0.12)]
    assert find_bars([0.0]) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b", "a␀b"),
        ("\x1b[31m", "␛[31m"),
        ("\x7f", "␡"),
        ("\x85", "⟨0085⟩"),
        ("a\u202eb", "a⟨202E⟩b"),
        ("\ufeffx\u200b", "⟨FEFF⟩x⟨200B⟩"),
        ("\U000e0041", "⟨E0041⟩"),
        ("a\tb\nc", "a\tb\nc"),  # stay what they are
        ("👩\u200d💻 می\u200cخواهم 漢字", "👩\u200d💻 می\u200cخواهم 漢字"),
    ],
)
def test_characters_that_cannot_be_seen_have_a_sign(text, shown):
    assert show_controls(text) == shown


def test_a_token_alone_shows_its_spaces_and_controls():
    assert show_whitespace(" a\r\n\t") == "·a␍⏎⇥"
    assert show_whitespace("\u202e") == "⟨202E⟩"
    assert show_whitespace("") == "∅"


def test_the_sign_of_an_activation_is_kept():
    assert [run.negative for run in split_runs(["a", "b", "c"], [1.0, -1.0, 0.0], 1.0)] == [False, True, False]
