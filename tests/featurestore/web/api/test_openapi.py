"""The OpenAPI document: it describes every route, and requests made from it find nothing the service does otherwise."""

import re
import subprocess
import sys

import msgspec
import numpy
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

import featurestore
from featurestore.web import Settings, create_app
from tests.support import attribution_graphs, tiny

# A request that fits its types may still mean nothing: SQL that is none, a dictionary that is not there.
MEANT = {"positive_data_acceptance"}


def no_process(*words, pass_fds, **options):
    """What is started ends at once: the work of a job is tried elsewhere."""
    return subprocess.Popen([sys.executable, "-c", ""], pass_fds=pass_fds)


def activations(dictionaries, text):
    """Five visible lines instead of a model: every token fires feature 3 of each dictionary."""
    tokens = text.split() or [text]
    n = len(tokens)
    fired = (numpy.full(n, 3), numpy.arange(n), numpy.ones(n, dtype=numpy.float32))
    return tokens, {one.dictionary: fired for one in dictionaries}


@pytest.fixture(scope="module")
def app(tiny_store):
    with featurestore.connect(tiny_store) as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr("featurestore.search.activating._model_runner", lambda: activations)
        yield create_app(store)


@pytest.fixture(scope="module")
def writable(tmp_path_factory):
    place = tmp_path_factory.mktemp("store") / "tiny.features"
    with tiny.write_tiny_store(place, index=False) as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr("featurestore.maintenance.jobs.start_python", no_process)
        yield create_app(store, Settings(writes=True))


@pytest.fixture(scope="module")
def document(app):
    return app.test_client().get("/openapi.json").json


WRITES = [
    ("PUT", "/v1/labels/{model}/{source}/{index}"),
    ("POST", "/v1/labels"),
    ("DELETE", "/v1/labels/{model}/{source}/{index}"),
    ("PUT", "/v1/graphs/{slug}"),
    ("POST", "/v1/graphs/{slug}/view"),
    ("PUT", "/v1/graphs/{slug}/view"),
    ("DELETE", "/v1/graphs/{slug}"),
    ("PUT", "/v1/lists/{list}"),
    ("POST", "/v1/lists/{list}"),
    ("DELETE", "/v1/lists/{list}"),
    ("POST", "/v1/votes/{model}/{source}/{index}"),
    ("POST", "/v1/jobs"),
    ("DELETE", "/v1/jobs/{job}"),
]
OPERATIONS = [
    *(
        ("GET", f"/v1/{name}")
        for name in ("info", "dictionaries", "coverage", "search", "nearest", "activating", "sql", "compare")
    ),
    *(
        ("POST", f"/v1/{name}")
        for name in ("search", "nearest", "activating", "sql", "features", "examples", "vectors")
    ),
    *(("POST", f"/v1/{name}") for name in ("rerank", "contrast", "duplicates")),
    ("GET", "/v1/neighbourhood/{model}/{source}/{index}"),
    ("POST", "/v1/neighbourhood/{model}/{source}/{index}"),
    ("GET", "/v1/dictionaries/{model}/{source}"),
    ("GET", "/v1/features/{model}/{source}/{index}"),
    ("GET", "/v1/scores/{model}/{source}/{index}"),
    ("GET", "/v1/vectors/{model}/{source}/{index}"),
    ("GET", "/v1/matrices/{model}/{source}"),
    ("GET", "/v1/labels/{model}/{source}/{index}"),
    ("GET", "/v1/label-history/{model}/{source}/{index}"),
    *(
        ("GET", path)
        for path in ("/v1/graphs", "/v1/graphs/{slug}", "/v1/graphs/{slug}/file", "/v1/jobs", "/v1/jobs/{job}")
    ),
    ("GET", "/v1/lists"),
    ("GET", "/v1/lists/{list}"),
    *WRITES,
    ("GET", "/healthz"),
    ("GET", "/readyz"),
]


# Nothing can be wrong with a request to these.
PLAIN = ("/healthz", "/readyz", "/v1/info", "/v1/coverage", "/v1/dictionaries", "/v1/graphs", "/v1/lists", "/v1/jobs")


@pytest.mark.parametrize(
    ("mode", "method", "path"),
    [
        (mode, *one)
        for mode in GenerationMode
        for one in OPERATIONS
        if mode is GenerationMode.POSITIVE or one[0] != "GET" or one[1] not in PLAIN
    ],
)
def test_requests_made_from_the_document_find_nothing(app, writable, method, path, mode):
    asked = writable if (method, path) in WRITES else app
    operation = schemathesis.openapi.from_wsgi("/openapi.json", asked)[path][method]

    @given(operation.as_strategy(generation_mode=mode))
    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def ask(case):
        case.headers["Accept-Encoding"] = "identity"  # this client asks for gzip, which it cannot read without a socket
        case.call_and_validate(excluded_checks=[check for check in CHECKS.get_all() if check.__name__ in MEANT])

    ask()


def test_what_is_there_is_as_the_document_says(writable):
    """Names made up from the document's patterns are of nothing that is there."""
    http = writable.test_client()
    given = {"graph": attribution_graphs.graph(), "map": ["tiny/{layer}-res"]}
    assert http.put("/v1/graphs/colons", json=given).status_code == 200
    job = http.post("/v1/jobs", json={"kind": "check"}).json["id"]
    schema = schemathesis.openapi.from_wsgi("/openapi.json", writable)
    known = {"/v1/graphs": {}, "/v1/jobs": {}, "/v1/graphs/{slug}": {"slug": "colons"}, "/v1/jobs/{job}": {"job": job}}
    for path, parts in (known | {"/v1/graphs/{slug}/file": {"slug": "colons"}}).items():
        case = schema[path]["GET"].Case(path_parameters=parts, headers={"Accept-Encoding": "identity"})
        answer = case.call_and_validate()
        assert answer.status_code == 200 and len(answer.content) > 100, path


def test_every_operation_is_tried(document):
    assert set(OPERATIONS) == {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }


def test_every_route_for_programs_is_in_the_document(app, document):
    routes = {re.sub("<([a-z]+)>", r"{\1}", rule.rule) for rule in app.url_map.iter_rules()}
    # A feature's id may stand in Neuronpedia's form too, in one part of the path: the same routes.
    in_one_part = {re.sub("/{model}/{source}/{index}$", "/{id}", path) for path in document["paths"]}
    listed = {path for path in routes if path.startswith("/v1/")} | {"/healthz", "/readyz"}
    assert listed <= set(document["paths"]) | in_one_part
    assert set(document["paths"]) <= routes


def test_the_document_is_made_of_the_types_that_check_requests(document):
    assert document["openapi"] == "3.1.0"
    told = document["components"]["schemas"]["Query"]["properties"]
    assert set(told) == set(featurestore.Query.__struct_fields__)
    text = document["paths"]["/v1/search"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert (text["required"], "near" in text["properties"]) == (["text"], False)
    answer = document["paths"]["/v1/features/{model}/{source}/{index}"]["get"]["responses"]["200"]
    assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Feature"}
    feature = document["components"]["schemas"]["Feature"]
    fields = {field.name: field.required for field in msgspec.structs.fields(featurestore.Feature)}
    assert set(feature["properties"]) == fields.keys()
    assert set(feature["required"]) == {name for name, required in fields.items() if required}


def test_every_reference_of_the_document_leads_somewhere(document):
    for found in re.findall(r'"\$ref":"#/([^"]+)"', msgspec.json.encode(document).decode()):
        there = document
        for name in found.split("/"):
            there = there[name]


def test_the_docs_are_a_page_of_our_own(app, document):
    page = app.test_client().get("/docs", headers={"Accept": "text/html"})
    assert page.status_code == 200
    for path in document["paths"]:
        assert path in page.text
    for error in featurestore.FeatureStoreError.__subclasses__():
        assert f"<code>{error.code}</code>" in page.text
    assert "max_rows" in page.text
    assert not re.search(r'(src|href)="(https?:)?//', page.text)
    assert "style=" not in page.text
    assert "<script>" not in page.text


def test_ready_only_where_the_store_can_be_read(app, monkeypatch):
    def broken(self):
        raise featurestore.BadStore("no such disk")

    http = app.test_client()
    assert (http.get("/readyz").status_code, http.get("/readyz").json) == (200, {"status": "ok"})
    monkeypatch.setattr("featurestore.store.store.Store.dictionaries", broken)
    assert (http.get("/readyz").status_code, http.get("/healthz").status_code) == (503, 200)


def test_operations_are_named_as_the_methods_of_a_client(document):
    """Generated clients have a function of each name; the form with a body has a name of its own."""
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))
    assert {"search", "search_post", "nearest", "nearest_post", "rerank", "feature", "vectors", "save_list"} <= set(
        names
    )
    assert not [name for name in names if name.startswith(("get_", "post_", "put_put", "delete_"))]


def test_what_a_field_may_be_is_said(document):
    schemas = document["components"]["schemas"]
    states = ["live", "dead", "always-on", "unharvested"]
    assert schemas["Hit"]["properties"]["state"]["enum"] == schemas["Feature"]["properties"]["state"]["enum"] == states
    assert schemas["Example"]["properties"]["band"]["anyOf"][0]["enum"] == ["top"]
    assert schemas["Label"]["properties"]["explainer"]["anyOf"][0]["enum"] == ["human", "tokens"]
    methods = schemas["Score"]["properties"]["method"]["anyOf"][0]["enum"]
    assert methods == ["detection", "fuzzing", "intruder", "simulation", "embedding"]
    assert schemas["ComparedFeature"]["properties"]["state"]["enum"] == states
    assert schemas["GraphNode"]["properties"]["kind"]["enum"] == ["feature", "error", "token", "logit", "other"]
    assert schemas["Job"]["properties"]["state"]["enum"][:2] == ["running", "done"]
    for name, field in (("LabelChange", "explainer"), ("LabelledNeighbour", "explainer"), ("LabelAsked", "explainer")):
        assert "human" in str(schemas[name]["properties"][field]["anyOf"]), name
    assert "top" in str(schemas["ExamplesAsked"]["properties"]["band"])
    plain = [
        (name, field)
        for name, schema in schemas.items()
        for field in ("state", "band", "explainer", "method")
        if "enum" not in str((schema.get("properties") or {}).get(field, "enum"))
    ]
    assert not plain
