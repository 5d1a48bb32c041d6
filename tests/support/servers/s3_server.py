"""A real S3-speaking server on loopback, with one bucket, and the environment that leads to it."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from featurestore.storage.base import Storage
from featurestore.storage.locations import storage_at


@contextlib.contextmanager
def serve_bucket(cache: Path) -> Iterator[str]:
    """Serve an empty bucket; its URL. AWS_... variables say where it is, FEATURESTORE_CACHE where `cache` is."""
    # Takes seconds to import, of each process that collects tests.
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = put_in_one_step(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        url = f"http://127.0.0.1:{server.port}"
        for name, value in environment(url).items():
            patch.setenv(name, value)
        patch.setenv("FEATURESTORE_CACHE", str(cache))
        import boto3

        boto3.client("s3", endpoint_url=url).create_bucket(Bucket="features")
        yield "s3://features"
    server.shutdown()
    server.server_close()
    thread.join()


def put_in_one_step(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Return the application with one PUT at a time.

    S3 looks for the file and writes it in one step when a PUT says "If-None-Match: *". Moto looks first and writes
    later, so that two writers could both be told that theirs is the first.
    """
    lock = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with lock if environ["REQUEST_METHOD"] == "PUT" else contextlib.nullcontext():
            return app(environ, start_response)

    return answer


def environment(url: str) -> dict[str, str]:
    """The variables that lead to a server."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }


def find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def copy_store(source: str | Path, target: str) -> Storage:
    """Copy a store, file by file; the storage of the copy."""
    there, copy = storage_at(source), storage_at(target)
    for entry in there.entries():
        copy.write(entry.name, there.read(entry.name))
    return copy
