"""Plugin of pytest for the base environment, `make test-base`: what needs torch or the docs' tools is skipped.

Only what fails for want of one of ABSENT is skipped, and pytest counts it. Any other missing package fails.
"""

from __future__ import annotations

import importlib.util
import re

import pytest

ABSENT = ("torch", "transformers", "datasets", "ray", "mkdocs")


def pytest_configure(config):
    there = [name for name in ABSENT if importlib.util.find_spec(name) is not None]
    if there:
        raise pytest.UsageError(f"the base environment has {', '.join(there)}; make clean, and make test-base again")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if report.outcome == "failed":
        reason = _missing(report.longreprtext)
        if reason:
            report.outcome, report.longrepr = "skipped", (str(collector.path), 0, reason)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.outcome == "failed":
        reason = _missing(report.longreprtext)
        if reason:
            report.outcome, report.longrepr = "skipped", (str(item.path), item.location[1], reason)
    return report


def _missing(trace: str) -> str:
    """Return why a test cannot run here, by its error; an empty string when it is another error."""
    match = _LACK.search(trace)
    return f"needs {match[1] or match[2]}" if match else ""


# What Python says, and what we say to a user.
_LACK = re.compile(rf"No module named '({'|'.join(ABSENT)})\b|pip install 'featurestore\[(harvest|datasets|ray)\]'")
