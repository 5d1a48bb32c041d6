"""Processes of our own Python run no code of the directory in which they are started."""

import subprocess

from featurestore.storage.python_process import start_python


def test_the_current_directory_has_no_say(tmp_path, monkeypatch):
    (tmp_path / "this.py").write_text("print('from here')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('from here')")
    monkeypatch.chdir(tmp_path)
    process = start_python("numpy", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, errors = process.communicate()
    assert b"No module named numpy.__main__" in errors, "the installed package was found"
    process = start_python("this", stdout=subprocess.PIPE)
    assert b"from here" not in process.communicate()[0]


def test_modules_that_this_process_finds_are_found(tmp_path, monkeypatch):
    (tmp_path / "lent_to_a_process.py").write_text("import sys; print(sys.argv[1:])")
    monkeypatch.syspath_prepend(tmp_path)
    process = start_python("lent_to_a_process", "a", "b", stdout=subprocess.PIPE)
    assert process.communicate()[0] == b"['a', 'b']\n"
