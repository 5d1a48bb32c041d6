"""ForeignRoute: one route of another service's interface, its request read leniently and its errors in their form."""

from __future__ import annotations

import http
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from featurestore.errors import BadRequest, FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.refusals import describe_length
from featurestore.web import responses
from featurestore.wire.question import Question
from featurestore.wire.requests import Nothing

T = TypeVar("T")
# Takes the store, the request's JSON (of a GET: its fields), and the parts of the path.
View = Callable[..., Any]


class NotOffered(FeatureStoreError):
    """The other service answers this, and a store cannot: the message says why."""

    status, exit_code, code = 501, 1, "not_offered"


class ForeignRoute(NamedTuple):
    """A route: where it is, what answers it, and with which requests it queues. All need the scope read."""

    path: str
    view: View
    method: str = "POST"
    lane: str = "light"
    scope: str = "read"
    most_bytes: int | None = None


def create_blueprint(
    name: str, prefix: str, store: FeatureStore, routes: Sequence[ForeignRoute], describe: Callable[[str, int], Any]
) -> Blueprint:
    """Return the routes of another service's interface; `describe` gives an error's body from its text and status."""
    blueprint = Blueprint(name, __name__)
    for number, route in enumerate(routes):
        question: Question[Nothing, Any] = Question(
            name=f"{name}_{number}",
            summary=f"{name}: {route.path}",
            path=route.path,
            prefix=prefix,
            takes=Nothing,
            gives=dict,
            methods=(route.method,),
            lane=route.lane,
            scope=route.scope,
            most_bytes=route.most_bytes,
        )
        # Their clients write some paths with a slash at the end, and some without.
        blueprint.add_url_rule(
            prefix + route.path,
            question.name,
            _bind(store, route.view, question),
            methods=[route.method],
            strict_slashes=False,
        )

    def _describe_known(exc: FeatureStoreError) -> Response:
        answer = responses.json(describe(str(exc), exc.status), exc.status)
        if exc.retry_after is not None:
            answer.headers["Retry-After"] = str(max(1, round(exc.retry_after)))
        return answer

    def _describe_http(exc: HTTPException) -> Response:
        status = exc.code or 500
        return responses.json(describe(exc.description or http.HTTPStatus(status).phrase, status), status)

    blueprint.register_error_handler(FeatureStoreError, _describe_known)
    blueprint.register_error_handler(HTTPException, _describe_http)
    return blueprint


def _bind(store: FeatureStore, view: View, question: Question[Nothing, Any]) -> Callable[..., Response]:
    def _answer(**parts: str) -> Response:
        answer = view(store, read_body(), **parts)
        return answer if isinstance(answer, Response) else responses.json(answer)

    _answer.question = question  # type: ignore[attr-defined]
    return _answer


def read_body() -> Any:
    """Return the request's JSON, {} where it is empty; of a GET its fields. Raises BadRequest for what is no JSON."""
    if request.method in ("GET", "HEAD"):
        return request.args.to_dict()
    try:
        return msgspec.json.decode(request.get_data() or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"the body is not JSON: {exc}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deep") from None


def convert(body: Any, type_: type[T]) -> T:
    """Return a body as a value of `type_`; fields that it does not have are left out, as the other service does.

    Raises BadRequest, naming the field.
    """
    try:
        return msgspec.convert(body, type_, strict=False)
    except msgspec.ValidationError as exc:
        what, _, where = str(exc).partition(" - at `$")
        name = where.strip("`.") or "the body"
        raise BadRequest(describe_length(name, what, body) or f"{name}: {what[0].lower()}{what[1:]}") from None


def refuse(reason: str) -> View:
    """Return a view that answers 501 with the reason."""

    def _refuse(store: FeatureStore, body: Any, **parts: str) -> Any:
        raise NotOffered(reason)

    return _refuse
