"""Labels that are vague or in another script than the prompt."""

import pytest

from labeler import prompts
from labeler.explainers import label_flaws


@pytest.mark.parametrize(
    "label",
    [
        "various topics",
        "Words in different contexts",
        "a variety of subjects and concepts",
        "no clear pattern",
        "text",
        "Miscellaneous tokens.",
        "general text, with no specific theme",
    ],
)
def test_vague(label):
    assert label_flaws.is_vague(label)


@pytest.mark.parametrize(
    "label", ["various chemical elements", "the word 'for'", "(", "numbers", "text about bridges", "“of” and “or”"]
)
def test_not_vague(label):
    assert not label_flaws.is_vague(label)


@pytest.mark.parametrize("label", ["the particle 'の' after a noun", "Größenangaben in Überschriften", "(", "“имена”"])
def test_labels_of_the_script_of_the_prompt(label):
    assert label_flaws.find_flaw(label, prompts.load().system) is None
