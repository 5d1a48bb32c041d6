"""One snapshot of a store as values: its features in one numbering, their pages, labels, examples and decoder vectors.

shard.py finds the files of a feature. Knows nothing of search, of graphs, or of the command line and HTTP.
"""
