"""What a label may be, and what is refused, with the character that is at fault."""

import pytest

from featurestore.errors import BadRequest
from featurestore.extension.text import find_problem
from featurestore.values import label_text


@pytest.mark.parametrize(
    "label",
    [
        "closing brackets",
        "a family: 👨‍👩‍👧‍👦, a flag: 🏴󠁧󠁢󠁥󠁮󠁧󠁿, a heart: ❤️",
        "می‌خواهم: verbs of wishing in Persian",
        "क्‍ष and other conjuncts of Hindi",
        "أسماء المدن",
        "שמות\u200f של ערים",
        "12\u00a0km, a number with its unit",
        "全角\u3000スペース",
        "thin\u2009space, soft\u00adhyphen",
        "e\u0301 as two characters",
        "a private glyph \ue000",
        "<<",
        "…",
    ],
)
def test_text_of_any_language_is_a_label(label):
    assert label_text.parse_line("label", f"  {label}\n", 100) == label
    assert find_problem(label) is None


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("two\nlines", "is not one line of text that can be shown: it has a line break, U\\+000A"),
        ("two\u2028lines", "a line break, U\\+2028"),
        ("next\x85line", "a line break, U\\+0085"),
        ("nul\x00", "a control character, U\\+0000"),
        ("red \x1b[31m", "a control character, U\\+001B"),
        ("c1 \x9b31m", "a control character, U\\+009B"),
        ("del \x7f", "a control character, U\\+007F"),
        ("turned \u202eround", "a control of the direction of text, U\\+202E"),
        ("turned \u202dround", "a control of the direction of text, U\\+202D"),
        ("half \ud83d of one", "lone surrogate"),
        ("none \uffff", "no character, U\\+FFFF"),
        ("", "label: it is empty"),
        ("\u200b\u200d", "label: it is empty"),
        ("x" * 101, "label: it has 101 characters; 100 are taken at most"),
        (None, "label: None is no text"),
    ],
)
def test_what_cannot_be_shown_in_one_line_is_refused(label, words):
    with pytest.raises(BadRequest, match=words):
        label_text.parse_line("label", label, 100)
