"""One-line texts for messages and tables, and the rule of what a label may be, for siblings."""

from featurestore.display.text import first_line, shorten
from featurestore.values.label_text import MOST_LABEL, find_problem

__all__ = ["MOST_LABEL", "find_problem", "first_line", "shorten"]
