"""Cells and tables of the command line: one line for any value, and a form that can be read at any width."""

import datetime

import pytest
from click.testing import CliRunner

from featurestore.cli.main import main
from featurestore.extension.output import fit_columns, format_cell, print_table


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, "–"),
        (0.123456, "0.1235"),
        (1234567, "1,234,567"),
        ("two\nlines\tand a tab", "two⏎lines⇥and a tab"),
        ([1, 2], "[1, 2]"),
        ([], "[]"),
        (list(range(64)), "[0, 1, 2, 3, 4, 5, 6, 7, … 64 in all]"),
        ([{"token": " a\n", "value": 0.98765, "id": None}], "[{token: ' a⏎', value: 0.9877, id: –}]"),
        (("x", [True]), "['x', [yes]]"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_a_cell_is_one_line(value, cell):
    assert format_cell(value) == cell


def test_lists_do_not_push_other_columns_away(capsys):
    print_table([{"dictionary": "model/source", "tokens": ["word"] * 8, "label": "a label of several words"}] * 2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all("model/source" in line and "a label of several words" in line for line in lines[1:])


def test_many_columns_do_not_fit():
    assert fit_columns(["id", "label", "density"])
    assert not fit_columns([f"column_{n}" for n in range(40)])


def _sql(tiny_store, statement, *options):
    done = CliRunner().invoke(main, ["sql", statement, "--store", str(tiny_store), *options])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_wide_results_are_printed_a_column_a_line(tiny_store):
    lines = _sql(tiny_store, "SELECT * FROM features ORDER BY dictionary, feature LIMIT 2")
    assert [line for line in lines if not line.startswith("  ")] == ["row 1", "row 2"]
    assert lines[1].split() == ["id", "tiny/0-res/0"]
    narrow = "SELECT dictionary, feature FROM features ORDER BY ALL LIMIT 1"
    assert _sql(tiny_store, narrow)[1].split() == ["tiny/0-res", "0"]
    assert [line.split() for line in _sql(tiny_store, narrow, "--expanded")] == [
        ["row", "1"],
        ["dictionary", "tiny/0-res"],
        ["feature", "0"],
    ]


def test_help_has_its_commands_by_purpose():
    lines = CliRunner().invoke(main, ["--help"]).output.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", "Look:", "Make:", "Keep:", "Serve:"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("featurestore search x --within tiny/", ["tiny/0-res", "tiny/1-res"]),
        ("featurestore feature tiny/1", ["tiny/1-res/"]),
        ("featurestore feature tiny/1-res/2", [f"tiny/1-res/{n}" for n in (2, 20, 21, 22, 23)]),
        ("featurestore feature tiny/1-res/0", ["tiny/1-res/0"]),
        ("featurestore compare tiny/9-res/1", []),
        ("featurestore nearest tiny/1-res/x", []),
        ("featurestore duplicates nothing", []),
    ],
)
def test_a_shell_completes_dictionaries(tiny_store, words, wanted):
    environment = {
        "_FEATURESTORE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "FEATURESTORE": str(tiny_store),
    }
    done = CliRunner().invoke(main, env=environment, prog_name="featurestore")
    assert [line.removeprefix("plain,") for line in done.output.split()] == wanted
