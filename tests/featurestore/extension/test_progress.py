"""Progress of commands: lines on stderr, bars on a terminal, and the record among the store's jobs."""

import io
import re
import sys

import pytest

import featurestore
from featurestore.extension.progress import show_progress


@pytest.fixture
def location(tmp_path):
    featurestore.create(tmp_path / "s").close()
    return str(tmp_path / "s")


def jobs(location):
    with featurestore.connect(location) as store:
        return store.jobs()


def test_a_stage_is_one_line_and_ends_when_the_next_begins(capsys):
    with show_progress() as progress:
        reading = progress("reading", None)
        reading(2)
        reading(1, "half asleep")
        assert capsys.readouterr().err == ""
        writing = progress("writing", 5)
        assert re.fullmatch(r"reading: 3 in 0\.\d s, half asleep\n", capsys.readouterr().err)
        writing(5, "done")
        assert re.fullmatch(r"writing: 5 in 0\.\d s, done\n", capsys.readouterr().err)
        writing(1)
        progress("nothing to do", 0)(0)
        progress("closing", 2)(1)
    assert re.fullmatch(r"closing: 1 in 0\.\d s\n", capsys.readouterr().err)


def test_a_stage_that_fails_has_no_line(capsys):
    with pytest.raises(ZeroDivisionError), show_progress() as progress:
        progress("dividing", 5)(1)
        1 / 0  # noqa: B018
    assert capsys.readouterr().err == ""


def test_bars_on_a_terminal(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with show_progress() as progress:
        stage = progress("counting", 4)
        stage(1)
        stage(3, "two left over")
        progress("waiting", None)(1)
    shown = terminal.getvalue()
    assert "counting: two left over" in shown and "4/4" in shown and "waiting" in shown
    assert sys.stderr is terminal


def test_work_with_stages_is_recorded(location):
    with show_progress(location, "label", "qwen3 gpt2/8-res") as progress:
        assert not jobs(location), "quick work has no record"
        progress("nothing to do", 0)
        assert not jobs(location)
        progress("labelling", 4)(3, "no failures")
        (job,) = jobs(location)
        assert (job.kind, job.about, job.state, job.doing) == ("label", "qwen3 gpt2/8-res", "running", "labelling")
        progress("indexing", 7)(7)
    (job,) = jobs(location)
    assert job.state == "done"


@pytest.mark.parametrize(
    ("error", "state"), [(featurestore.Conflict("somebody else"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_work_that_fails_is_recorded_so(location, error, state):
    with pytest.raises(type(error)), show_progress(location, "index") as progress:
        progress("indexing", 2)(1)
        raise error
    (job,) = jobs(location)
    assert job.state == state
