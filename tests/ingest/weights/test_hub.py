"""Fetching from a hub over HTTP on loopback: only the files of one dictionary, nothing for many, errors in one line."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

import pytest

from tests.support.published_weights import made, save, tensors

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
REPOSITORY = "google/gemma-scope-2b-pt-res"
PROGRAM = """
import json, sys
from featurestore import FeatureStoreError
from ingest import weights
for place in sys.argv[1:]:
    try:
        sae = weights.read(place)
        print(json.dumps([sae.location, sae.hook_point, sae.d_sae]))
    except FeatureStoreError as exc:
        print(json.dumps([type(exc).__name__, str(exc)]))
"""


@pytest.fixture
def hub(tmp_path):
    """A hub with one repository of two dictionaries, and the paths asked of it."""
    files = {"README.md": b"# weights"}
    for layer in (12, 13):
        w = tensors(**{name: array for name, array in made(layer).items() if name != "affine"})
        name = f"layer_{layer}/width_16k/average_l0_71/params.npz"
        files[name] = save(tmp_path / "made" / name, w).read_bytes()
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path = unquote(urlparse(self.path).path).lstrip("/")
            asked.append((self.command, path))
            if not path.removeprefix("api/models/").startswith(REPOSITORY):
                return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            if "/none" in path:
                return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            if path.startswith("api/models/"):
                siblings = [{"rfilename": name} for name in files]
                tree = [{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in files.items()]
                found = tree if "/tree/" in path else {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}
                return self.answer(200, json.dumps(found).encode())
            name = path.split("/resolve/")[1].split("/", 1)[1]
            etag = f'"{abs(hash(name)):x}"'
            return self.answer(200, files[name], {"X-Repo-Commit": COMMIT, "ETag": etag})

        def answer(self, status, body, headers=None):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_fetches_what_one_dictionary_needs(hub, tmp_path):
    endpoint, asked = hub
    good = f"hf://{REPOSITORY}//layer_12/width_16k/average_l0_71"
    places = [
        good,
        f"{good}@main",
        f"hf://{REPOSITORY}",
        f"{good}@none",
        "hf://nobody/nothing",
        f"hf://{REPOSITORY}//layer_14",
    ]
    environment = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *places], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    one, same, many, revision, repository, nothing = map(json.loads, done.stdout.splitlines())
    assert one == [good, "blocks.12.hook_resid_post", 12]
    assert same[1:] == one[1:]
    assert many[0] == "BadRequest" and "holds 2 dictionaries; name one: layer_12/width_16k/average_l0_71" in many[1]
    assert revision[0] == "NotFound" and f"{REPOSITORY} has no revision none" in revision[1]
    assert repository[0] == "NotFound" and "there is no repository nobody/nothing" in repository[1]
    assert nothing[0] == "NotFound" and "there is nothing at layer_14" in nothing[1]
    fetched = {path.split("/resolve/")[1].split("/", 1)[1] for _, path in asked if "/resolve/" in path}
    assert fetched == {"layer_12/width_16k/average_l0_71/params.npz"}
