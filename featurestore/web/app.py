"""The service: a Flask application over any FeatureStore, JSON under /v1 and pages for a browser."""

from __future__ import annotations

import http
import logging
import math
import os
from pathlib import Path

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from featurestore.errors import BadRequest, FeatureStoreError, NotFound
from featurestore.interface import FeatureStore
from featurestore.web import api, describe
from featurestore.web.pages import views
from featurestore.web.responses import problem
from featurestore.web.security.guard import Guard
from featurestore.web.security.keys import VARIABLE, Keys
from featurestore.web.settings import Settings

MAX_BODY = 10_000_000  # bytes of a request
log = logging.getLogger("featurestore.web")


def create_app(store: FeatureStore, settings: Settings | None = None) -> Flask:
    """The application that answers for `store`, protected as `settings` say."""
    settings = settings or Settings()
    app = Flask(
        "featurestore.web",
        root_path=str(Path(__file__).parent / "pages"),
        static_url_path="/static",
        static_folder="static",
        template_folder="templates",
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    Guard(app, store, settings)
    app.register_blueprint(api.blueprint(store))
    app.register_blueprint(describe.documents())
    app.register_blueprint(views.blueprint(store))

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
            413: f"the request is larger than {request.max_content_length:,} bytes",
        }.get(status, exc.description or http.HTTPStatus(status).phrase)
        answer = _error(BadRequest(text), status)
        if isinstance(exc, MethodNotAllowed) and exc.valid_methods:
            answer.headers["Allow"] = ", ".join(sorted(exc.valid_methods))
        return answer

    @app.errorhandler(Exception)
    def failed(exc: Exception) -> Response:
        log.exception("%s %s failed", request.method, request.path)
        return _error(FeatureStoreError("something failed inside the service; its log says what"), 500)

    return app


def keys_of(path: str | None) -> Keys | None:
    """The keys to ask for: those of a file, or of the environment; None where there are neither."""
    if path:
        return Keys(path)
    return Keys(text=os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def _error(exc: FeatureStoreError, status: int) -> Response:
    """A problem document for programs, a page for people."""
    if request.path.startswith("/v1") or not request.accept_mimetypes.accept_html:
        answer = problem(exc, status)
    else:
        answer = views.error_page(exc, status)
    if exc.retry_after is not None:
        answer.headers["Retry-After"] = str(max(1, math.ceil(exc.retry_after)))
    if status == 401:
        # A browser asks its user: the key is the password.
        answer.headers["WWW-Authenticate"] = 'Bearer, Basic realm="featurestore: the key as password"'
    return answer
