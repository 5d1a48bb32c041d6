"""Labels of a whole dictionary from token statistics."""

import pytest

from featurestore.progress import no_progress
from labeler.runs.token_label_run import label_from_tokens
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
    assert set(found["prompt"].to_pylist()) == {"tokens/3"}
    assert set(found["examples"].to_pylist()) == {4}
    assert 'predicts "ValueError"' in found["label"].to_pylist()[0], "what it predicts next stands out: 2.5 to 1.5"


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        yield opened
