"""Runs the MCP server over a store until its client goes, or until interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

import featurestore

THREADS = 8  # tools that run at the same time


def serve_stdio(location: str, budget: int) -> None:
    """Answer one client on standard input and output. Raises ImportError without the package mcp."""
    from featurestore.mcp.server import create_server

    with _open(location) as store:
        create_server(store, budget).run("stdio")


def serve_http(
    location: str, budget: int, host: str, port: int, allow_host: tuple[str, ...] = (), keys: str | None = None
) -> None:
    """Answer at http://host:port/mcp. Raises Unavailable where nothing can listen there."""
    from featurestore import web
    from featurestore.mcp import http

    kept = web.keys_of(keys)
    if kept is None and not web.loopback(host):
        click.echo("without --keys, everybody who reaches this address can read the store and run SQL", err=True)
    web.check_port(host, port)
    with _open(location) as store:
        application = http.create_app(store, kept, web.trusted_hosts(host, allow_host), budget)
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"answering assistants at http://{shown}:{port}{http.PATH}", err=True)
        http.serve(application, host, port, THREADS)


@contextlib.contextmanager
def _open(location: str) -> Iterator[featurestore.FeatureStore]:
    with featurestore.connect(location) as store:
        if isinstance(store, featurestore.Store):  # a service keeps its visitors' SQL apart by itself
            store.isolate_sql()
        yield store
