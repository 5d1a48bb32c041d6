"""Where a store's files are, on disk or in an object store, and the log of commits that says which of them count.

Knows bytes, names and hashes; knows nothing of what is in a table, of SQL, or of searches. Begin with directory.py.
"""
