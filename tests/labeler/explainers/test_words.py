"""The words that tokens are pieces of, and how tokens are shown."""

import pytest

from labeler.explainers.words import describe_kind, find_left, find_right, show_token


@pytest.mark.parametrize(
    ("before", "token", "after", "word"),
    [
        ("the ar", "ray", "s of", "arrays"),
        ("skip_", "bytes", "(", "bytes"),
        ("这是一个", "城市", "的名字", "城市"),
        ("यह ", "हिन्", "दी है", "हिन्दी"),
        ("می", "\u200cخو", "اهم x", "می\u200cخواهم"),
        ("", "(", "x", "("),
        ("naï", "ve", ".", "naïve"),
    ],
)
def test_words(before, token, after, word):
    assert find_left(before, token) + token + find_right(after, token) == word


def test_names_have_underscores():
    assert find_left("def __", "init", "_") == "__"
    assert find_right("__(self)", "init", "_") == "__"


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" word", '"word"'),
        ("self.", '"self."'),
        ("don't", '"don\'t"'),
        ('("r', 'opening parenthesis, double quote and "r"'),
        ("\n    ", "line break and indentation"),
        ("x" * 90, '"' + "x" * 23 + '…"'),
        ("城市", '"城市"'),
        ("utf-8", '"utf-8"'),
    ],
)
def test_shown_tokens(token, shown):
    assert show_token(token) == shown


@pytest.mark.parametrize(
    ("token", "left", "right", "kind"),
    [
        (" 42", "", "", "numbers"),
        ("\n  ", "", "", "line breaks and indentation"),
        ("ing", "sing", "", "endings of words"),
        ("ab", "", "c", "beginnings of words"),
        ("MAX", "", "", "upper-case names"),
        (" The", "", "", "capitalised words"),
        ("城市", "", "", "words"),
        ("😀", "", "", "emoji and symbols"),
        ("):", "", "", "punctuation"),
    ],
)
def test_kinds(token, left, right, kind):
    assert describe_kind(token, left, right) == kind
