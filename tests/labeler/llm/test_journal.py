"""The journal of answers: what was put is found, a torn line costs one answer."""

import pytest

from featurestore import BadRequest, Unavailable
from labeler.llm import journal
from labeler.llm.journal import Journal


def test_a_journal_finds_what_it_was_given(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "_MERGE", 50)
    given = {journal.hash_request({"n": n}): {"text": "x" * n} for n in range(0, 9000, 61)}
    with Journal(tmp_path / "j") as kept:
        for key, content in given.items():
            kept.put(key, content)
        assert all(kept.get(key)["text"] == content["text"] for key, content in given.items())
    with Journal(tmp_path / "j") as kept:
        assert kept.count() == len(given)
        assert all(kept.get(key)["text"] == content["text"] for key, content in given.items())
        assert kept.get(journal.hash_request({"n": -1})) is None
        kept.put(next(iter(given)), {"text": "newer"})
        assert kept.get(next(iter(given)))["text"] == "newer"


@pytest.mark.parametrize("cut", [2, 20, 60])
def test_a_torn_line_costs_one_answer(tmp_path, cut):
    keys = [journal.hash_request({"n": n}) for n in range(3)]
    with Journal(tmp_path / "j") as kept:
        for key in keys[:2]:
            kept.put(key, {"text": "an answer"})
    raw = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(raw[:-cut])
    for _ in range(2):
        with Journal(tmp_path / "j") as kept:
            assert kept.get(keys[0])["text"] == "an answer"
            assert kept.get(keys[1]) is None
            kept.put(keys[2], {"text": "after"})
            assert kept.get(keys[2])["text"] == "after"


def test_a_journal_is_no_other_file(tmp_path):
    (tmp_path / "j").write_text("some notes\n")
    with pytest.raises(BadRequest, match="is no journal of answers"):
        Journal(tmp_path / "j")
    assert (tmp_path / "j").read_text() == "some notes\n"
    with pytest.raises(Unavailable, match="cannot write the journal"):
        Journal(tmp_path / "no" / "j")
