"""Words of labels: stems, phrases, prefixes, signs, and the index by itself."""

import numpy
import pytest

from featurestore import BadRequest
from featurestore.search import keyword


@pytest.fixture(scope="module")
def store(either):
    return either


def test_keyword_stems_phrases_and_negation(store):
    def features(words):
        return {hit.feature % 8 for hit in store.search(words, mode="keyword", k=48)}

    assert features("exception") == {0, 6}
    assert features("imported") == {3}
    assert features('"end of a call"') == {1}
    assert features('"call a of end"') == set()
    assert features("+exceptions -handling") == {6}
    assert features("what's (this: exception") >= {0, 6}, "any text is a query"


def test_keyword_index_with_many_allowed_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(keyword, "FEW", 10)
    keyword.build(tmp_path / "x", [{"text": f"common word{n}"} for n in range(500)])
    index = keyword.KeywordIndex(tmp_path / "x", 500)
    allowed = keyword.Allowed(numpy.arange(500) >= 480)
    rows, _ = index.search(keyword.Words.of("common"), 30, allowed)
    assert sorted(rows) == list(range(480, 500)), "allowed rows are found however many others match"


def test_plus_and_minus_are_about_words(store):
    hits = store.search("exceptions -handling", k=48, group=False)
    assert {hit.feature % 8 for hit in hits} == {6}
    assert "searched by words only: + and - say which words a label must and must not have" in hits.notes
    with pytest.raises(BadRequest, match="only says what must not be there"):
        store.search("-handling", mode="keyword")


def test_prefixes_and_tokens_that_are_no_words(tmp_path):
    rows = [
        {"text": "exceptional", "text_tokens": ["->"]},
        {"text": "exempt", "text_tokens": [" ->", "x"]},
        {"text": "os.path joins", "text_tokens": []},
    ]
    keyword.build(tmp_path / "x", rows, tokens=("text",), stored=True)
    index = keyword.KeywordIndex(tmp_path / "x", 3)

    def found(words, **more):
        return sorted(index.search(keyword.Words.of(words), 5, **more)[0].tolist())

    assert found("exceptio*") == [0]
    assert found("ex*") == [0, 1]
    assert found("exceptions") == [0], "stems of both are one"
    assert found("excepts") == [0]
    assert found("exc") == []
    assert found("->", tokens=True) == [0, 1]
    assert found("->") == []
    assert found("joined os.path") == [2]
    assert [index.texts(row) for row in (2, 0)] == [{"text": "os.path joins"}, {"text": "exceptional"}]
