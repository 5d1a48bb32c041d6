"""The command sql."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

import featurestore
from featurestore.errors import BadRequest
from featurestore.extension.commands import embedder_option, json_option, locations_option, store_option
from featurestore.extension.output import fit_columns, print_expanded, print_table


@click.command()
@click.argument("statement")
@click.option(
    "--param",
    "params",
    metavar="NAME=VALUE",
    multiple=True,
    help="The value of $NAME in the statement (1=... for $1 or the first ?). A number, true, false, null or a list as "
    "JSON writes them; anything else, and anything in double quotes, is text. Repeatable.",
)
@click.option(
    "--expanded/--no-expanded",
    default=None,
    help="Print one column a line. Default: when a table of all columns would not fit the terminal.",
)
@click.option("--max-rows", type=int, help="Return at most this many rows.")
@click.option("--timeout", type=float, help="Stop the query after this many seconds.")
@click.option(
    "--format",
    "form",
    metavar="FORMAT",
    help="Stream rows as json, csv, spreadsheet (CSV with ' before texts that begin with = + - @, tab or carriage "
    "return, which a spreadsheet would run as formulas), arrow or parquet, instead of printing a table.",
)
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="Write to this file instead of the terminal.")
@embedder_option
@locations_option
@store_option
@json_option
def sql(
    statement: str,
    params: tuple[str, ...],
    expanded: bool | None,
    max_rows: int | None,
    timeout: float | None,
    form: str | None,
    output: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Run one SELECT over the store's views; `featurestore sql "show tables"` lists them.

    Searches are tables in it: search(...), semantic(...), keyword(...), nearest(...), activating(...).

    Example: featurestore sql 'from features where layer = $layer limit 5' --param layer=3

    Example: featurestore sql "select f.label, h.score from semantic('errors', k := 50) h join features f using
    (dictionary, feature) where f.density < 0.01" --format csv -o errors.csv
    """
    parameters = _parse(params)
    if form is None and (as_json or output):
        form = "json" if as_json else Path(str(output)).suffix.lstrip(".")
    if form is not None:
        from featurestore.sql import export

        with featurestore.connect(store) as opened, opened.stream(statement, parameters, timeout) as batches:
            rows = export.write(batches, form, output, max_rows)
        if output:
            click.echo(f"{rows:,} rows in {output}", err=True)
        return
    from featurestore.sql.results import plain_rows

    with featurestore.connect(store) as opened:
        result = opened.sql(statement, parameters, max_rows, timeout)
    if expanded or (expanded is None and not fit_columns(result.column_names)):
        print_expanded(plain_rows(result))
    else:
        print_table(plain_rows(result), {name: name for name in result.column_names})
    if b"featurestore.truncated" in (result.schema.metadata or {}):
        click.echo(f"the first {result.num_rows:,} rows are shown; there are more", err=True)


def _parse(params: Sequence[str]) -> dict[str, Any]:
    """Return the values by name. Raises BadRequest for what is not NAME=VALUE, or a name that is given twice."""
    parameters: dict[str, Any] = {}
    for text in params:
        name, equals, value = text.partition("=")
        name = name.removeprefix("$")
        if not equals or not name:
            raise BadRequest(f"--param: '{text}' is not NAME=VALUE, as in --param layer=3")
        if name in parameters:
            raise BadRequest(f"--param: {name} is given twice")
        parameters[name] = _value(value)
    return parameters


def _value(text: str) -> Any:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text
    return text if isinstance(value, dict) else value
