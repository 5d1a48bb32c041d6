"""Requests that schemathesis makes up for the routes of other services and for pages that stand in frames.

These routes are in no document of ours: one is made here of the fields that they read. Values are often those of the
store, so that a request comes further than its first field.
"""

import json
import logging
import re
import sys

import msgspec
import numpy
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core import NotSet

from featurestore.web import Settings, create_app
from featurestore.web.compat import COMPAT, goodfire, graph_files, neuronpedia
from featurestore.web.pages.blueprint import PAGES
from tests.support import attribution_graphs, tiny

WORDS = ("tiny", "0-res", "1-res", "8", "tiny/0-res", "tiny/0-res/8", "colons", "few", "exception", "res", "closing")
TEXT = {"anyOf": [{"enum": [*WORDS, "0", "1", "23"]}, {"type": "string"}]}
NUMBER = {"anyOf": [{"enum": [0, 1, 3, 8, 23]}, {"type": "number"}]}
OTHER = {"type": ["null", "boolean", "string", "number", "array", "object"]}
EMBEDDED = [page for page in PAGES if page.may_embed]


def loosen(schema, shapes):
    """Returns a schema without references, whose texts and numbers may be the store's, of the type, or anything."""
    if isinstance(schema, list):
        return [loosen(item, shapes) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return loosen(shapes[schema["$ref"].rpartition("/")[2]], shapes)
    if schema.get("type") in ("string", "integer", "number"):
        return {"anyOf": [TEXT if schema["type"] == "string" else NUMBER, OTHER]}
    return {name: loosen(value, shapes) for name, value in schema.items() if name not in ("title", "default")}


def structs_of(view):
    module = sys.modules[view.__module__]
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == module.__name__
    ]


def describe(path, fields, body=None):
    parts = re.findall(r"<(?:\w+:)?(\w+)>", path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in parts]
    parameters += [{"name": name, "in": "query", "schema": TEXT} for name in fields]
    operation = {"parameters": parameters, "responses": {"200": {"description": "an answer"}}}
    if body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return operation


def make_document():
    """Returns the OpenAPI document of the routes, and their methods and paths."""
    paths = {}
    for module in (goodfire, graph_files, neuronpedia):
        prefix = getattr(module, "PREFIX", "")
        for route in module.ROUTES:
            types = structs_of(route.view)
            bodies, shapes = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
            names = [field for type_ in types for field in type_.__struct_encode_fields__]
            bodies = loosen(list(bodies), shapes)
            body = {"anyOf": [*bodies, {"type": "array", "items": {"anyOf": bodies or [{}]}, "maxItems": 3}, OTHER]}
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", prefix + route.path)
            wanted = describe(route.path, dict.fromkeys(names), None if route.method == "GET" else body)
            paths.setdefault(path, {})[route.method.lower()] = wanted
    for page in EMBEDDED:
        names = dict.fromkeys(field for type_ in structs_of(page.view) for field in type_.__struct_encode_fields__)
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", page.path)
        operation = describe(page.path, names)
        operation["parameters"].append({"name": "embed", "in": "query", "required": True, "schema": {"enum": ["true"]}})
        paths.setdefault(path, {})["get"] = operation
    return {"openapi": "3.1.0", "info": {"title": "others", "version": "1"}, "paths": paths}


DOCUMENT = make_document()
OPERATIONS = [(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods]


def activations(dictionaries, text):
    """Instead of a model: every token fires feature 3 of each dictionary."""
    tokens = text.split() or [text]
    n = len(tokens)
    fired = (numpy.full(n, 3), numpy.arange(n), numpy.ones(n, dtype=numpy.float32))
    return tokens, {dictionary.dictionary: fired for dictionary in dictionaries}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("made") / "s") as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr("featurestore.search.activating._model_runner", lambda: activations)
        store.add_graph(attribution_graphs.graph(), map=["tiny/{layer}-res"])
        store.save_list("few", ["tiny/0-res/8", "tiny/1-res/3"])
        yield create_app(
            store, Settings(compat=frozenset(COMPAT), writes=True, frame_ancestors=frozenset({"https://a.b"}))
        )


@pytest.fixture(scope="module")
def schema(app):
    made = schemathesis.openapi.from_dict(DOCUMENT)
    made.app = app
    return made


def send(schema, app, method, path, count):
    """Sends requests that schemathesis makes up; returns how many were answered with which status."""
    operation, statuses, http = schema[path][method], {}, app.test_client()

    @given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def ask(case):
        body = b"" if isinstance(case.body, NotSet) else json.dumps(case.body, default=str).encode()
        query = {name: str(value) for name, value in dict(case.query or {}).items()}
        sent = (case.formatted_path, query, body)
        answer = http.open(sent[0], method=method, query_string=query, data=body, content_type="application/json")
        text, status = answer.get_data().decode(errors="replace"), answer.status_code
        assert status < 500 or status in (501, 503), (sent, status, text[:500])
        assert "Traceback" not in text and "/site-packages/" not in text, sent
        statuses[status] = statuses.get(status, 0) + 1

    ask()
    return statuses


def test_there_are_routes_of_each_kind():
    assert len(OPERATIONS) > 50 and len(EMBEDDED) >= 3
    assert {method for method, _ in OPERATIONS} == {"GET", "POST"}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_requests_made_up_for_a_route_find_no_failure(schema, app, caplog, method, path):
    with caplog.at_level(logging.ERROR):
        statuses = send(schema, app, method, path, 8)
    print(statuses)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_many_requests_made_up_for_a_route_find_no_failure(schema, app, caplog, method, path):
    with caplog.at_level(logging.ERROR):
        statuses = send(schema, app, method, path, 200)
    print("STATUSES", method, path, statuses)
    assert not [record for record in caplog.records if record.exc_info]
