"""The demo: a small model of the Python standard library, its dictionaries, and the store made of them.

Uses featurestore, ingest and labeler; none of them knows it.
"""
