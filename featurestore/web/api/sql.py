"""/v1/sql: rows of a statement as JSON, or in other forms as they come."""

from __future__ import annotations

from flask import Response

from featurestore.errors import BadRequest
from featurestore.interface import FeatureStore
from featurestore.sql import export
from featurestore.values.parameters import from_json
from featurestore.web import responses
from featurestore.web.api.routes import answers
from featurestore.wire import limits, questions
from featurestore.wire.question import ARROW
from featurestore.wire.requests import SqlRequest

# Forms that are streamed as they come where `Accept` names them; Arrow's are only with `stream`.
STREAMED = {responses.MIME[form]: form for form in ("json", "csv", "parquet")}


@answers(questions.SQL)
def sql(store: FeatureStore, statement: SqlRequest) -> Response:
    """Run one SELECT. Raises BadRequest for more rows or seconds than an answer may have."""
    answer = _run(store, statement)
    answer.headers["Vary"] = "Accept"
    return answer


def _run(store: FeatureStore, statement: SqlRequest) -> Response:
    timeout = limits.SQL_SECONDS if statement.timeout is None else statement.timeout
    if not timeout <= limits.SQL_SECONDS:
        raise BadRequest(
            f"timeout: {timeout:g} s is more than the {limits.SQL_SECONDS:g} s that a service gives a statement"
        )
    parameters = from_json(statement.parameters)
    media = None if statement.format else responses.choose_media(ARROW, *STREAMED)
    as_arrow = media == ARROW
    form = statement.format or STREAMED.get(media or "") or ("arrow" if as_arrow and statement.stream else None)
    if form is not None:
        export.check(form)
        return responses.stream(store.stream(statement.sql, parameters, timeout), form, statement.max_rows)
    max_rows = limits.DEFAULT_ROWS if statement.max_rows is None else statement.max_rows
    if max_rows > limits.MOST_ROWS:
        raise BadRequest(
            f"max_rows: {max_rows} is more than {limits.MOST_ROWS:,}; give a format, and rows are streamed"
        )
    rows = store.stream(statement.sql, parameters, timeout)
    return responses.arrow_table(rows, max_rows) if as_arrow else responses.table(rows, max_rows)
