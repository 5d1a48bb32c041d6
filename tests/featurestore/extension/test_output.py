"""What a terminal gets: labels, names and cells of strangers as text, never as control sequences."""

import csv
import io
import json
import os
import pty
import subprocess
import sys

import pyarrow
import pytest

import featurestore
from featurestore.cli.main import main
from featurestore.display.text import show_controls
from featurestore.sql import export
from tests.support import tiny

# Colours, a cleared screen, a title, a link, the clipboard, an answer typed for the user; C1 forms; reversed text.
EVIL = "\x1b[31mred\x1b[2J\x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x9b31m\x9d0;t\x9c\u202egnp\r\x08\x7f"
ID = "tiny/0-res/3"


def is_clean(text):
    return not any((c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f" or c == "\u202e" for c in text)


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    """A store with a label that no gate of ours lets in, as a stranger's store may have one."""
    folder = tmp_path_factory.mktemp("evil") / "s"
    with tiny.write_tiny_store(folder, index=False) as store, store.writer("strange\x1b[31m") as writer:
        row = {"dictionary": "tiny/0-res", "feature": 3, "label": EVIL, "explainer": f"human:{EVIL}"}
        row |= {"tool": EVIL, "created_at": tiny.WHEN}
        writer.add("labels", pyarrow.Table.from_pylist([row]), key="tiny/0-res")
    return str(folder)


def test_controls_are_shown_as_json_writes_them():
    assert show_controls("a\tb\n") == "a\tb\n"
    assert is_clean(show_controls(EVIL))
    assert json.loads(f'"{show_controls("x" + chr(0x9B) + chr(0x1B) + "y")}"') == "x\x9b\x1by"


COMMANDS = [
    ["sql", "FROM labels WHERE feature = 3"],
    ["sql", f"SELECT '{EVIL}' AS \"{EVIL}\""],
    ["sql", "FROM labels WHERE feature = 3", "--json"],
    ["sql", f"SELECT '{EVIL}'::INTEGER"],  # an error that quotes it
    ["sql", "SELECT 1", "--param", f"{EVIL}=1"],
    ["feature", ID],
    ["feature", ID, "--json"],
    ["label", "history", ID],
    ["info"],
    ["info", "--json"],
    ["check"],
    ["search", EVIL, "--mode", "keyword"],
    ["nearest", EVIL],
    ["nearest", "tiny/0-res/3"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=range(len(COMMANDS)))
def test_no_command_prints_a_control_character(location, invoke, arguments):
    result = invoke(main, [*arguments, "--store", location])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert is_clean(result.stdout.replace("\r\n", "\n")) and is_clean(result.stderr), repr(result.output)


@pytest.mark.parametrize("form", [None, "csv", "json", "spreadsheet", "arrow"])
def test_on_a_real_terminal_too(location, form):
    """Where tables have styles of their own; CSV and JSON lines go there as text, what is binary not at all."""
    parent, child = pty.openpty()
    statement = "SELECT label, explainer FROM labels WHERE feature = 3 AND explainer LIKE 'human%'"
    command = [sys.executable, "-m", "featurestore.cli", "sql", statement, "--store", location]
    process = subprocess.Popen(
        command + (["--format", form] if form else []), stdout=child, stderr=child, stdin=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "400"},
    )  # fmt: skip
    os.close(child)
    raw = b""
    try:
        while chunk := os.read(parent, 65536):
            raw += chunk
    except OSError:  # the other end is closed
        pass
    process.wait()
    os.close(parent)
    shown = raw.decode()
    assert "\x1b[31m" not in shown and "\x1b]" not in shown and "\x9b" not in shown and "\u202e" not in shown
    assert ("\\u001b[31mred" in shown) == (form != "arrow")
    if form == "arrow":
        assert "name a file (-o)" in shown and process.returncode == featurestore.BadRequest.exit_code


def test_a_file_and_a_pipe_get_the_bytes_as_they_are(location, tmp_path, invoke):
    statement = "SELECT label FROM labels WHERE feature = 3 AND explainer LIKE 'human%'"
    for arguments in ([], ["-o", str(tmp_path / "x.csv")]):
        result = invoke(main, ["sql", statement, "--format", "csv", "--store", location, *arguments])
        raw = (tmp_path / "x.csv").read_bytes() if arguments else result.stdout_bytes
        assert list(csv.reader(io.StringIO(raw.decode(), newline="")))[1] == [EVIL]


CELLS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "a=1", "", " =1", None]


def test_cells_that_a_spreadsheet_would_run_are_texts_in_its_format():
    table = pyarrow.table({"=name": CELLS, "n": list(range(-5, 5)), "kind": pyarrow.array(CELLS).dictionary_encode()})
    shown = {}
    for form in ("csv", "spreadsheet"):
        sink = io.BytesIO()
        with export.open_sink(form, sink, table.schema) as add:
            for batch in table.to_batches():
                add(batch)
        shown[form] = list(csv.reader(io.StringIO(sink.getvalue().decode(), newline="")))
    assert [row[0] for row in shown["csv"]] == ["=name", *(cell or "" for cell in CELLS)]
    masked = ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", "'\r=1", "a=1", "", " =1", ""]
    assert [row[0] for row in shown["spreadsheet"]] == ["'=name", *masked]
    assert [row[2] for row in shown["spreadsheet"]] == ["kind", *masked]
    assert [row[1] for row in shown["spreadsheet"]] == ["n", *map(str, range(-5, 5))]  # numbers stay numbers
