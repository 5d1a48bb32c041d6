"""`featurestore demo`: build the demo store and serve it."""

from __future__ import annotations

import time
from pathlib import Path

import click


@click.command()
@click.option(
    "--store",
    default="demo.features",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Directory of the store.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port to listen on.")
@click.option("--no-serve", is_flag=True, help="Only build the store.")
@click.option(
    "--tokens", type=click.IntRange(1000), default=320_000, show_default=True, help="Number of tokens to harvest over."
)
def demo(store: Path, host: str, port: int, no_serve: bool, tokens: int) -> None:
    """Build a small store of a real model and serve it, without network or key.

    A second run reuses the store. Example: featurestore demo --port 8080
    """
    from featurestore.extension.serving import check_port, serve_store
    from featurestore_demo.build import build, show

    if not no_serve:
        check_port(host, port)  # before a minute is spent on building
    if not (store / "store.json").exists():
        click.echo(f"building {store}: takes some three minutes on two idle cores, and 110 MB of disk")
    began, began_work = time.monotonic(), time.process_time()
    for line in build(store, tokens):
        click.echo(line)
    seconds, work = time.monotonic() - began, time.process_time() - began_work
    size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    click.echo(f"ready after {seconds:.0f} s ({work:.0f} s of processor time); {store} takes {size / 1e6:.0f} MB")
    show(store)
    if not no_serve:
        serve_store(str(store), host, port)
