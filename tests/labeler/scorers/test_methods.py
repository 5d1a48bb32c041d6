"""What a judge is shown: marks that a label can tell apart."""

import re

from labeler import prompts
from labeler.scorers.examples import Material, Text
from labeler.scorers.methods import METHODS


def text(tokens, activations, document):
    return Text(tuple(tokens), tuple(activations), "c", document, 0, True, 7)


def test_marks_of_fuzzing_never_stand_on_blanks_and_texts_keep_no_marks_of_their_own():
    """A text on whose blanks alone the feature is strong is left out."""
    words = ["a", " ", "\n", " <<", "b", " c"]
    positives = [text(words, [0, 9, 8, 0, 7, 0], n) for n in range(6)] + [text(words, [0, 9, 8, 0, 0, 0], 9)]
    hard = [text(words, [0, 9, 0, 0, 0, 0], 20), text(words, [5, 9, 0, 0, 0, 0], 21)]
    material = Material(tuple(positives), (), tuple(hard), "held-out")
    questions = METHODS["fuzzing"].ask("x", material, prompts.load("fuzzing", judge=True), "m/s/7")
    kinds = [kind for question in questions for kind in question.kinds]
    assert (kinds.count("active"), kinds.count("random"), kinds.count("hard")) == (3, 3, 1)
    shown = "\n".join(question.messages[1]["content"] for question in questions)
    marked = re.findall(r"<<(.*?)>>", shown, re.DOTALL)
    assert len(marked) == 7
    assert all(token.strip() for token in marked)
    assert shown.count("<<") == shown.count(">>") == 7
    assert shown.count("< <") >= 6
