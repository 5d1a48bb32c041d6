"""Shared by the tests of statistics: dense activations as the reference."""

import pytest

from tests.support import dense_tiles


@pytest.fixture(scope="session")
def dense():
    """Activations (contexts, tokens, features); tests must not change them."""
    activations = dense_tiles.make_dense()
    activations.flags.writeable = False
    return activations
