"""Where a token stands."""

import pytest

from labeler.explainers.contexts import find_contexts


@pytest.mark.parametrize(
    ("before", "token", "after", "context"),
    [
        ("x = 1\n    ", "return", " y", "at the start of a line"),
        ('"""Return', " the", " rest", "in documentation"),
        ("x = 1  # see", " the", " rest", "in a comment"),
        ("int x; // see the", " rest", "", None),
        ("print('see", " the", " rest')", "in a string"),
        ("print(a,", " b", ")", "in call arguments"),
        ("x = [a,", " b", "]", "in square brackets"),
        ("x = {a:", " b", "}", "in braces"),
        ("    def run(self", ",", " x):", "in a function signature"),
        ("    except", " OS", "Error:", "in an except clause"),
        ("        raise Value", "Error", "(x)", "in a raise statement"),
        ("    @", "property", "\n", "in a decorator"),
        ("self.", "name", " = 1", "as an attribute of self"),
        ("a.", "b", ".c", "as an attribute after a dot"),
        ("    def ", "run", "(self)", "as the name of a function that is defined"),
        ("    x = ", "run", "(1)", "as a function or class that is called"),
        ("    f(x, ", "key", "=1)", "as the name of a keyword argument"),
        ("    x = ", "b", "'abc'", "as the prefix of a bytes literal"),
        ("    re.compile(", "r", '"a+"', "as the prefix of a raw string"),
        ("    ", "total", " = 1", "as a variable that is assigned"),
        ("We saw it happen.", " Then", " we left", "at the start of a sentence"),
        ("We saw it happen and", " then", " we left", "in prose"),
    ],
)
def test_contexts(before, token, after, context):
    contexts = find_contexts(before, token, after)
    assert context in contexts if context else not contexts


def test_a_hash_in_a_string_begins_no_comment():
    assert find_contexts("x = 'a # b", " c", "'") == ["in a string"]
