"""SQL over one snapshot of a store: what a statement may say, the engine that runs it, and a pool of worker processes.

Knows the tables and files of a store; knows nothing of features' pages, of indexes, or of HTTP and the command line.
"""
