"""Headers of answers: the fixed ones for a browser's protection, and what other sites' scripts may do (CORS)."""

from __future__ import annotations

from typing import Any

from flask import Response

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


def add_headers(application: Any) -> Any:
    """Return the WSGI application with HEADERS on every answer.

    They are added below Flask, whose checks of a header that is set would be repeated for each answer.
    """
    fixed = list(HEADERS.items())

    def answer(environ: Any, start_response: Any) -> Any:
        """Call the application; a WSGI callable."""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            """Begin the answer with the further headers."""
            return start_response(status, headers + fixed, exc_info)

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
