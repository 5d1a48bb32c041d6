"""Limits of the HTTP interface, which the service holds and the client keeps within."""

MOST_ROWS = 100_000  # rows of one answer of SQL that is not streamed
DEFAULT_ROWS = 10_000  # where the request names no number
SQL_SECONDS = 30.0  # after which a statement is stopped
MOST_SQL = 100_000  # characters of a statement
MOST_TEXT = 20_000  # characters of a text that a model runs on

MOST_IDS = 1000  # features of one answer
FEATURES_A_PAGE = 100  # whole feature pages that the client asks for at once

MOST_LABELS = 1000  # labels of one request

MOST_GRAPH = 100_000_000  # bytes of a graph's JSON

# Products of numbers when two dictionaries are compared with each other: 16,384 features with 24,576 of width 2,304.
# Two cores take half a minute for them, and a thread of the service is kept.
MOST_PRODUCTS = 10**12

# Comparing a dictionary's features takes a millisecond each, and keeps a thread of the service for it.
MOST_COMPARED = 65_536
