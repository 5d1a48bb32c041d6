"""Routes: a question of `featurestore.wire` is answered by the function bound to it, or else by the store's method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, TypeVar, get_origin

import msgspec
from flask import Blueprint, Response, g

from featurestore.display.text import nearest_name
from featurestore.interface import FeatureStore
from featurestore.web import requests, responses
from featurestore.web.answer_cache import AnswerCache
from featurestore.wire import questions
from featurestore.wire.question import Question

Takes = TypeVar("Takes", bound=msgspec.Struct)
Gives = TypeVar("Gives")
# Takes the store, the request and, where the path has one, the id; returns what the question gives, or a Response.
Handler = Callable[..., Any]

HANDLERS: dict[str, Handler] = {}


def answers(
    question: Question[Takes, Gives],
) -> Callable[
    [Callable[Concatenate[FeatureStore, Takes, ...], Gives | Response]],
    Callable[Concatenate[FeatureStore, Takes, ...], Gives | Response],
]:
    """Bind a function to the question that it answers."""

    def _bind(
        handler: Callable[Concatenate[FeatureStore, Takes, ...], Gives | Response],
    ) -> Callable[Concatenate[FeatureStore, Takes, ...], Gives | Response]:
        HANDLERS[question.name] = handler
        return handler

    return _bind


def blueprint(store: FeatureStore) -> Blueprint:
    """Returns the routes of every question, answered for `store`."""
    routes = Blueprint("api", __name__)
    bodies = AnswerCache()
    for question in questions.QUESTIONS:
        view = _make_view(store, question, bodies)
        for path in (question.path, *_other_paths(question)):
            routes.add_url_rule(question.prefix + path, question.name, view, methods=list(question.methods))
    return routes


def _other_paths(question: Question[Any, Any]) -> list[str]:
    """Returns the path with one part in the place of a feature's three, for Neuronpedia's form model@source:index."""
    return [question.path.replace(questions.FEATURE_PATH, "<id>")] if questions.FEATURE_PATH in question.path else []


def _make_view(store: FeatureStore, question: Question[Any, Any], bodies: AnswerCache) -> Callable[..., Response]:
    """Returns a view that reads a request, calls the handler and encodes the answer; `question` is its declaration."""
    handler = HANDLERS.get(question.name) or _call_store(question)
    names = question.parts

    def _view(**parts: str) -> Response:
        tag = g.get("tag")
        body = bodies.get(tag)
        if body is not None:
            return Response(body, mimetype="application/json")
        id = (parts.get("id") or "/".join(parts[name] for name in names),) if names else ()
        answer = handler(store, requests.read(question.takes, question.without, question.requires), *id)
        if isinstance(answer, Response):
            return answer
        encoded = responses.json(answer, question.status)
        if tag is not None:
            bodies.put(tag, encoded.get_data())
        return encoded

    _view.question = question  # type: ignore[attr-defined]
    return _view


def propose_path(path: str) -> str:
    """Returns the routes that a path was probably meant for, as the end of a sentence, and where all are listed."""
    words = [word for word in path.split("/") if word]
    version = questions.SEARCH.prefix.strip("/")
    word = next((word for word in words if word not in (version, "api", "v2")), "")
    paths: dict[str, list[str]] = {}
    for question in questions.QUESTIONS:
        paths.setdefault(question.path.split("/")[1], []).append(question.prefix + question.path)
    meant = nearest_name(word, paths)
    routes = " or ".join(dict.fromkeys(paths[meant])) if meant else ""
    return f", did you mean {routes}? /docs lists the routes" if routes else "; /docs lists the routes"


def _call_store(question: Question[Any, Any]) -> Handler:
    """Returns a function that asks the store's method of the question's name; a list becomes the answer's one field."""
    plain_type = get_origin(question.gives) or question.gives

    def _call(store: FeatureStore, request: msgspec.Struct, *id: str) -> Any:
        value = getattr(store, question.name)(*id, **msgspec.structs.asdict(request))
        return value if isinstance(value, plain_type) else question.gives(value)

    return _call
