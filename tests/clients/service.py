"""A service over a real socket, and clients of other services that run in the environment .venv-clients."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import featurestore
from featurestore.web import Settings, create_app
from tests.support import ROOT
from tests.support.servers import real_server

CLIENTS = ROOT / ".venv-clients"
PYTHON = CLIENTS / "bin" / "python"


@contextlib.contextmanager
def serving(store: featurestore.FeatureStore, **settings: Any) -> Iterator[str]:
    """The URL at which the store is served meanwhile."""
    with real_server.serving(create_app(store, Settings(**settings))) as address:
        yield address


def run(script: str, url: str, **environment: str) -> Any:
    """The JSON that a script prints last, run with the clients' Python; $URL is the service."""
    if not PYTHON.exists():
        pytest.skip("needs .venv-clients: make test-clients")
    done = subprocess.run(
        [str(PYTHON), "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "URL": url, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
