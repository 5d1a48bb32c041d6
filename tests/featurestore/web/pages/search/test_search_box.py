"""What is typed or pasted into the one box is taken for what it is."""

import pytest

from featurestore.web.pages.search.search_box import read_typed

DICTIONARIES = {"gpt2-small/8-res-jb"}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("exception handling", "words", "exception handling"),
        ("is it a number?", "words", "is it a number?"),
        ("1234", "words", "1234"),
        ("1 2 3", "words", "1 2 3"),
        ("and/or", "words", "and/or"),
        (" gpt2-small/8-res-jb/12 ", "feature", "gpt2-small/8-res-jb/12"),
        ("gpt2-small@8-res-jb:12", "feature", "gpt2-small/8-res-jb/12"),
        ("http://127.0.0.1:8000/features/gpt2-small/8-res-jb/12?text=x#y", "feature", "gpt2-small/8-res-jb/12"),
        ("https://www.neuronpedia.org/gpt2-small/8-res-jb/12", "feature", "gpt2-small/8-res-jb/12"),
        ("gpt2-small/8-res-jb", "dictionary", "gpt2-small/8-res-jb"),
        ("gpt2-small/9-res-jb", "words", "gpt2-small/9-res-jb"),
        ("raise ValueError(name)", "snippet", "raise ValueError(name)"),
        ("x = 1; y = 2", "snippet", "x = 1; y = 2"),
        ("a b c d e f g h i j k l m n", "snippet", "a b c d e f g h i j k l m n"),
        ("try:\n    x\n", "passage", "try:\n    x\n"),
        ("", "words", ""),
    ],
)
def test_texts(text, kind, value):
    typed = read_typed(text, DICTIONARIES)
    assert (typed.kind, typed.value) == (kind, value)


@pytest.mark.parametrize(
    "text",
    [
        "[0.5, -1, 2e-3, 4.]",
        "0.5 -1 2e-3 4.",
        "0.5,-1,2e-3,4.",
        "array([0.5, -1.0, 2e-3, 4.], dtype=float32)",
        "np.array([0.5, -1.0, 2e-3, 4.])",
        "tensor([0.5, -1.0,\n        2e-3, 4.])",
        "[ 0.5 -1.\n 2e-3  4. ]",
    ],
)
def test_vectors(text):
    typed = read_typed(text, DICTIONARIES)
    assert (typed.kind, typed.vector) == ("vector", (0.5, -1.0, 0.002, 4.0))
