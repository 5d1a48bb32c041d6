"""One-line texts for messages and tables, and the rule of what a label may be, for siblings."""

from featurestore.display.characters import decode_piece, find_character, join_pieces, merge_activations, show_bytes
from featurestore.display.text import first_line, shorten
from featurestore.values.label_text import MOST_LABEL, find_problem

__all__ = [
    "MOST_LABEL",
    "decode_piece",
    "find_character",
    "find_problem",
    "first_line",
    "join_pieces",
    "merge_activations",
    "shorten",
    "show_bytes",
]
