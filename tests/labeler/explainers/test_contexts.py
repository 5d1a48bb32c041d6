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
        ('    """', "Return", " the rest", "at the start of a docstring"),
        ('    """Return', " the", " rest", "in the first sentence of a docstring"),
        ("x = 1\n" + 20 * " " + "y", " +", " 1", "in deeply indented lines"),
        ("    x\ny", " +", " 1", "in lines without indentation"),
        ("    x = y", " +", "\n    1", "at the end of a line"),
        ("We saw it", " happen", ". Then", "at the end of a sentence"),
        ("    f(g(a", ",", " 1)", "in nested parentheses"),
    ],
)
def test_contexts(before, token, after, context):
    contexts = find_contexts(before, token, after)
    assert context in contexts if context else not contexts


def test_a_hash_in_a_string_begins_no_comment():
    assert find_contexts("x = 'a # b", " c", "'") == ["in a string"]


@pytest.mark.parametrize(
    ("before", "token", "after", "context"),
    [
        ('    """Return it. As', " the", " rest", "in the first sentence of a docstring"),
        ('    """Return it\n\n    as', " the", " rest", "in the first sentence of a docstring"),
        ('    """Return it.""" + "', "x", "y", "in the first sentence of a docstring"),
        ("    f(g(a),", " b", ")", "in nested parentheses"),
        ("x = y", "\n", "z", "at the end of a line"),
        ("= y", " +", " 1", "in lines without indentation"),  # the window may have cut the line
        ("version 3", ".", "5 is", "at the end of a sentence"),
    ],
)
def test_positions_that_are_not_there(before, token, after, context):
    assert context not in find_contexts(before, token, after)
