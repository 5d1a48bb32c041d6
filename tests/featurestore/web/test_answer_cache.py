"""Which answers a process keeps."""

from featurestore.web.answer_cache import AnswerCache


def test_the_least_recently_used_answers_are_dropped():
    answers = AnswerCache(capacity=25)
    for name in ("a", "b"):
        answers.put(name, name.encode() * 10)
    assert answers.get("a") == b"a" * 10
    answers.put("c", b"c" * 10)
    assert [answers.get(name) is not None for name in ("a", "b", "c", None)] == [True, False, True, False]
    answers.put("a", b"x" * 15)
    assert (answers.get("a"), answers.get("c")) == (b"x" * 15, b"c" * 10)
