"""Words of labels: stems, phrases, prefixes, signs, and the index by itself."""

import numpy
import pytest

from featurestore import BadRequest, BadStore
from featurestore.search import keyword
from featurestore.search.words import rarity
from featurestore.search.words.word_query import Words


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
    rows, _ = index.search(Words.of("common"), 30, allowed)
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
        return sorted(index.search(Words.of(words), 5, **more)[0].tolist())

    assert found("exceptio*") == [0]
    assert found("ex*") == [0, 1]
    assert found("exceptions") == [0], "stems of both are one"
    assert found("excepts") == [0]
    assert found("exc") == []
    assert found("->", tokens=True) == [0, 1]
    assert found("->") == []
    assert found("joined os.path") == [2]
    assert index.texts(2) == {"text": "os.path joins", "text_tokens": "[]"}
    assert index.texts(1) == {"text": "exempt", "text_tokens": '[" ->", "x"]'}


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
        lambda: index.search(Words.of("exception"), 3),
        lambda: index.texts(0),
        lambda: index.count("exception"),
    ):
        with pytest.raises(BadStore, match="run `featurestore index --rebuild` .range end index 7"):
            ask()


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 10_000, b"\xff" * 100])
def test_an_index_whose_description_is_damaged(written, content):
    (written / "meta.json").write_bytes(content)
    with pytest.raises(BadStore, match="run `featurestore index --rebuild`"):
        keyword.KeywordIndex(written, 3)


def test_an_index_that_cannot_be_written_beside_is_searched_all_the_same(written, monkeypatch):
    """On a read-only mount tantivy's lock file needs another place; the store gets no new file."""
    for file in written.glob(".tantivy*"):
        file.unlink()
    before = sorted(path.name for path in written.iterdir())
    monkeypatch.setattr(keyword.os, "access", lambda path, mode: False)
    index = keyword.KeywordIndex(written, 3)
    assert index.search(Words.of("exception"), 3)[0].tolist() == [0, 2]
    assert index.texts(1) == {"text": "closing brackets"}
    assert sorted(path.name for path in written.iterdir()) == before
    links = index._writable(written)
    assert {path.name for path in links.iterdir()} >= set(before)
    del index
    assert not links.exists()


TEXTS = [
    "the café is open",
    "a cafe",
    "try/except blocks",
    "except when they try",
    "ValueError raised",
    "a value that is an error",
    "snake_case_name",
    "a snake in a case",
    "日本語のテキスト",
    "中国の本",
    "ﬁrst ｆｕｌｌ width",
    "label:exception found",
    "featurestore/search/keyword.py",
    "Straße",
    "ПРИВЕТ, мир",
    "nai\u0308ve",
    "한국어를 배운다",
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    directory = tmp_path_factory.mktemp("forms") / "x"
    keyword.build(directory, [{"text": text, "text_tokens": [f" {text}"]} for text in TEXTS], tokens=("text",))
    return keyword.KeywordIndex(directory, len(TEXTS))


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("cafe", ["a cafe", "the café is open"]),  # the exact match first
        ("café", ["the café is open", "a cafe"]),
        ("cafe\u0301", ["the café is open", "a cafe"]),
        ("ＣＡＦÉ", ["the café is open", "a cafe"]),
        ("+cafe", ["a cafe", "the café is open"]),
        ("first", ["ﬁrst ｆｕｌｌ width"]),
        ("ﬁrst", ["ﬁrst ｆｕｌｌ width"]),
        ("FULL", ["ﬁrst ｆｕｌｌ width"]),
        ("strasse", ["Straße"]),
        ("STRASSE", ["Straße"]),
        ("привет", ["ПРИВЕТ, мир"]),
        ("naïve", ["nai\u0308ve"]),
        ("naive", ["nai\u0308ve"]),
        ("日本", ["日本語のテキスト"]),
        ("本語", ["日本語のテキスト"]),
        ("テキスト", ["日本語のテキスト"]),
        ("国の", ["中国の本"]),
        ("国語", []),
        ("語本", []),
        ("한국", ["한국어를 배운다"]),
        ("try/except", ["try/except blocks", "except when they try"]),
        ("label:exception", ["label:exception found"]),
        ("ValueError", ["ValueError raised", "a value that is an error"]),
        ("valueerror", ["ValueError raised"]),
        ("snake_case", ["snake_case_name", "a snake in a case"]),
        ("search/keyword.py", ["featurestore/search/keyword.py"]),
        ("keyword.py", ["featurestore/search/keyword.py"]),
        ('"snake case"', ["snake_case_name"]),
    ],
)
def test_forms_of_words_and_parts_of_names(index, asked, wanted):
    words = Words.of(asked)
    rows, scores = index.search(words, 5)
    texts = [TEXTS[row] for row in rows]
    assert texts[: len(wanted)] == wanted
    if wanted:
        assert words.find_in(texts[0]), "the words that were found are named"
        assert words.count_in(texts[0]) == 1
    assert (numpy.diff(scores[: len(wanted)]) < 0).all()
    others = set(texts[len(wanted) :])
    assert others <= {"label:exception found", "try/except blocks", "except when they try"}, "except has this stem"


def test_a_word_in_its_very_form_comes_before_its_other_forms(tmp_path):
    texts = ["names of a loop", "naming of a loop", "name of a loop", "names of loops"]
    keyword.build(tmp_path / "x", [{"text": text} for text in texts])
    index = keyword.KeywordIndex(tmp_path / "x", len(texts))
    for asked in texts[:3]:
        rows, scores = index.search(Words.of(asked.split()[0]), 4)
        assert texts[rows[0]].split()[0] == asked.split()[0]
        assert len(rows) == 4, "stems are found all the same"
    words = Words.of("loops named")
    assert index.rarity(words) == rarity.Rarity(4, (4, 4), (1, 0))
    _, scores = index.search(Words.of("loops names"), 1)
    share = rarity.share(float(scores[0]), rarity.full_score(index.rarity(Words.of("loops names"))))
    assert share == pytest.approx(1, abs=0.2), "a text with each word once has all that is asked"


def test_one_character_is_found_anywhere(index):
    rows, _ = index.search(Words.of("本"), 5)
    assert {TEXTS[row] for row in rows} == {"日本語のテキスト", "中国の本"}


def test_tokens_are_found_in_every_form(index):
    for asked in ("ПРИВЕТ, мир", "привет, мир", " привет, мир"):
        rows, _ = index.search(Words.of(asked), 1, tokens=True)
        assert TEXTS[rows[0]] == "ПРИВЕТ, мир"
