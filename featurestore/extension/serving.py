"""Serves a store over HTTP until interrupted, for `featurestore serve` and for packages that end with a service."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import tempfile
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

import featurestore

if TYPE_CHECKING:
    from featurestore import web

log = logging.getLogger("featurestore.web")


def check_port(host: str, port: int) -> None:
    """Raise Unavailable when this address cannot be listened on, or Flask is not installed."""
    _import_web().check_port(host, port)


def serve_store(
    store: str,
    host: str,
    port: int,
    threads: int = 8,
    workers: int | None = None,
    keys: str | None = None,
    allow_host: tuple[str, ...] = (),
    cors_origin: tuple[str, ...] = (),
    access_log: str | None = None,
    allow_writes: bool = False,
    compat: tuple[str, ...] = (),
    frame_ancestors: tuple[str, ...] = (),
) -> None:
    """Serve a store until interrupted; the parameters are the options of `featurestore serve`.

    Raises Unavailable when Flask is not installed or the port is taken, NotFound when the file of keys does not exist,
    and BadRequest when anyone on the network could write.
    """
    with contextlib.ExitStack() as stack:
        if workers:
            # Several processes share their counters through a folder, which must be set before any counter is made.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="featurestore-metrics-"))
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        web = _import_web()
        settings = web.Settings(
            keys=web.keys_of(keys),
            hosts=web.trusted_hosts(host, allow_host),
            origins=frozenset(cors_origin),
            threads=threads,
            writes=allow_writes,
            compat=frozenset(compat),
            frame_ancestors=web.check_ancestors(frame_ancestors),
            access_log=web.AccessLog(access_log) if access_log else None,
        )
        if allow_writes and settings.keys is None and not web.loopback(host):
            raise featurestore.BadRequest(
                f"--allow-writes: everybody who reaches {host} could write labels; name --keys, or listen on loopback"
            )
        if settings.keys is None and not web.loopback(host):
            click.echo("without --keys, everybody who reaches this address can read the store and run SQL", err=True)
        if workers:
            # A store that cannot be opened fails here once, and not in every worker.
            featurestore.connect(store).close()
            web.serve_workers(lambda listening: _serve_one(store, settings, listening), host, port, workers, store)
        else:
            web.check_port(host, port)
            _serve_one(store, settings, host=host, port=port)


def _import_web() -> ModuleType:
    try:
        from featurestore import web
    except ImportError as exc:
        raise featurestore.Unavailable(f"serving needs {exc.name}: pip install 'featurestore[serve]'") from None
    return web


def _serve_one(store: str, settings: web.Settings, listening: Any = None, **address: Any) -> None:
    from featurestore import web

    with featurestore.connect(store) as opened:
        if isinstance(opened, featurestore.Store):  # a service in front of another service leaves that to it
            opened.isolate_sql()
        # The first search loads an embedder, which takes seconds: it is done before the first request.
        warming = threading.Thread(target=_warm, args=(opened,))
        warming.start()
        try:
            web.serve(opened, threads=settings.threads, settings=settings, listening=listening, **address)
        finally:
            warming.join()  # a thread inside torch must not outlive the interpreter
            gc.unfreeze()  # otherwise duckdb reports leaked objects at exit


def _warm(store: featurestore.FeatureStore) -> None:
    try:
        store.search("warm", k=1)
    except featurestore.FeatureStoreError:
        pass  # the first request gets the error
    except Exception:
        log.exception("warming up failed: the first search will do it")
    # Objects that exist by now stay for good: the garbage collector need not traverse them for each answer's garbage.
    gc.collect()
    gc.freeze()
    # A full collection runs when new objects are a quarter of the old ones. There are few old ones now, so that closed
    # snapshots are freed soon.
    gc.collect()
