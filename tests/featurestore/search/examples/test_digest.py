"""The digest of a feature, against one that is written by hand."""

import pytest

from featurestore.search.examples import digest
from tests.featurestore.search.examples import evidence_store


@pytest.fixture(scope="module")
def digests(tmp_path_factory):
    with evidence_store.write(tmp_path_factory.mktemp("evidence") / "s") as store:
        reader = digest.DigestReader(store._current_view.snapshot, store._rows)
        return reader.digests("evidence/0-res", 0, evidence_store.D_SAE)


def test_a_digest_has_the_words_and_the_texts_around_them_and_what_is_raised(digests):
    assert digests[0] == ("football: the football player kicked the ... their football team lost the: stadium"), (
        "up to six tokens before the strongest, and three after it"
    )


def test_what_a_feature_has_is_enough_and_one_without_any_has_no_digest(digests):
    assert digests[2] == "violin, orchestra"
    assert digests[4] == ""


def test_lines_are_short_and_each_is_taken_once():
    text = digest.write_digest(["a", "a ", "b"], ["x\n\n   y", "x y", "z" * 500], [])
    assert text == f"a, b: x y ... {'z' * digest.MOST_CHARACTERS}"
    assert digest.write_digest([], [" \n"], ["\t"]) == ""
    assert digest.write_digest([str(n) for n in range(50)], [], []).count(",") == digest.WORDS - 1
