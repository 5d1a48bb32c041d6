"""SECURITY.md names, for each promise, the tests that hold it."""

import re

from tests.support import ROOT


def test_every_promise_names_tests_that_are_there():
    page = (ROOT / "SECURITY.md").read_text()
    promises = page.partition("## What the service promises")[2].partition("\n## ")[0].split("\n* ")[1:]
    written = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert len(promises) >= 15
    for promise in promises:
        names = re.findall(r"`(test_\w+)`", promise)
        assert names, promise
        assert [name for name in names if name not in written] == []
