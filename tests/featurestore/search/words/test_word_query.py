"""What the words of a query ask for."""

from featurestore.search.words.word_query import Words


def test_words_that_say_nothing_count_only_alone():
    assert [clause.words for clause in Words.of("what is the snake").clauses] == [("snake",)]
    assert [clause.words for clause in Words.of("to be").clauses] == [("to",), ("be",)]
    assert [clause.words for clause in Words.of("+the snake").clauses] == [("the",), ("snake",)]
