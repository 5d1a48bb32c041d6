"""Checks of a dictionary: facts from its weights, measures on text, and other ways to read weights that do not fit.

Knows dictionaries, models and corpora. Knows nothing of stores or of the command line.
"""
