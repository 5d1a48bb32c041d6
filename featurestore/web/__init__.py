"""The service: a Flask application over any FeatureStore, JSON under /v1 and pages for a browser."""

from __future__ import annotations

import http
import logging

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from featurestore.errors import BadRequest, FeatureStoreError, NotFound
from featurestore.interface import FeatureStore
from featurestore.web import describe, draw, pages
from featurestore.web.api import ROUTES
from featurestore.web.reply import problem
from featurestore.web.server import check_port, serve

__all__ = ["check_port", "create_app", "serve"]

MAX_BODY = 10_000_000  # bytes of a request
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
log = logging.getLogger("featurestore.web")


def create_app(store: FeatureStore) -> Flask:
    """The application that answers for `store`."""
    app = Flask("featurestore.web", root_path=__path__[0], static_url_path="/static", static_folder="static")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals["draw"] = draw
    families = [make(store) for make in ROUTES] + [describe.health(store)]
    for family in families:
        app.register_blueprint(family.blueprint)
    app.register_blueprint(describe.documents([one for family in families for one in family.operations]))
    app.register_blueprint(pages.blueprint(store))

    @app.errorhandler(FeatureStoreError)
    def refused(exc: FeatureStoreError) -> Response:
        return _error(exc, exc.status)

    @app.errorhandler(HTTPException)
    def misdirected(exc: HTTPException) -> Response:
        status = exc.code or 500
        if status == 404:
            return _error(NotFound(f"nothing is at {request.path}"), 404)
        text = {
            405: f"{request.method} is not taken at {request.path}",
            413: f"the request is larger than {MAX_BODY:,} bytes",
        }.get(status, exc.description or http.HTTPStatus(status).phrase)
        answer = _error(BadRequest(text), status)
        if isinstance(exc, MethodNotAllowed) and exc.valid_methods:
            answer.headers["Allow"] = ", ".join(sorted(exc.valid_methods))
        return answer

    @app.errorhandler(Exception)
    def failed(exc: Exception) -> Response:
        log.exception("%s %s failed", request.method, request.path)
        return _error(FeatureStoreError("something failed inside the service; its log says what"), 500)

    @app.after_request
    def secured(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return app


def _error(exc: FeatureStoreError, status: int) -> Response:
    """A problem document for programs, a page for people."""
    if request.path.startswith("/v1") or not request.accept_mimetypes.accept_html:
        return problem(exc, status)
    return pages.error_page(exc, status)
