"""The tables of a store: their schema, how rows are checked and written as parts, and how single rows are read again.

Knows the files of storage/; knows nothing of SQL that callers write, of search, or of HTTP and the command line.
"""
