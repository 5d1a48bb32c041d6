"""Words of labels: stems, phrases, prefixes, signs, and the index by itself."""

import numpy
import pytest

from featurestore import BadRequest, BadStore
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


@pytest.fixture
def written(tmp_path):
    """The folder of an index of three texts, with stored texts."""
    rows = [{"text": text} for text in ("exception handling", "closing brackets", "raise an exception")]
    keyword.build(tmp_path / "index", rows, stored=True)
    return tmp_path / "index"


class _Panic(BaseException):
    """What a panic of Rust is in Python: no Exception."""


def test_a_panic_of_the_library_is_a_damaged_index(written):
    class Panicking:
        num_docs = 3

        def search(self, *_, **__):
            raise _Panic("range end index 7 out of range")

        doc_freq = search

    index = keyword.KeywordIndex(written, 3)
    index._searcher = Panicking()
    for ask in (
        lambda: index.search(keyword.Words.of("exception"), 3),
        lambda: index.texts(0),
        lambda: index.count("exception"),
    ):
        with pytest.raises(BadStore, match="run `featurestore index` .range end index 7"):
            ask()


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 10_000, b"\xff" * 100])
def test_an_index_whose_description_is_damaged(written, content):
    (written / "meta.json").write_bytes(content)
    with pytest.raises(BadStore, match="run `featurestore index`"):
        keyword.KeywordIndex(written, 3)


def test_an_index_that_cannot_be_written_beside_is_searched_all_the_same(written, monkeypatch):
    """On a read-only mount tantivy's lock file needs another place; the store gets no new file."""
    for file in written.glob(".tantivy*"):
        file.unlink()
    before = sorted(path.name for path in written.iterdir())
    monkeypatch.setattr(keyword.os, "access", lambda path, mode: False)
    index = keyword.KeywordIndex(written, 3)
    assert index.search(keyword.Words.of("exception"), 3)[0].tolist() == [0, 2]
    assert index.texts(1) == {"text": "closing brackets"}
    assert sorted(path.name for path in written.iterdir()) == before
    links = index._writable(written)
    assert {path.name for path in links.iterdir()} >= set(before)
    del index
    assert not links.exists()
