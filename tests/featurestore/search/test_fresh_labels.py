"""A label is found as soon as it is written; a rebuilt index gives the same answers. Thousands wait for the index."""

import pytest

import featurestore
from featurestore import GivenLabel
from featurestore.search import fresh_labels
from tests.support import tiny

ID = "tiny/0-res/3"
MODES = ("semantic", "keyword", "hybrid")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("fresh") / "s") as opened:
        yield opened


def find(store, text, mode, **options):
    return [(hit.id, hit.score) for hit in store.search(text, mode=mode, k=40, group=False, **options)]


def test_a_label_is_found_at_once_replaced_at_once_and_gone_at_once(store):
    """In each mode, and under a filter."""
    store.set_label(ID, "names of suspension bridges")
    for mode in MODES:
        hit = store.search("suspension bridges", mode=mode).hits[0]
        assert (hit.id, hit.label) == (ID, "names of suspension bridges"), mode
        assert ID not in dict(find(store, "suspension bridges", mode, where="feature <> 3"))
        assert find(store, "suspension bridges", mode, where="feature = 3", within="tiny/0-res")[0][0] == ID
    assert store.search('+suspension -"tall ships"').hits[0].id == ID
    assert not store.search("+suspension +ships", mode="keyword").hits
    assert not [note for note in store.search("bridges").notes if "index" in note]
    store.set_label(ID, "kinds of tall ships")
    assert not find(store, "suspension bridges", "keyword")
    assert find(store, "tall ships", "semantic")[0][0] == ID
    store.remove_label(ID)
    assert not find(store, "ships", "keyword")
    assert store.search("tall ships", mode="semantic").hits[0].label != "kinds of tall ships"
    assert store.info().notes == tuple(note for note in store.info().notes if "newer" not in note)


def test_the_index_gives_the_same_answers(tmp_path):
    """Cosines to half precision; by words the same labels in the same order."""
    store = tiny.write_tiny_store(tmp_path / "s")
    words = ["loops over numbers", "closing brackets of calls", "loops and brackets", "errors in loops of numbers"]
    given = [GivenLabel(id=f"tiny/1-res/{n}", label=words[n % 4] + f" {n}", explainer="ann") for n in range(20)]
    store.add_labels(given)
    before = {(mode, text): find(store, text, mode) for mode in MODES[:2] for text in ("loops", "brackets of calls")}
    store.index()
    for (mode, text), found in before.items():
        indexed = dict(find(store, text, mode))
        assert dict(found).keys() == indexed.keys()
        if mode == "semantic":
            assert all(score == pytest.approx(indexed[id], abs=2e-3) for id, score in found)
        else:
            fresh = [id for id, _ in found if id in {label.id for label in given}]
            assert fresh == [id for id in indexed if id in fresh]


def test_the_first_label_of_a_store_needs_no_index(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s", index=False)
    with store.writer("tests") as writer:
        for dictionary in store.dictionaries():
            writer.remove("labels", dictionary.dictionary)
    store.index()
    store.set_label(ID, "names of suspension bridges")
    for mode in MODES:
        assert find(store, "a bridge" if mode != "keyword" else "bridge", mode)[0][0] == ID
    assert store.search("bridge", mode="keyword").hits[0].why == "has the word bridges"


def test_many_labels_wait_for_the_index(store, monkeypatch):
    for module in ("search.label_index", "store.reader"):
        monkeypatch.setattr(f"featurestore.{module}.FEW", 5)
    given = [GivenLabel(id=f"tiny/1-res/{n}", label="windmills", explainer="ben") for n in range(6)]
    store.add_labels(given)
    hits = store.search("windmills", mode="keyword")
    assert not hits.hits
    assert any("labels are newer than the index: run `featurestore index`" in note for note in hits.notes)
    assert any("labels are newer than the index" in note for note in store.info().notes)


def test_each_text_is_embedded_once(store, monkeypatch):
    """Also over further commits."""
    embedder = store.embedder()
    asked = []

    class Counting:
        id = embedder.id

        def __call__(self, texts, advance=None):
            asked.extend(texts)
            return embedder(texts)

    monkeypatch.setattr(fresh_labels, "_vectors", {})
    monkeypatch.setattr("featurestore.search.embedders.open_embedder", lambda setting=None: Counting())
    with featurestore.connect(store.location) as opened:
        for number, text in enumerate(("red boats", "red boats", "green boats")):
            opened.set_label(f"tiny/0-res/{4 + number}", text, "human:carl")
            assert opened.search(f"sailing {number}", mode="semantic").hits[0].label.endswith("boats"), text
    assert (asked.count("red boats"), asked.count("green boats")) == (1, 1)
