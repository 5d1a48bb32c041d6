"""The commands for running a service: serve, and the keys that it asks for."""

from __future__ import annotations

from typing import Any

import click

from featurestore.extension.commands import embedder_option, json_option, locations_option, store_option
from featurestore.extension.output import print_json_lines, print_table


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port to listen on.")
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Requests that one process answers at the same time.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Number of processes, each with --threads threads; SIGHUP replaces them in turn.",
)
@click.option(
    "--keys",
    metavar="FILE",
    help="Require a key from this file (`featurestore keys`). Also taken from $FEATURESTORE_KEYS.",
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="Accept this Host header. Repeatable.")
@click.option("--cors-origin", multiple=True, metavar="ORIGIN", help="Let pages of this site read answers. Repeatable.")
@click.option(
    "--frame-ancestors",
    multiple=True,
    metavar="ORIGIN",
    help="Let pages of this site show features' pages in frames, with ?embed=true: notebooks, blogs. Repeatable.",
)
@click.option(
    "--allow-writes",
    is_flag=True,
    help="Allow writing labels, votes and graphs and starting jobs: for keys with the scope write, or, on the "
    "loopback address without --keys, for everybody on this machine.",
)
@click.option(
    "--compat",
    multiple=True,
    metavar="NAME",
    help="Answer the requests of other clients too: neuronpedia and goodfire (under /api), graphs (front ends of "
    "attribution graphs). Repeatable.",
)
@click.option("--access-log", metavar="FILE", help="Write a JSON line for each request to FILE; - is standard error.")
@embedder_option
@locations_option
@store_option
def serve(store: str, **options: Any) -> None:
    """Serve the store over HTTP: JSON under /v1, pages for a browser at /, the API's description at /docs.

    Example: featurestore serve --store demo.features --port 8000
    """
    from featurestore.extension.serving import serve_store

    serve_store(store, **options)


keys_option = click.option("--keys", default="keys.json", show_default=True, metavar="FILE", help="The file of keys.")


@click.group()
def keys() -> None:
    """Create, list and revoke keys for a service.

    Example: featurestore keys create alice --keys keys.json --scope read --scope sql
    """


@keys.command()
@click.argument("name")
@keys_option
@click.option("--scope", multiple=True, default=("read",), show_default=True, help="read, sql or write. Repeatable.")
@click.option("--rate", type=click.FloatRange(0.01), default=50.0, show_default=True, help="Requests a second.")
@click.option("--at-once", type=click.IntRange(1), default=16, show_default=True, help="Requests at the same time.")
def create(name: str, keys: str, scope: tuple[str, ...], rate: float, at_once: int) -> None:
    """Create a key for NAME and print it. It is shown only once; the file keeps its hash.

    Example: featurestore keys create alice --scope read --scope sql
    """
    from featurestore.web.security import keys as kept

    click.echo(kept.create(keys, name, scope, rate, at_once))


@keys.command("list")
@keys_option
@json_option
def list_(keys: str, as_json: bool) -> None:
    """List the keys of the file, without their secrets.

    Example: featurestore keys list --keys keys.json
    """
    from featurestore.web.security import keys as kept

    rows = [
        {"id": key.id, "name": key.name, "scopes": ", ".join(key.scopes), "rate": key.rate, "at_once": key.at_once}
        for key in kept.list_keys(keys)
    ]
    print_json_lines(rows) if as_json else print_table(rows)


@keys.command()
@click.argument("id")
@keys_option
def revoke(id: str, keys: str) -> None:
    """Revoke a key: services that use the file refuse it from the next request on.

    Example: featurestore keys revoke 1a2b3c4d
    """
    from featurestore.web.security import keys as kept

    click.echo(f"revoked the key of {kept.revoke(keys, id).name}")
