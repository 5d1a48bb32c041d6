"""SECURITY.md names, for each promise, the tests that hold it, and its figures are those of the program."""

import re

import msgspec

from featurestore.query import Query
from featurestore.sql import process_pool, text_scan, worker_process
from featurestore.store import connection
from featurestore.web import app, responses
from featurestore.web.serving import channel, listener
from featurestore.wire import limits
from tests.support import ROOT

PAGE = (ROOT / "SECURITY.md").read_text()


def find_part(title):
    return PAGE.partition(f"## {title}")[2].partition("\n## ")[0]


def find_names(text):
    return re.findall(r"`(test_\w+)`", text)


def test_every_test_that_the_page_names_is_there():
    written = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    names = find_names(PAGE)
    assert len(names) > 70
    assert [name for name in names if name not in written] == []
    assert [path for path in re.findall(r"`(tests/[\w/]+\.py)`", PAGE) if not (ROOT / path).exists()] == []


def test_every_promise_and_every_field_of_a_store_names_tests():
    promises = find_part("What the service promises").split("\n* ")[1:]
    rows = [line for line in find_part("Stores from strangers").splitlines() if line.startswith("| ")][1:]
    assert len(promises) >= 15 and len(rows) >= 20
    assert [text for text in (*promises, *rows) if not find_names(text)] == []


def test_figures_are_those_of_the_program():
    promises = " ".join(find_part("What the service promises").split())
    (where,) = (field for field in msgspec.inspect.type_info(Query).fields if field.name == "where")
    (condition,) = {kind.max_length for kind in where.type.type.types if isinstance(kind, msgspec.inspect.StrType)}
    for figure in (
        f"at most {app.MAX_BODY // 10**6} MB (a graph {limits.MOST_GRAPH // 10**6} MB",
        f"at most {limits.MOST_SQL:,} characters and takes at most {limits.SQL_SECONDS:g} seconds",
        f"a text for a model has at most {limits.MOST_TEXT:,} characters",
        f"come within {channel.HEADER_SECONDS:g} seconds, all of them",
        f"After {channel.BODY_SECONDS:g} seconds a body comes at {channel.BODY_RATE:,} bytes a second",
        f"waits at most {channel.IDLE_SECONDS:g} seconds",
        f"at {channel.SENT_RATE:,} bytes a second or more, over {channel.SENT_SECONDS:g} seconds",
        f"more than {channel.HELD_BYTES // 10**6} MB of it wait",
        f"at {channel.HELD_RATE:,} bytes a second, over {channel.HELD_SECONDS:g} seconds",
        f"takes {listener.MOST_CONNECTIONS:,} connections, {listener.MOST_OF_ADDRESS} of one address",
        f"of more than {responses.MOST_WHOLE // 10**6} MB are sent as they come",
        f"at most {worker_process.MOST_ROW // 10**6} MB, as JSON and CSV {responses.JSON_ROW // 10**6} MB",
        f"at most {condition:,} characters and {connection.CONDITION_SECONDS:g} seconds",
        f"{connection.CONDITION_PROCESSES} processes of their own; at most {2 * connection.CONDITION_PROCESSES} more",
        f"{text_scan.MOST_BRACKETS} open brackets, {text_scan.MOST_CASES} nested CASE, {text_scan.MOST_WITHS} nested",
        f"ended after {process_pool.PARSE_SECONDS:g} seconds of parsing",
    ):
        assert figure in promises, figure
