"""The store of ruled features, written once a module, and copies of it to write to."""

import contextlib
import shutil

import pytest

import featurestore
from tests.support import ruled_store


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    """Path of a store with labels and its indexes; nobody writes to it."""
    path = tmp_path_factory.mktemp("ruled") / "s"
    with ruled_store.write(path) as made:
        made.index()
    return path


@pytest.fixture
def fresh(pattern, tmp_path):
    """Makes copies of it."""
    with contextlib.ExitStack() as opened:
        yield lambda name: opened.enter_context(featurestore.connect(shutil.copytree(pattern, tmp_path / name)))


@pytest.fixture
def store(fresh):
    return fresh("s")
