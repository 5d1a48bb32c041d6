"""The text of the documentation: lines of at most 120 columns, and files that exist."""

import re

import pytest

from tests.support import ROOT
from tests.support.doc_blocks import FENCE

PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "featurestore_demo" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Files named in the documentation: below a folder of the repository, with a suffix and without a placeholder.
PATH = re.compile(
    r"(?<![\w/.])((?:featurestore|featurestore_demo|ingest|labeler|bench|docs|tests)/[\w/]+(?:\.\w+|/))(?![\w*<])"
)


def name(path):
    """The path of a page inside the repository."""
    return path.relative_to(ROOT).as_posix()


def prose(path):
    """The text of a page without code blocks, which keep the lines of programs and their output."""
    blank = FENCE.sub(lambda block: "\n" * block[0].count("\n"), path.read_text("utf-8"))
    return blank.splitlines()


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_lines_have_at_most_120_columns(path):
    """Rows of tables cannot be wrapped, and URLs cannot be cut."""
    long = [
        f"{name(path)}:{number}: {len(line)} columns"
        for number, line in enumerate(prose(path), 1)
        if len(line) > 120 and not line.startswith("|") and "://" not in line
    ]
    assert long == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_files_that_the_text_names_exist(path):
    missing = [
        named
        for line in prose(path)
        for named in PATH.findall(line)
        if not (ROOT / named).exists() and not named.startswith("featurestore_demo/work/")
    ]
    assert missing == []


def test_lines_of_the_schema_have_at_most_120_columns():
    lines = (ROOT / "schema.sql").read_text("utf-8").splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > 120] == []
