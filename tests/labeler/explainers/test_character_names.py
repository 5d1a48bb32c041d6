"""Names of characters that are not letters."""

import pytest

from labeler.explainers.character_names import join_names, name_blanks, name_signs, split_signs


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("(", "opening parenthesis"),
        ("('", "opening parenthesis and single quote"),
        ("')", "single quote and closing parenthesis"),
        ('("""', "opening parenthesis and docstring quotes"),
        ("):", "closing parenthesis and colon"),
        ("()):", "empty parentheses, closing parenthesis and colon"),
        (">=", "greater-or-equal sign"),
        ("-" * 16, "row of 16 hyphens"),
        (")))", "row of 3 closing parentheses"),
        ("////", "row of 4 slashes"),
        ("[]{}()<>", "empty square brackets, empty braces, empty parentheses, less-than sign and more"),
        ("“", "opening double quote"),
        ("→", "rightwards arrow"),
        ("。", "ideographic full stop"),
        ("😀", "😀 (grinning face)"),
        ("👍🏽!", "👍🏽 (thumbs up sign) and exclamation mark"),
        ("\x00", "control character"),
        ("\ue000", "character U+E000"),
    ],
)
def test_signs(text, name):
    assert name_signs(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (" ", "space"),
        ("        ", "8 spaces"),
        ("\n", "line break"),
        ("\n    ", "line break and indentation"),
        ("\r\n\r\n", "blank line"),
        ("\n\n\n\n  ", "blank lines and indentation"),
        ("\t\t", "2 tabs"),
        ("\u3000", "ideographic space"),
    ],
)
def test_blanks(text, name):
    assert name_blanks(text) == name


def test_lists():
    assert [join_names(list(names)) for names in ("", "a", "ab", "abc", "aa")] == [
        "",
        "a",
        "a and b",
        "a, b and c",
        "a",
    ]
    assert join_names(["a", "b"], "or") == "a or b"
    assert split_signs('("""+=') == ["(", '"""', "+="]
