"""Registering a route once: how it is answered, what it takes and gives, and who may ask how often.

A module of questions makes a `Routes`, adds functions to it, and is listed in `api/__init__.py`; the application registers
its blueprint, and the OpenAPI document is made of its operations. Nothing else has to be told of a new route.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec
from flask import Blueprint, Response, g

from featurestore.web import responses
from featurestore.web.api.models import Nothing
from featurestore.web.travel import Answers

JSON = "application/json"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a route beside its function.

    `lane` says with which requests it queues (limits.py), `scope` which right a key needs for it. `requires` and `without`
    are fields of `takes` that this route cannot do without, or refuses. `media` are forms of the answer beside JSON. An
    answer that is `tagged` changes with the store only, and is not sent again to who has it. `most` is how many bytes the
    request's body may have, where that is not what all of them may; `status` what an answer has that is no error.
    """

    path: str  # with the parts that vary in <>, below `prefix`
    prefix: str
    name: str
    summary: str
    methods: tuple[str, ...]
    takes: type
    gives: Any
    requires: tuple[str, ...]
    without: tuple[str, ...]
    media: tuple[str, ...]
    scope: str
    lane: str
    tagged: bool
    most: int | None
    status: int


class Routes:
    """Routes below one prefix: a Flask blueprint, and the operations it answers."""

    def __init__(self, name: str, prefix: str = "/v1"):
        self.blueprint = Blueprint(name, __name__, url_prefix=prefix)
        self.prefix = prefix
        self.operations: list[Operation] = []
        self._answers = Answers()

    def add(
        self,
        path: str,
        *,
        gives: Any,
        takes: type = Nothing,
        methods: tuple[str, ...] = ("GET",),
        requires: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
        media: tuple[str, ...] = (),
        scope: str = "read",
        lane: str = "light",
        tagged: bool = False,
        most: int | None = None,
        status: int = 200,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Answer `path` with a function of the request (a value of `takes`) and of the parts of the path that vary.

        What it returns is sent as JSON, unless it is a Response. Its docstring's first line is the summary in the document.
        """

        def registered(answer: Callable[..., Any]) -> Callable[..., Any]:
            operation = Operation(
                path=path,
                prefix=self.prefix,
                name=answer.__name__,
                summary=(answer.__doc__ or answer.__name__).strip().splitlines()[0],
                methods=methods,
                takes=takes,
                gives=gives,
                requires=requires,
                without=without,
                media=media,
                scope=scope,
                lane=lane,
                tagged=tagged,
                most=most,
                status=status,
            )

            @functools.wraps(answer)
            def view(**parts: str) -> Response:
                tag = g.get("tag")
                body = self._answers.get(tag)
                if body is not None:
                    return Response(body, mimetype=JSON)
                found = answer(responses.read(takes), **parts)
                if isinstance(found, Response):
                    return found
                encoded = responses.json(found, status)
                if tag is not None:
                    self._answers.keep(tag, encoded.get_data())
                return encoded

            view.operation = operation  # type: ignore[attr-defined]
            self.operations.append(operation)
            self.blueprint.add_url_rule(path, answer.__name__, view, methods=list(methods))
            return answer

        return registered
