"""Search over one snapshot of a store: by meaning, by words, by tokens and by decoder vectors; the indexes it uses.

Begin with searcher.py. Knows no HTTP, no command line and no writing beyond its own indexes; vectors/ knows only
numbers.
"""
