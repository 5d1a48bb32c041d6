"""The command line: each command is a method of the store, printed as a table or as JSON lines."""

from __future__ import annotations

import os

import click

import featurestore
from featurestore.cli import feature, graph, maintain, search, serve, sql
from featurestore.extension.commands import Group

# Threads of torch that wait for one another should sleep, not spin: with another program on one of two cores, embedding
# 600 labels took 17 s spinning and 4 s sleeping. OpenMP reads this once, so it is set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

EPILOG = (
    "Start with `featurestore demo`: it builds a small store and serves it. Every command has --help with an example."
)


@click.group(
    cls=Group, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(featurestore.__version__, prog_name="featurestore")
def main() -> None:
    """Search the features of sparse autoencoders by meaning, by geometry and by SQL."""


for command in (
    search.search,
    search.nearest,
    search.activating,
    search.contrast,
    search.duplicates,
    search.neighbourhood,
    feature.feature,
    feature.dictionaries,
    feature.info,
    sql.sql,
    graph.graph,
    maintain.create,
    maintain.index,
    maintain.check,
    maintain.compact,
    maintain.jobs,
    maintain.remove,
    maintain.migrate,
    serve.serve,
    serve.keys,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
