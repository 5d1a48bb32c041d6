"""Labels of a whole dictionary from token statistics."""

import numpy
import pytest

from featurestore.progress import no_progress
from labeler.runs.token_label_run import _Corpus, label_from_tokens
from tests.support import tiny


def test_token_labels_of_a_store(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s", index=False)
    report = label_from_tokens(store, ["tiny/0-res"], no_progress)
    assert (report.explainer, report.labelled, report.skipped) == ("tokens", 23, 1), (
        "23 features have examples, one is dead"
    )
    found = store.sql(
        "SELECT label, prompt, examples FROM labels WHERE dictionary = 'tiny/0-res' AND explainer = 'tokens'"
    )
    assert found.num_rows == 23
    assert set(found["prompt"].to_pylist()) == {"tokens/4"}
    assert set(found["examples"].to_pylist()) == {4}
    assert 'predicts "ValueError"' in found["label"].to_pylist()[0], "what it predicts next stands out: 2.5 to 1.5"


@pytest.mark.parametrize(
    ("start", "length", "peak", "parts"),
    [
        (0, 12, 2, ("c", "ab", "defghij")),
        (0, 3, 2, ("c", "ab", "")),
        (12, 4, 1, ("é", "x", "y")),  # tokens 13 and 14 are the two bytes of one character
        (12, 4, 2, ("é", "x", "y")),
        (12, 4, 3, ("y", "xé", "")),
        (14, 2, 1, ("y", "<0xA9>", "")),  # a window may begin within a character
    ],
)
def test_windows_are_cut_at_whole_characters(start, length, peak, parts):
    pieces = [*(letter.encode() for letter in "abcdefghijkl"), b"x", b"\xc3", b"\xa9", b"y"]
    texts = [piece.decode() if piece.isascii() else None for piece in pieces]
    corpus = _Corpus(numpy.arange(len(pieces)), {0: 0}, pieces, texts)
    assert corpus.cut(start, length, peak) == parts


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        yield opened
