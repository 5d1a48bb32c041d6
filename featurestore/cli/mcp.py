"""The command that lets assistants ask the store."""

from __future__ import annotations

import click

import featurestore
from featurestore.extension.commands import locations_option, store_option


@click.command()
@click.argument("url", required=False)
@click.option(
    "--transport",
    type=click.Choice(["stdio", "http"]),
    default="stdio",
    show_default=True,
    help="stdio: the assistant starts this command. http: streamable HTTP, at /mcp of --host and --port.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on, with --transport http.")
@click.option("--port", type=click.IntRange(1, 65535), default=8001, show_default=True, help="Port to listen on.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Accept this Host header. Repeatable.")
@click.option(
    "--keys",
    metavar="FILE",
    help="Over HTTP, require a key from this file (`featurestore keys`). Also taken from $FEATURESTORE_KEYS.",
)
@click.option(
    "--budget", type=int, default=2000, show_default=True, help="Tokens of an answer; a call may name another number."
)
@locations_option
@store_option
def mcp(
    url: str | None,
    store: str,
    transport: str,
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    keys: str | None,
    budget: int,
) -> None:
    """Let an assistant ask the store, by the Model Context Protocol: tools that read, and nothing that writes.

    The tools are search, nearest, feature, activating, contrast, compare, sql, dictionaries and graph. URL is that of a
    service, as --store may be too; its key is taken from $FEATURESTORE_KEY, its limits hold, and what it refuses is an
    error of the tool.

    Example: featurestore mcp --store demo.features
    """
    from featurestore.extension.assistants import serve_http, serve_stdio

    given = click.get_current_context().get_parameter_source("store")
    if url is not None and given == click.core.ParameterSource.COMMANDLINE:
        raise featurestore.BadRequest("give the URL or --store, not both")
    store = url or store
    try:
        if transport == "stdio":
            serve_stdio(store, budget)
        else:
            serve_http(store, budget, host, port, allow_host, keys)
    except ImportError as exc:
        raise featurestore.Unavailable(f"this needs {exc.name}: pip install 'featurestore[mcp]'") from None
