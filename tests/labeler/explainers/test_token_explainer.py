"""Labels from token statistics on features with known rules; labels from a language model over a real HTTP endpoint."""

import pytest

from featurestore import BadRequest, NotFound
from labeler.explainers import token_explainer
from labeler.explainers.token_explainer import Firing
from tests.support import tiny

CORPUS = {"self": 0.02, "raise": 0.002, "the": 0.05, ":": 0.05, "7": 0.001, "except": 0.002, ".": 0.05}


def label_of(firings, promoted=(), others=()):
    seen = token_explainer.summarize(firings)
    common = token_explainer.average(CORPUS, [seen, *(token_explainer.summarize(one) for one in others)])
    return token_explainer.write_label(seen, common, list(promoted))


CODE = [Firing(1, "x", f"\n    value = {name}(", ")\n") for name in ("a", "b", "c", "d")]
PROSE = [Firing(1, " of", f'    """Return the {word}', " an item") for word in ("number", "name", "length")]


def test_a_token_in_a_signature():
    firings = [Firing(1, "self", f"\n    def {name}(", ", x):") for name in ("get", "put", "close")]
    label = label_of(firings, [",", ")"], [CODE, PROSE])
    assert "'self'" in label
    assert "in a function signature" in label
    assert "method's self argument" in label
    assert label.endswith("then ',', ')'")


def test_exception_words_are_explained_in_plain_words():
    firings = [Firing(1, "except", "\n        ", " ValueError:"), Firing(1, "except", "\n    ", " OSError:")]
    label = label_of(firings, [" ValueError"], [CODE, PROSE])
    assert "'except'" in label
    assert "exception handling" in label
    assert "at the start of a line" in label


def test_the_token_after_another():
    firings = [
        Firing(1, f" {name}", "\n        raise", "('x')") for name in ("Foo", "Bar", "Baz", "Quux", "Spam", "Egg")
    ]
    assert "after 'raise'" in label_of(firings, [], [CODE, PROSE])


def test_digits_after_a_colon():
    firings = [Firing(1, f" {n}", "size:", "\n") for n in (3, 17, 256, 9, 44, 81, 5, 60)]
    label = label_of(firings, [], [CODE, PROSE])
    assert "numbers" in label
    assert "after ':'" in label


def test_a_piece_is_named_with_its_words():
    firings = [Firing(1, "Error", f"raise {word}", "('x')") for word in ("Value", "Type", "Key")]
    label = label_of(firings, [], [CODE, PROSE])
    assert "'Error' in 'KeyError', 'TypeError', 'ValueError'" in label
    assert "exception class names" in label


def test_docstring_prose():
    firings = [
        Firing(1, f" {word}", '\n    """Return the number of', " in it") for word in ["items", "rows", "pages", "keys"]
    ]
    assert "in docstring prose" in label_of(firings, [], [CODE, CODE, CODE])


def test_common_tokens_are_no_news():
    """The corpus has 'the', '.' and ':' often, so they say nothing of a feature that fires on them now and then."""
    rare = [Firing(1, f" word{n}x", "x ", " y") for n in range(14)]
    firings = [Firing(1, token, "x ", " y") for token in (" the", ".", ":") * 2] + rare
    label = label_of(firings)
    assert label.startswith("lower-case words")
    often = [Firing(1, " the", "x ", " y")] * 20 + rare
    assert label_of(often).startswith("'the'")


def test_promoted_tokens_are_named_when_they_stand_out():
    assert token_explainer.select_outstanding([("a", 3.0), ("b", 1.4), ("c", 1.1), ("d", 1.0)]) == ["a", "b"]
    assert token_explainer.select_outstanding([("a", 1.2), ("b", 1.1), ("c", 1.0)]) == []
    assert token_explainer.select_outstanding([]) == []


def test_labels_are_short_lines():
    firings = [Firing(1, "x" * 90, "\n", "y" * 90)] * 3
    label = label_of(firings, ["a" * 100, "\n\n"])
    assert len(label) <= token_explainer.MAX_LENGTH
    assert "\n" not in label


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        yield opened


def test_labels_by_hand_are_shown_first(store):
    store.set_label("tiny/0-res/4", "  what I say  ")
    page = store.feature("tiny/0-res/4")
    assert (page.label, page.labels[0].explainer) == ("what I say", "human")
    with pytest.raises(BadRequest, match="label: it is empty"):
        store.set_label("tiny/0-res/4", " ")
    with pytest.raises(NotFound):
        store.set_label("tiny/0-res/99", "x")
