"""One-line texts for messages and tables, for siblings."""

from featurestore.display.text import first_line, shorten

__all__ = ["first_line", "shorten"]
