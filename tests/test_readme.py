"""What the README promises: its Python runs, its files are there, its commands are commands."""

import re
from pathlib import Path

import pytest

from demo import build
from featurestore.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def demo_features(tmp_path_factory):
    path = tmp_path_factory.mktemp("readme") / "demo.features"
    build.build(path, tokens=25_000)
    return path


def test_the_python_runs(demo_features, monkeypatch, capsys):
    monkeypatch.chdir(demo_features.parent)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) >= 6
    assert re.match(r"\d\.\d\d  pystdlib/\S+/\d+  ", shown[0])


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_commands_are_commands(invoke):
    used = set(re.findall(r"^(?:\$ )?featurestore (\w+)", README, re.M))
    assert {"harvest", "label", "serve", "search"} <= used
    assert used <= set(main.list_commands(None))
