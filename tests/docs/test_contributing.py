"""CONTRIBUTING.md tells where things are: the folders and files it names exist, and no folder is missing from its
tree."""

import re

from tests.support import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
TREE = re.search(r"```\n(featurestore/\n.*?)```", TEXT, re.DOTALL)[1]


def tree_paths():
    """The paths in the drawn tree."""
    top = ""
    for line in TREE.splitlines():
        names = re.findall(r"[\w.]+(?:\.py|/)", line.split("  ", 2)[-1] if line.startswith("  ") else line)
        if not line.startswith("  "):
            top = names[0]
            yield top
        else:
            yield from (top + name for name in re.match(r"\s+((?:[\w.]+(?:\.py|/)\s?)+)", line)[1].split())


def test_every_path_of_the_tree_exists():
    paths = list(tree_paths())
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_folder_is_in_the_tree():
    paths = set(tree_paths())
    for package in ("featurestore", "ingest", "labeler"):
        folders = {f"{package}/{path.name}/" for path in (ROOT / package).iterdir() if (path / "__init__.py").exists()}
        assert folders - paths == set()
        modules = {f"{package}/{path.name}" for path in (ROOT / package).glob("[!_]*.py")}
        missing = modules - paths
        assert missing == set()


def test_every_path_of_the_table_exists():
    table = TEXT[TEXT.index("## Where do I change") : TEXT.index("## Add a format of weights")]
    paths = re.findall(r"`([\w/]+(?:\.\w+|/))`", table)
    assert len(paths) >= 20
    assert [path for path in paths if not (ROOT / path).exists()] == []
