"""The map of a dictionary: a page that draws every feature as a point, and its data as bytes."""

from __future__ import annotations

import numpy
import pyarrow
import pyarrow.compute
from flask import Response, render_template
from flask.typing import ResponseReturnValue

from featurestore.errors import BadRequest, NotFound
from featurestore.interface import FeatureStore
from featurestore.tables.schema import columns
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.wire.limits import SQL_SECONDS
from featurestore.wire.requests import Request

STATES = ("live", "always-on", "dead", "unharvested")  # as numbers from 0 in the data
STATE = "state"
# As DuckDB names the types of columns that a number can be drawn of.
NUMERIC = ("DOUBLE", "FLOAT", "BIGINT", "INTEGER", "UBIGINT", "HUGEINT")
NOT_DRAWN = ("dictionary", "layer", "feature")
POINTS = "SELECT feature, x, y FROM map_points WHERE dictionary = $dictionary ORDER BY feature"
# The name of the column is one of those that the schema has, never what a request says.
VALUES = "SELECT feature, {column} AS value FROM features WHERE dictionary = $dictionary ORDER BY feature"


class MapFields(Request, frozen=True):
    """The fields of the page: the column that colours it, and a search whose hits are lit."""

    column: str = "density"
    text: str = ""


class MapDataFields(Request, frozen=True):
    """The field of the data: a column of the view features; without it the places."""

    column: str | None = None


def list_columns() -> list[str]:
    """Return the names of the columns of the view features that a map can be coloured by."""
    numeric = [
        column.column
        for column in columns()
        if column.relation == "features" and column.type in NUMERIC and column.column not in NOT_DRAWN
    ]
    return [STATE, *sorted(numeric)]


def show_map(store: FeatureStore, model: str, source: str) -> ResponseReturnValue:
    """Return the page of a dictionary's map. Raises NotFound where `featurestore index --map` has made none."""
    fields = read(MapFields)
    dictionary = store.dictionary(f"{model}/{source}")
    return render_template(
        "map.html",
        dictionary=dictionary,
        count=_count(store, dictionary.dictionary),
        columns=list_columns(),
        fields=fields,
    )


def show_map_data(store: FeatureStore, model: str, source: str) -> ResponseReturnValue:
    """Return the map's data as little-endian numbers: first how many points there are, an unsigned int of 32 bits.

    Then follow the features' indices (32 bits, unsigned), and their x and y (float32). With `column` only the count and
    a float32 for each point follow, NaN where the value is null; a state is its place in STATES.
    """
    column = read(MapDataFields).column
    dictionary = store.dictionary(f"{model}/{source}").dictionary
    if column is None:
        table = _read(store, POINTS, dictionary)
        if not table.num_rows:
            raise _missing(dictionary)
        parts = [_numbers(table["feature"], "<u4"), _numbers(table["x"], "<f4"), _numbers(table["y"], "<f4")]
    elif column not in list_columns():
        raise BadRequest(f"column: '{column:.80}' is not one of {', '.join(list_columns())}")
    else:
        table = _read(store, VALUES.format(column=column), dictionary)
        values = table["value"].combine_chunks()
        if column == STATE:
            values = pyarrow.compute.index_in(values, pyarrow.array(STATES))
        parts = [_numbers(values, "<f4")]
    content = b"".join([numpy.array([table.num_rows], "<u4").tobytes(), *(part.tobytes() for part in parts)])
    return Response(content, mimetype="application/octet-stream")


def _numbers(values: pyarrow.Array | pyarrow.ChunkedArray, dtype: str) -> numpy.ndarray:
    """Return values as numbers; null is NaN."""
    if isinstance(values, pyarrow.ChunkedArray):
        values = values.combine_chunks()
    array: numpy.ndarray = values.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
    return array.astype(dtype)


def _read(store: FeatureStore, statement: str, dictionary: str) -> pyarrow.Table:
    with store.stream(statement, {"dictionary": dictionary}, timeout=SQL_SECONDS) as rows:
        return rows.to_arrow()


def _count(store: FeatureStore, dictionary: str) -> int:
    statement = "SELECT count(*) AS n FROM map_points WHERE dictionary = $dictionary"
    count: int = store.sql(statement, {"dictionary": dictionary}, timeout=SQL_SECONDS).to_pylist()[0]["n"]
    if not count:
        raise _missing(dictionary)
    return count


def _missing(dictionary: str) -> NotFound:
    return NotFound(f"{dictionary} has no map yet: `featurestore index --map` makes one of each dictionary")


PAGES = (
    Page("/map/<model>/<source>", show_map, lane="search"),
    Page("/map/<model>/<source>/data", show_map_data, lane="search"),
)
