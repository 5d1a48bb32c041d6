"""What every request passes on its way in and out: its id, host, origin, key, quota and lane; then headers, log and metrics."""

from __future__ import annotations

import base64
import binascii
import datetime
import functools
import re
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, current_app, g, request

from featurestore.errors import BadRequest, Forbidden
from featurestore.interface import FeatureStore
from featurestore.web import metrics, travel
from featurestore.web.logs import Line, request_id
from featurestore.web.security.limits import Lanes, Quotas
from featurestore.web.serving import dispatch
from featurestore.web.settings import Settings
from featurestore.wire.question import Question

# Every answer has these, whoever makes it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Pages are no operations. Without fields they are forms, which cost nothing.
PAGE_LANES = {
    "pages.home": ("read", "search"),
    "pages.dictionary": ("read", "search"),
    "pages.text_page": ("read", "activating"),
    "pages.sql": ("sql", "sql"),
}
# Forms that write: a browser fills them in for its user, so only our own pages may send them.
FORMS = {"pages.label"}
# What anybody may see: what the service is, not what it holds.
OPEN = {"static", "documents.openapi", "documents.docs"}
CORS_SECONDS = "600"


class Guard:
    """The checks of one application."""

    def __init__(self, app: Flask, store: FeatureStore, settings: Settings):
        self._store = store
        self._settings = settings
        self._lanes = Lanes(settings.threads)
        self._quotas = Quotas()
        app.wsgi_app = _with_headers(app.wsgi_app)  # type: ignore[method-assign]
        app.before_request(self._came)
        app.after_request(self._goes)
        app.teardown_request(self._went)

    def _came(self) -> Response | None:
        g.began = time.perf_counter()
        g.request_id = request_id(request.headers.get("X-Request-Id"))
        g.leave = []
        metrics.began()
        g.leave.append(metrics.ended)
        self._check_host()
        origin = self._check_origin()
        if request.method == "OPTIONS":
            return _preflight() if origin else None
        operation = _operation()
        scope, lane = _needs(operation)
        if operation is not None and operation.most_bytes is not None:
            request.max_content_length = operation.most_bytes
        if scope == "write":
            self._check_write()
        g.may_write = self._settings.writes
        if self._settings.keys is not None and scope:
            key = self._settings.keys.check(_key_given(), scope)
            g.key = key.name
            g.may_write = g.may_write and "write" in key.scopes
            g.leave.append(self._quotas.enter(key))
        unchanged = self._unchanged(operation)
        if unchanged is None and lane != "light":
            dispatch.aside()
            g.leave.append(self._lanes.enter(lane))
        return unchanged

    def _check_host(self) -> None:
        trusted = self._settings.hosts
        if trusted is None:
            return
        if _host_of(request.headers.get("Host", "")) not in trusted:
            host = request.headers.get("Host")
            raise Forbidden(
                f"this service does not answer for the host {host!r:.80}: `serve --allow-host` names others"
            )

    def _check_origin(self) -> str | None:
        """The other site that the request comes from, if its scripts may read answers. Raises Forbidden where they
        may not and the request does more than look."""
        origin = request.headers.get("Origin")
        if origin is None or origin.partition("://")[2] == request.headers.get("Host"):
            return None
        if origin in self._settings.origins:
            g.origin = origin
            return origin
        if request.method not in ("GET", "HEAD"):
            raise Forbidden(f"pages of {origin!r:.80} may not ask here: `serve --cors-origin` names those that may")
        return None

    def _check_write(self) -> None:
        """Raises Forbidden where nothing may be written, or where another site's page could have sent this."""
        if not self._settings.writes:
            raise Forbidden("nothing can be written here: `featurestore serve --allow-writes` takes it")
        if request.endpoint in FORMS:
            origin = request.headers.get("Origin")
            if origin is None or origin.partition("://")[2] != request.headers.get("Host"):
                raise Forbidden("a form is taken from this service's own pages; programs write to /v1/labels")
        elif request.method != "DELETE" and request.mimetype != "application/json":
            # Other types can be sent by any site's form, unasked.
            raise BadRequest("Content-Type: what is written is sent as application/json")

    def _unchanged(self, operation: Question[Any, Any] | None) -> Response | None:
        """304 where the reader has this answer already."""
        if operation is None or not operation.tagged:
            return None
        version = getattr(self._store, "version", None)
        if version is None:
            return None
        g.tag = travel.tag(version)
        return Response(status=304) if request.if_none_match.contains_weak(g.tag) else None

    def _goes(self, answer: Response) -> Response:
        headers = answer.headers
        headers["X-Request-Id"] = g.request_id
        varies = []
        if "tag" in g and answer.status_code in (200, 304):
            headers["ETag"] = f'W/"{g.tag}"'
            headers["Cache-Control"] = "private, no-cache"
            varies.append("Accept")
        elif request.endpoint != "static":
            headers.setdefault("Cache-Control", "no-store")
        if "origin" in g:
            headers["Access-Control-Allow-Origin"] = g.origin
            headers["Access-Control-Expose-Headers"] = "ETag, Retry-After, X-Request-Id"
        if self._settings.origins:
            varies.append("Origin")
        if travel.compress(answer):
            varies.append("Accept-Encoding")
        if varies:
            # Flask's own set of names parses and writes the header for each.
            said = [name.strip() for name in headers.get("Vary", "").split(",") if name]
            headers["Vary"] = ", ".join(dict.fromkeys([*said, *varies]))
        seconds = time.perf_counter() - g.began
        metrics.answered(request.url_rule.rule if request.url_rule else "other", answer.status_code, seconds)
        self._log(answer, seconds)
        if answer.is_streamed and not answer.direct_passthrough and g.leave:
            # The turn ends with the last row, not with the first.
            left, g.leave = g.leave, []
            answer.call_on_close(lambda: _all(left))
        return answer

    def _log(self, answer: Response, seconds: float) -> None:
        if self._settings.access_log is None:
            return
        self._settings.access_log.write(
            Line(
                time=datetime.datetime.now(datetime.UTC),
                request=g.request_id,
                method=request.method,
                path=request.path,
                status=answer.status_code,
                ms=round(seconds * 1000, 2),
                bytes=None if answer.is_streamed else answer.content_length,
                key=g.get("key"),
                remote=request.remote_addr,
            )
        )

    def _went(self, exc: BaseException | None) -> None:
        left, g.leave = g.get("leave", []), []
        _all(left)


def _with_headers(application: Any) -> Any:
    """The WSGI application, with HEADERS: said once for each answer, past the checks that Flask's own setting of a header does."""
    fixed = list(HEADERS.items())

    def answered(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, headers + fixed, exc_info)

        return application(environ, start)

    return answered


@functools.lru_cache(256)
def _host_of(header: str) -> str:
    """The name in a Host header, without its port; nothing where it is no such thing."""
    found = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](:[0-9]+)?|([A-Za-z0-9._-]+)(:[0-9]+)?", header)
    return (found[1] or found[3]).lower() if found else ""


def _operation() -> Question[Any, Any] | None:
    """What the request asks for, where that is no page."""
    question: Question[Any, Any] | None = getattr(
        current_app.view_functions.get(request.endpoint or ""), "question", None
    )
    return question


def _needs(operation: Question[Any, Any] | None) -> tuple[str, str]:
    """The scope and the lane of the request; no scope where anybody may ask."""
    endpoint = request.endpoint
    if endpoint is None or endpoint in OPEN:
        return "", "light"  # nothing is there; nothing is told
    if endpoint in FORMS:
        return "write", "write"
    if operation is not None:
        return operation.scope, operation.lane
    asks = any(value for _, value in request.args.items(multi=True))
    if endpoint in PAGE_LANES and (asks or endpoint == "pages.dictionary"):
        return PAGE_LANES[endpoint]
    return "read", "light"


def _key_given() -> str | None:
    """The key of `Authorization`: a bearer token, or the password a browser asked its user for."""
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return given.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def _preflight() -> Response:
    answer = Response(status=204)
    answer.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, DELETE, OPTIONS"
    answer.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, Accept, If-None-Match, X-Request-Id"
    answer.headers["Access-Control-Max-Age"] = CORS_SECONDS
    return answer


def _all(calls: list[Callable[[], Any]]) -> None:
    for call in calls:
        call()
