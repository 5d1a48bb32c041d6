import pytest
from click.testing import CliRunner

from tests.tiny import write_tiny_store


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory):
    """Path of the store of tests/tiny.py; nobody writes to it."""
    path = tmp_path_factory.mktemp("stores") / "tiny.features"
    write_tiny_store(path).close()
    return path


@pytest.fixture
def invoke():
    """Runs a command in this process: invoke(main, ["search", ...]) -> result with exit_code, stdout and stderr."""
    return CliRunner().invoke
