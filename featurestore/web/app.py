"""The application: every route over one store, behind the guard, with errors as problem documents or pages."""

from __future__ import annotations

import http
import logging
import math
import os
from pathlib import Path

from flask import Flask, Response, g, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from featurestore.errors import BadRequest, FeatureStoreError, NotFound, Unavailable
from featurestore.interface import FeatureStore
from featurestore.storage.user_files import cache_root
from featurestore.store import Store
from featurestore.web import api, metrics
from featurestore.web.api.llms import create_llms
from featurestore.web.api.routes import propose_path
from featurestore.web.compat import create_compat
from featurestore.web.pages.blueprint import PAGES, create_pages, render_error
from featurestore.web.pages.docs import create_docs
from featurestore.web.responses import problem
from featurestore.web.security.guard import Guard
from featurestore.web.security.keys import VARIABLE, Keys
from featurestore.web.security.places import HiddenPlaces
from featurestore.web.settings import Settings

MAX_BODY = 10_000_000  # bytes of a request
log = logging.getLogger("featurestore.web")


def create_app(store: FeatureStore, settings: Settings | None = None) -> Flask:
    """Return the application that answers for `store`, protected as `settings` say."""
    settings = settings or Settings()
    app = _Application(
        "featurestore.web",
        root_path=str(Path(__file__).parent / "pages"),
        static_url_path="/static",
        static_folder="static",
        template_folder="templates",
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    Guard(app, store, settings, {page.endpoint: page for page in PAGES})
    app.register_blueprint(api.blueprint(store))
    app.register_blueprint(create_docs())
    app.register_blueprint(create_llms())
    for blueprint in create_compat(store, settings.compat):
        app.register_blueprint(blueprint)
    app.register_blueprint(create_pages(store))
    # What another service answers has no paths, and is not asked about each failure.
    places = HiddenPlaces(store.location, cache_root(), store.dictionaries if isinstance(store, Store) else tuple)
    app.after_request(places.hide_in)
    app.add_url_rule("/metrics", "metrics", _answer_metrics)
    app.register_error_handler(FeatureStoreError, _answer_known)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(RecursionError, _answer_nesting)
    app.register_error_handler(MemoryError, _answer_memory)
    app.register_error_handler(Exception, _answer_failure)
    return app


class _Application(Flask):
    """Flask, but whatever a route raises ends in an answer: extensions written in Rust panic beside Exception."""

    def dispatch_request(self) -> ResponseReturnValue:
        """Call the route of the request. Raises RuntimeError for a panic."""
        try:
            return super().dispatch_request()
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as exc:
            raise RuntimeError(f"{type(exc).__name__}: {exc}") from exc


def keys_of(path: str | None) -> Keys | None:
    """Return the keys of a file, else those of the environment variable $FEATURESTORE_KEYS; None without either."""
    if path:
        return Keys(path)
    return Keys(text=os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def _answer_metrics() -> Response:
    return Response(metrics.render(), content_type=metrics.CONTENT_TYPE)


def _answer_known(exc: FeatureStoreError) -> Response:
    """Answer for an error that the package raises on purpose."""
    return _answer_error(exc, exc.status)


def _answer_http(exc: HTTPException) -> Response:
    """Answer for an error of HTTP that Flask found: no such path, another method, too large a body."""
    status = exc.code or 500
    if status == 404:
        return _answer_error(NotFound(f"nothing is at {request.path}{propose_path(request.path)}"), 404)
    allowed = (exc.valid_methods if isinstance(exc, MethodNotAllowed) else None) or ()
    taken = ", ".join(sorted({*allowed} - {"HEAD", "OPTIONS"}))
    text = {
        405: f"{request.method} is not taken at {request.path}; {taken or 'no method'} is",
        413: f"the request is larger than {request.max_content_length:,} bytes",
    }.get(status, exc.description or http.HTTPStatus(status).phrase)
    answer = _answer_error(BadRequest(text), status)
    if isinstance(exc, MethodNotAllowed) and exc.valid_methods:
        answer.headers["Allow"] = ", ".join(sorted(exc.valid_methods))
    return answer


def _answer_nesting(exc: RecursionError) -> Response:
    """Answer for a request nested deeper than Python follows; what a store holds is not nested."""
    log.warning("request %s: %s %s is nested too deep", g.get("request_id"), request.method, request.path)
    return _answer_error(BadRequest("the request is nested too deep"), 400)


def _answer_memory(exc: MemoryError) -> Response:
    """Answer for a request that the machine has no memory for."""
    log.error("request %s: %s %s: no memory", g.get("request_id"), request.method, request.path, exc_info=exc)
    return _answer_error(Unavailable("the machine has no memory for this now: ask for less"), 503)


def _answer_failure(exc: Exception) -> Response:
    """Answer for an unexpected error: its traceback goes to the log, the answer shows nothing of it."""
    log.error("request %s: %s %s failed", g.get("request_id"), request.method, request.path, exc_info=exc)
    return _answer_error(FeatureStoreError("something failed inside the service; its log says what"), 500)


def _answer_error(exc: FeatureStoreError, status: int) -> Response:
    """Return a problem document for programs, a page for people."""
    if request.path.startswith("/v1") or not request.accept_mimetypes.accept_html:
        answer = problem(exc, status)
    else:
        answer = render_error(exc, status)
    if exc.retry_after is not None:
        answer.headers["Retry-After"] = str(max(1, math.ceil(exc.retry_after)))
    if status == 401:
        # A browser asks its user: the key is the password.
        answer.headers["WWW-Authenticate"] = 'Bearer, Basic realm="featurestore: the key as password"'
    return answer
