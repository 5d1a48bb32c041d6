"""Runs over many features of a store: choose, ask or compute in many threads, write rows, report.

They know nothing of how a prompt is written, an endpoint is reached, or a score is computed.
"""
