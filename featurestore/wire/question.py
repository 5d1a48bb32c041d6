"""Question: the declaration of one question of the HTTP interface."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin
from urllib.parse import quote

import msgspec

from featurestore.ids import FeatureId, dictionary_texts, id_text

Takes = TypeVar("Takes", bound=msgspec.Struct)
Gives = TypeVar("Gives")

LINES = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
CSV = "text/csv"
NPY = "application/octet-stream"
PARQUET = "application/vnd.apache.parquet"


# The fields that take dictionaries, as text or as values that have the id of one.
DICTIONARIES = ("dictionary", "within", "against")
FEATURE = "feature"  # the field that takes one feature, likewise


class Question(msgspec.Struct, Generic[Takes, Gives], frozen=True, kw_only=True):
    """One question: where it is asked, with what, by whom, and what its answer is.

    The service answers it by the function that `featurestore.web.api` binds to it, or else by the store's
    method `name`, called with the id of the path and the fields of the request.
    """

    name: str
    summary: str
    path: str  # below `prefix`; the parts that vary, in <>, stand together
    takes: type[Takes]
    gives: type[Gives]
    prefix: str = "/v1"
    methods: tuple[str, ...] = ("GET",)  # the client uses the last one
    requires: tuple[str, ...] = ()  # fields of `takes` that this question cannot do without
    without: tuple[str, ...] = ()  # fields of `takes` that it refuses
    media: tuple[str, ...] = ()  # forms of the answer beside JSON
    scope: str = "read"  # which right a key needs; anybody may ask where it is empty
    lane: str = "light"  # with which requests it queues
    lane_by: Callable[[Mapping[str, Sequence[str]]], str] | None = None  # says the lane by the fields of the URL
    tagged: bool = False  # the answer changes with the store only, and is not sent again to a client that has it
    most_bytes: int | None = None  # of the request's body, where the limit of all requests is too low
    status: int = 200  # of an answer that is no error

    @property
    def parts(self) -> list[str]:
        """Returns the names of the parts of the path that vary; joined by slashes they are an id."""
        return re.findall("<([a-z]+)>", self.path)

    def url(self, id: str | None = None) -> str:
        """Returns the path with `id` in the place of the parts that vary, relative to the prefix.

        Raises BadRequest for a malformed id of a feature.
        """
        path = self.path.lstrip("/")
        if id is None:
            return path
        if "<index>" in path:
            parsed = FeatureId.parse(id)
            filled = f"{quote(parsed.dictionary, safe='/')}/{parsed.feature}"
        else:
            filled = quote(id, safe="/" if "<source>" in path else "")
        return re.sub("<.*>", lambda _: filled, path)

    def request(self, arguments: dict[str, Any]) -> Takes:
        """Returns the request with those arguments that it has fields for. Values are checked by the service.

        An optional field of several values takes a single one too, as the store's methods do.
        """
        values: dict[str, Any] = {}
        for name, field in fields_of(self.takes).items():
            if name not in arguments:
                continue
            value = arguments[name]
            if name in DICTIONARIES and value is not None and not isinstance(value, str):
                names = dictionary_texts(value)
                value = names[0] if tuple not in kinds_of(self.takes, name) and len(names) == 1 else names
            if name == FEATURE and value is not None and tuple not in kinds_of(self.takes, name):
                value = id_text(value)
            if tuple in kinds_of(self.takes, name) and value is not None:
                if not isinstance(value, str):
                    value = tuple(value)
                elif not field.required:
                    value = (value,)
            values[name] = value
        return self.takes(**values)


@functools.cache
def fields_of(type_: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """Returns the fields of a type by their names; cached, because reading annotations takes as long as answering."""
    return {field.name: field for field in msgspec.structs.fields(type_)}


@functools.cache
def kinds_of(type_: type[msgspec.Struct], name: str) -> set[Any]:
    """Returns the plain types that a field takes; none for a field that `type_` does not have."""
    return _kinds(fields_of(type_)[name].type) if name in fields_of(type_) else set()


def _kinds(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    return {get_origin(annotation) or annotation}
