"""A page that is sent in two parts: what is known at once, and after PAUSE in its template what takes longer.

A browser paints the first part while the second is still computed. What goes wrong in the first part is answered as for
any page; of what goes wrong in the second, the page itself tells (`try_part`), as its status has been sent.
"""

from __future__ import annotations

import contextvars
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from flask import Response, current_app, g, request
from markupsafe import Markup

from featurestore.errors import FeatureStoreError

PAUSE = Markup("<!-- pause -->")  # never sent; a value of the store, which is escaped, cannot be this
FAILED_STATUS = 400
FAILED = "Something failed inside the service; its log says what."
Value = TypeVar("Value")
log = logging.getLogger("featurestore.web")


class PagePart(NamedTuple, Generic[Value]):
    """What a later part of a page shows: a value, or in its place why there is none."""

    value: Value | None = None
    error: str = ""


def stream_page(template: str, status: int = 200, **values: Any) -> Response:
    """Return the page of a template, in two parts where it has a PAUSE; as a whole for HEAD, which says its length."""
    current_app.update_template_context(values)
    pieces = current_app.jinja_env.get_template(template).generate(values)
    first = "".join(itertools.takewhile(lambda piece: piece != PAUSE, pieces))
    # Of what failed, paths of the machine are taken out: HiddenPlaces reads whole answers only.
    if request.method == "HEAD" or status >= FAILED_STATUS:
        return Response(first + "".join(pieces), status, mimetype="text/html")
    # The request is over for Flask when the second part is made, which reads it all the same.
    rest = _join(pieces, contextvars.copy_context())
    return Response(itertools.chain([first], rest), status, mimetype="text/html")


def try_part(compute: Callable[[], Value]) -> PagePart[Value]:
    """Return what `compute` returns; an error is logged, and what may be said of it stands in the value's place."""
    try:
        return PagePart(compute())
    except FeatureStoreError as exc:
        log.warning("request %s: a part of %s failed: %s", g.get("request_id"), request.path, exc)
        # Errors of a file name places on the disk, which answers do not show.
        return PagePart(error=FAILED if exc.status >= 500 else str(exc))
    except Exception as exc:
        log.error("request %s: a part of %s failed", g.get("request_id"), request.path, exc_info=exc)
        return PagePart(error=FAILED)


def _join(pieces: Iterator[str], context: contextvars.Context) -> Iterator[str]:
    """Yield all pieces as one, which are made in a context."""
    yield context.run("".join, pieces)
