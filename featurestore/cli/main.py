"""The command line: each command is a method of the store, printed as a table or as JSON lines."""

from __future__ import annotations

import os

import click

import featurestore
from featurestore.cli import compare, feature, graph, lists, maintain, mcp, search, serve, sql
from featurestore.extension.commands import Group
from featurestore.extension.without_pandas import block_pandas

# Threads of torch that wait for one another should sleep, not spin: with another program on one of two cores, embedding
# 600 labels took 17 s spinning and 4 s sleeping. OpenMP reads this once, so it is set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Commands that may import whatever a model's own code needs.
RUN_MODELS = {"activating", "contrast", "serve"}

EPILOG = (
    "Start with `featurestore demo`: it builds a small store and serves it. Every command has --help with an example. "
    'Completion in bash, ids included: eval "$(_FEATURESTORE_COMPLETE=bash_source featurestore)"; zsh and fish in the '
    "same way."
)


@click.group(
    cls=Group, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(featurestore.__version__, prog_name="featurestore")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Search the features of sparse autoencoders by meaning, by geometry and by SQL."""
    if ctx.invoked_subcommand in set(main.commands) - RUN_MODELS:  # no other command uses pandas
        ctx.call_on_close(block_pandas())


for command in (
    search.search,
    search.nearest,
    search.activating,
    search.contrast,
    search.duplicates,
    search.neighbourhood,
    compare.compare,
    feature.feature,
    feature.dictionaries,
    feature.info,
    feature.structural,
    sql.sql,
    graph.graph,
    lists.list_,
    maintain.create,
    maintain.index,
    maintain.check,
    maintain.snapshot,
    maintain.compact,
    maintain.jobs,
    maintain.remove,
    maintain.migrate,
    serve.serve,
    serve.keys,
    mcp.mcp,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
