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
from featurestore.wire.question import ARROW, CSV, LINES, PARQUET
from featurestore.wire.requests import SqlRequest

# Forms that are streamed as they come, where `format` or `Accept` names them.
STREAMED = {LINES: "json", CSV: "csv", PARQUET: "parquet"}


@answers(questions.SQL)
def sql(store: FeatureStore, statement: SqlRequest) -> Response:
    """Run one SELECT. Raises BadRequest for more rows than an answer may have, where no format is named."""
    timeout = min(statement.timeout or limits.SQL_SECONDS, limits.SQL_SECONDS)
    parameters = from_json(statement.parameters)
    media = None if statement.format else responses.choose_media(ARROW, *STREAMED)
    as_arrow = media == ARROW
    form = statement.format or STREAMED.get(media or "") or ("arrow" if as_arrow and statement.stream else None)
    if form is not None:
        export.check(form)
        answer = responses.stream(store.stream(statement.sql, parameters, timeout), form, statement.max_rows)
        answer.headers["Vary"] = "Accept"
        return answer
    max_rows = limits.DEFAULT_ROWS if statement.max_rows is None else statement.max_rows
    if max_rows > limits.MOST_ROWS:
        raise BadRequest(
            f"max_rows: {max_rows} is more than {limits.MOST_ROWS:,}; give a format, and rows are streamed"
        )
    rows = store.stream(statement.sql, parameters, timeout)
    answer = responses.arrow_table(rows, max_rows) if as_arrow else responses.table(rows, max_rows)
    answer.headers["Vary"] = "Accept"
    return answer
