"""Headers of answers: the fixed ones for a browser's protection, and what other sites' scripts may do (CORS)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from flask import Response

from featurestore.errors import BadRequest

# Every answer has these, also those that Flask makes by itself.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer, with which browsers send our own forms with `Origin: null`. Other sites learn nothing either way.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
CORS_SECONDS = "600"
# In the environ of a request, where its answer may be shown in frames.
EMBEDDED = "featurestore.embedded"
FRAMED = re.compile(
    r"'self'|https?://(\*\.)?[A-Za-z0-9.-]+(:([0-9]{1,5}|\*))?|https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?|[a-z][a-z0-9+.-]*:"
)


def check_ancestors(origins: Iterable[str]) -> frozenset[str]:
    """Return the sites that may show pages in frames. Raises BadRequest for what is no origin."""
    for origin in origins:
        if FRAMED.fullmatch(origin) is None:
            raise BadRequest(
                f"--frame-ancestors: '{origin}' is no origin: write scheme, host and port, as in https://example.org "
                "or http://localhost:8888, without a path"
            )
    return frozenset(origins)


def add_headers(application: Any, ancestors: frozenset[str] = frozenset()) -> Any:
    """Return the WSGI application with HEADERS on every answer.

    They are added below Flask, whose checks of a header that is set would be repeated for each answer. Answers that are
    EMBEDDED may stand in frames of the sites `ancestors`.
    """
    fixed = list(HEADERS.items())
    policy = HEADERS["Content-Security-Policy"].replace(
        "frame-ancestors 'none'", f"frame-ancestors {' '.join(sorted(ancestors))}"
    )
    # X-Frame-Options has no form that names sites.
    kept = {name: value for name, value in HEADERS.items() if name != "X-Frame-Options"}
    framed = list((kept | {"Content-Security-Policy": policy}).items()) if ancestors else fixed

    def answer(environ: Any, start_response: Any) -> Any:
        """Call the application; a WSGI callable."""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            """Begin the answer with the further headers."""
            return start_response(status, headers + (framed if environ.get(EMBEDDED) else fixed), exc_info)

        return application(environ, start)

    return answer


def answer_preflight() -> Response:
    """Return what a browser needs to know before it lets another site's script send a request."""
    answer = Response(status=204)
    answer.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, DELETE, OPTIONS"
    answer.headers["Access-Control-Allow-Headers"] = (
        "Authorization, Content-Type, Accept, If-None-Match, X-Request-Id, X-Api-Key, Range"
    )
    answer.headers["Access-Control-Max-Age"] = CORS_SECONDS
    return answer


def allow_origin(answer: Response, origin: str) -> None:
    """Let the scripts of another site read the answer."""
    answer.headers["Access-Control-Allow-Origin"] = origin
    answer.headers["Access-Control-Expose-Headers"] = (
        "ETag, Retry-After, X-Request-Id, Accept-Ranges, Content-Length, Content-Range"
    )


def add_vary(answer: Response, names: list[str]) -> None:
    """Add names of request headers to Vary, each once."""
    if names:
        # Flask's own set of names parses and writes the header for each name.
        present = [name.strip() for name in answer.headers.get("Vary", "").split(",") if name]
        answer.headers["Vary"] = ", ".join(dict.fromkeys([*present, *names]))
