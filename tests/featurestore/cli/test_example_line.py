"""An example's line has the strongest token in its middle, and says which tokens are active also without colours."""

import pytest

from featurestore.cli.example_line import draw_example

WORDS = [f"word{n} " for n in range(40)]


def _values(active):
    return [active.get(place, 0.0) for place in range(len(WORDS))]


@pytest.mark.parametrize("peak", [0, 3, 20, 39])
@pytest.mark.parametrize("width", [20, 60, 1000])
def test_the_strongest_token_is_shown_whatever_the_width(peak, width):
    line = draw_example(WORDS, _values({peak: 2.0}), 2.0, width, colours=False).plain
    assert f"<<word{peak} >>" in line
    assert len(line) <= width
    assert line.startswith("…") == (not line.startswith(("word0 ", "<<word0 ")))


def test_it_is_in_the_middle():
    line = draw_example(WORDS, _values({20: 2.0}), 2.0, 61, colours=False).plain
    before, _, after = line.partition("<<word20 >>")
    assert abs(len(before) - len(after)) <= 8


def test_active_tokens_side_by_side_share_their_marks():
    line = draw_example(WORDS, _values({2: 0.1, 3: -4.0, 5: 1.0}), 4.0, 200, colours=False).plain
    assert line.startswith("word0 word1 <<word2 word3 >>word4 <<word5 >>word6 ")


def test_parts_of_a_character_part_no_run():
    assert draw_example(["caf", "é", "", "def"], [0.0, 1.0, 0.0, 2.0], 2.0, 40, colours=False).plain == "caf<<édef>>"


def test_colours_take_the_place_of_marks():
    line = draw_example(["a", "\n", "b", "c"], [0.0, 3.0, 1.0, 0.0], 3.0, 20, colours=True)
    assert line.plain == "a⏎bc"
    assert [(span.start, span.end, span.style) for span in line.spans] == [
        (1, 2, "black on bright_green"),
        (2, 3, "black on green"),
    ]


def test_a_window_without_activation_begins_at_its_beginning():
    assert draw_example(["x", "y"], [0.0, 0.0], None, 20, colours=False).plain == "xy"
