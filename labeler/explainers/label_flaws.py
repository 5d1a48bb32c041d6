"""What may be wrong with a label, judged from its words alone. Knows nothing of features or of models."""

from __future__ import annotations

import re
import unicodedata

# A label of these words alone says nothing: it fits every feature.
_EMPTY_WORDS = """
    a an and any are as at be by can different diverse each every few for found from general generic has have in
    including into is it its like many mixed more most multiple not numerous of often on or other others related
    several some such that the their these this those to up used using variety various very wide with within across
    category categories common concept concepts content contents context contexts example examples form forms idea
    ideas information item items kind kinds meaning meanings miscellaneous pattern patterns phrase phrases piece
    pieces something subject subjects text texts thing things token tokens topic topics type types unclear unknown
    unrelated unspecific usage use uses varied word words writing no none clear specific single apparent obvious
    consistent theme themes
"""
EMPTY_WORDS = frozenset(_EMPTY_WORDS.split())


def find_flaw(label: str, instructions: str) -> str | None:
    """What is wrong with a label: "vague", "foreign" (in another script than the prompt's instructions), or None."""
    if is_vague(label):
        return "vague"
    return "foreign" if is_foreign(label) and not is_foreign(instructions) else None


def is_foreign(text: str) -> bool:
    """Whether most letters outside quotes are of another script than the Latin one."""
    outside = re.sub("\"[^\"]*\"|'[^']*'|`[^`]*`|“[^”]*”|‘[^’]*’|«[^»]*»|「[^」]*」", "", text)
    letters = [letter for letter in outside if letter.isalpha()]
    latin = sum(letter.isascii() or unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    return 2 * latin < len(letters)


def is_vague(label: str) -> bool:
    """Whether the label would fit any feature: "various topics", "words in different contexts", "no clear pattern"."""
    if re.search("[\"'`‘’“”«»]", label):
        return False  # it names something: the word 'for'
    words = re.findall(r"\w+", label.lower())
    return bool(words) and all(word in EMPTY_WORDS for word in words)
