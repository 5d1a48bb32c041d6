"""Plain words for tokens."""

import pytest

from labeler.explainers.glossary import describe_role


@pytest.mark.parametrize(
    ("word", "role"),
    [
        ("except", "exception handling"),
        (" Except ", "exception handling"),
        ("ZeroDivisionError", "exception class names"),
        ("1066", "numbers"),
        ("0xFF", "hexadecimal numbers"),
        ("MAX_LENGTH", "upper-case constant names"),
        ("bridge", None),
    ],
)
def test_roles(word, role):
    assert describe_role(word) == role


@pytest.mark.parametrize(
    ("word", "code", "prose"),
    [
        ("in", "membership or iteration", "preposition"),
        ("the", None, "definite article"),
        ("lambda", "anonymous function", None),
        ("file", "files", "files"),
    ],
)
def test_roles_in_code_and_in_prose(word, code, prose):
    assert (describe_role(word), describe_role(word, prose=True)) == (code, prose)
