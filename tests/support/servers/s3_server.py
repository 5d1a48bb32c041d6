"""A real S3-speaking server on loopback, with one bucket, and the environment that leads to it."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from featurestore.storage.base import Storage
from featurestore.storage.locations import storage_at


@contextlib.contextmanager
def serve_bucket(cache: Path) -> Iterator[str]:
    """Serve an empty bucket; its URL. AWS_... variables say where it is, FEATURESTORE_CACHE where `cache` is."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    port = find_free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        url = f"http://127.0.0.1:{port}"
        for name, value in environment(url).items():
            patch.setenv(name, value)
        patch.setenv("FEATURESTORE_CACHE", str(cache))
        import boto3

        boto3.client("s3", endpoint_url=url).create_bucket(Bucket="features")
        yield "s3://features"
    server.stop()


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
