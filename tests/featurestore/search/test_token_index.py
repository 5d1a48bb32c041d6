"""What features fire on and raise, found by words."""

import pytest

import featurestore
from featurestore import BadRequest
from featurestore.search import token_index
from tests.support import tiny
from tests.support.exact_search import IDS, LIVE


@pytest.fixture(scope="module")
def store(either):
    return either


def test_tokens_of_top_examples_and_logits(store):
    hits = store.search("self", over="tokens", k=48)
    assert len(hits) == 0, "it stands in a window, but no feature fires on it at half strength"
    hits = store.search("x", over="tokens", k=48, group=False)
    assert {IDS.index(hit.id) for hit in hits} == set(LIVE), "all fire on the second token of the first document"
    assert hits[0].why.startswith("fires on x in 1 of 2 top examples")
    parts = store.search("caf*", over="tokens", k=48, group=False)
    assert parts[0].why == "fires on cafédef in 1 of 2 top examples", "two bytes of a word fired: it is that word"
    raised = store.search("valueerror", over="logits", k=48, group=False)
    assert {IDS.index(hit.id) for hit in raised} == set(LIVE)
    assert raised[0].why == "raises ' ValueError' +2.50 (its #1)"
    assert store.search(")", over="logits", k=1)[0].why == "raises ')' +1.50 (its #2)"
    both = store.search("x", over=["tokens", "labels"], mode="keyword", k=5)
    assert "fires on x" in both[0].why
    with pytest.raises(BadRequest, match="tokens are searched by words"):
        store.search("x", over="tokens", mode="semantic")


def test_words_of_top_examples_are_whole_and_phrases_stand_together(tmp_path):
    """A slow reading of the windows gives the same words as the index was built of."""
    store = tiny.write_tiny_store(tmp_path / "s")
    index = store._current_view.searcher._token_index()
    for number in (0, 7, 30):
        page = store.feature(IDS[number])
        wanted = []
        for example in page.examples:
            if example.band != "top":
                continue
            strong = [i for i, a in enumerate(example.activations) if a >= 0.5 * max(example.activations)]
            inside = set()
            for i in strong:
                low = high = i
                text = example.tokens  # the second byte of a character is shown on the first, and is empty
                while low > 0 and (text[low][:1] or "x").isalnum() and (text[low - 1][-1:] or "x").isalnum():
                    low -= 1
                while (
                    high + 1 < len(text) and (text[high][-1:] or "x").isalnum() and (text[high + 1] or "x")[0].isalnum()
                ):
                    high += 1
                inside.update(range(low, high + 1))
            words = [("" if i - 1 in inside else token_index.GAP) + example.tokens[i] for i in sorted(inside)]
            wanted.append("".join(words))
        assert [window.words.strip(token_index.GAP) for window in index.windows(number)] == [
            window.strip(token_index.GAP) for window in wanted
        ]


def test_a_store_without_labels_is_searched_by_tokens(tmp_path, monkeypatch):
    monkeypatch.setattr("featurestore.search.label_index.FEW", 0)
    store = tiny.write_tiny_store(tmp_path / "s", index=False)
    with pytest.raises(featurestore.Unavailable, match="labels are not indexed yet"):
        store.search("x")
    with store.writer("tests") as writer:
        for name in store.dictionaries():
            writer.remove("labels", name.dictionary)
    store.index()
    hits = store.search("x", k=3)
    assert hits[0].why.startswith("fires on x")
    assert hits[0].label is None
    assert "searched the tokens that top examples fire on only" in hits.notes[-1]
