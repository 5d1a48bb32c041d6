"""The commands of whoever runs a service: serve, and keys for those who may ask it."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import tempfile
import threading
from typing import Any

import click

import featurestore
from featurestore.extension.commands import json_option, store_option
from featurestore.extension.output import print_json_lines, print_table

log = logging.getLogger("featurestore.web")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port to listen on.")
@click.option("--threads", type=click.IntRange(1, 256), default=8, show_default=True, help="Requests served at once.")
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes, of --threads threads each; SIGHUP replaces them in turn."
)
@click.option(
    "--keys", metavar="FILE", help="Ask for keys of this file (`featurestore keys`). Also $FEATURESTORE_KEYS."
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="Answer for this Host header. Repeatable.")
@click.option("--cors-origin", multiple=True, metavar="ORIGIN", help="Let this site's pages read answers. Repeatable.")
@click.option(
    "--allow-writes",
    is_flag=True,
    help="Take labels, graphs and maintenance: from keys with the scope write, or from everybody here.",
)
@click.option("--access-log", metavar="FILE", help="A JSON line for each request to FILE, or - for standard error.")
@store_option
def serve(store: str, **options: Any) -> None:
    """Serve the store over HTTP: JSON under /v1, pages for a browser at /, the API's description at /docs.

    Example: featurestore serve --store demo.features --port 8000
    """
    serve_store(store, **options)


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
) -> None:
    """Serve until interrupted.

    Raises Unavailable when Flask or the port is not to be had, NotFound without the keys, BadRequest where strangers could write.
    """
    with contextlib.ExitStack() as stack:
        if workers:
            # Counters of several processes meet in a folder, which has to be known before they are made.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="featurestore-metrics-"))
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        try:
            from featurestore import web
        except ImportError as exc:
            raise featurestore.Unavailable(f"serving needs {exc.name}: pip install 'featurestore[serve]'") from None
        settings = web.Settings(
            keys=web.keys_of(keys),
            hosts=web.trusted_hosts(host, allow_host),
            origins=frozenset(cors_origin),
            threads=threads,
            writes=allow_writes,
            access_log=web.AccessLog(access_log) if access_log else None,
        )
        if allow_writes and settings.keys is None and not web.loopback(host):
            raise featurestore.BadRequest(
                f"--allow-writes: everybody who reaches {host} could write labels; name --keys, or listen on loopback"
            )
        if settings.keys is None and not web.loopback(host):
            click.echo("without --keys, everybody who reaches this address can read the store and run SQL", err=True)
        if workers:
            featurestore.connect(store).close()  # a store that cannot be opened is told once, here
            web.serve_workers(lambda listening: _serve_one(store, settings, listening), host, port, workers, store)
        else:
            web.check_port(host, port)
            _serve_one(store, settings, host=host, port=port)


def _serve_one(store: str, settings: Any, listening: Any = None, **address: Any) -> None:
    from featurestore import web

    with featurestore.connect(store) as opened:
        if hasattr(opened, "isolate_sql"):  # a service of a service leaves that to the one behind it
            opened.isolate_sql()
        # The first search loads an embedder, which takes seconds: better before anybody waits for it.
        warming = threading.Thread(target=_warm, args=(opened,))
        warming.start()
        try:
            web.serve(opened, threads=settings.threads, settings=settings, listening=listening, **address)
        finally:
            warming.join()  # a thread inside torch must not outlive the interpreter
            gc.unfreeze()  # else duckdb tells at the end of objects that leaked


def _warm(store: featurestore.FeatureStore) -> None:
    try:
        store.search("warm", k=1)
    except featurestore.FeatureStoreError:
        pass  # whoever asks will be told
    except Exception:
        log.exception("warming up failed: the first search will do it")
    # What is there by now stays: the collector need not look through it for what an answer left behind.
    gc.collect()
    gc.freeze()
    # It looks at everything when what is new is a quarter of what is old: of little, then, and so old snapshots go soon.
    gc.collect()


keys_option = click.option("--keys", default="keys.json", show_default=True, metavar="FILE", help="The file of keys.")


@click.group()
def keys() -> None:
    """Make, list and revoke the keys that a service asks for.

    Example: featurestore keys create alice --keys keys.json --scope read --scope sql
    """


@keys.command()
@click.argument("name")
@keys_option
@click.option("--scope", multiple=True, default=("read",), show_default=True, help="read, sql or write. Repeatable.")
@click.option("--rate", type=click.FloatRange(0.01), default=50.0, show_default=True, help="Requests a second.")
@click.option("--at-once", type=click.IntRange(1), default=16, show_default=True, help="Requests under way at once.")
def create(name: str, keys: str, scope: tuple[str, ...], rate: float, at_once: int) -> None:
    """Make a key for NAME and print it: it is shown this once, and only its hash is kept.

    Example: featurestore keys create alice --scope read --scope sql
    """
    from featurestore.web.security import keys as kept

    click.echo(kept.create(keys, name, scope, rate, at_once))


@keys.command("list")
@keys_option
@json_option
def list_(keys: str, as_json: bool) -> None:
    """The keys of the file, without their secrets.

    Example: featurestore keys list --keys keys.json
    """
    from featurestore.web.security import keys as kept

    rows = [
        {"id": key.id, "name": key.name, "scopes": ", ".join(key.scopes), "rate": key.rate, "at_once": key.at_once}
        for key in kept.listed(keys)
    ]
    print_json_lines(rows) if as_json else print_table(rows)


@keys.command()
@click.argument("id")
@keys_option
def revoke(id: str, keys: str) -> None:
    """Take a key back: services that use the file refuse it from the next request on.

    Example: featurestore keys revoke 1a2b3c4d
    """
    from featurestore.web.security import keys as kept

    click.echo(f"revoked the key of {kept.revoke(keys, id).name}")
