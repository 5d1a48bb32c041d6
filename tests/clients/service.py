"""A service over a real socket, and clients of other services that run in the environment .venv-clients."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.serving import make_server

import featurestore
from featurestore.web import Settings, create_app
from tests.support import ROOT

PYTHON = ROOT / ".venv-clients" / "bin" / "python"


@contextlib.contextmanager
def serving(store: featurestore.FeatureStore, **settings: Any) -> Iterator[str]:
    """The URL at which the store is served meanwhile."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # Not waitress: its loop cannot be ended from another thread without an error in it.
    server = make_server("127.0.0.1", 0, create_app(store, Settings(**settings)), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


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
