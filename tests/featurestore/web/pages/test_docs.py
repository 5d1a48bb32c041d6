"""/docs: each question has a call and an answer. The calls are made of a real store, and answers are of that form."""

import json
import shlex
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import numpy
import pytest
import referencing
from jsonschema import Draft202012Validator

import featurestore
from featurestore.web import Settings, create_app
from featurestore.web.pages.docs import ANSWERS, list_routes, read_calls
from featurestore.wire.call_examples import EXAMPLES, FEATURE, GRAPH, JOB, OTHER, SERVICE, write_curl
from featurestore.wire.questions import QUESTIONS
from tests.support import tiny
from tests.support.servers import real_server

BY_NAME = {question.name: question for question in QUESTIONS}
# The features of the demo that the examples are about, as features of the tiny store.
HERE = {
    "pystdlib/4-res-2k": "tiny/0-res",
    FEATURE: "tiny/0-res/8",
    OTHER: "tiny/0-res/5",
    '"feature": 115': '"feature": 8',
}


def no_process(*words, pass_fds, **options):
    """What is started ends at once."""
    return subprocess.Popen([sys.executable, "-c", ""], pass_fds=pass_fds)


def activations(dictionaries, text):
    """Every token fires feature 3 of each dictionary."""
    tokens = text.split()
    n = len(tokens)
    fired = (numpy.full(n, 3), numpy.arange(n), numpy.ones(n, dtype=numpy.float32))
    return tokens, {dictionary.dictionary: fired for dictionary in dictionaries}


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    place = tmp_path_factory.mktemp("store") / "tiny.features"
    with tiny.write_tiny_store(place) as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr("featurestore.maintenance.jobs.start_python", no_process)
        patch.setattr("featurestore.search.activating._model_runner", lambda: activations)
        app = create_app(store, Settings(writes=True))
        app.where = place.parent
        yield app.test_client()


def here(text):
    for theirs, ours in sorted(HERE.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(theirs, ours)
    return text


def uncut(value):
    """A recorded answer without what says that a list was cut."""
    if isinstance(value, list):
        return [uncut(item) for item in value if not (isinstance(item, str) and item.startswith("… "))]
    return {name: uncut(item) for name, item in value.items()} if isinstance(value, dict) else value


def names(value):
    """The names of fields at any depth; those of the first element of a list."""
    if isinstance(value, dict):
        return {name: names(item) for name, item in value.items()}
    return names(value[0]) if isinstance(value, list) and value else None


def test_every_question_has_a_call_and_an_answer():
    assert set(EXAMPLES) == set(BY_NAME) == set(json.loads(ANSWERS.read_text()))


@pytest.fixture(scope="module")
def check(http):
    """Check an answer against the form that the OpenAPI document gives for a route."""
    document = http.get("/openapi.json").json
    resource = referencing.Resource(document, referencing.jsonschema.DRAFT202012)
    registry = referencing.Registry().with_resource("urn:openapi", resource)
    forms = {
        route.name: next(
            content["content"]["application/json"]["schema"]
            for status, content in route.operation["responses"].items()
            if status.startswith("2") and "application/json" in content["content"]
        )
        for route in list_routes(document)
    }

    def check(name, answer):
        form = json.loads(json.dumps(forms[name]).replace('"#/', '"urn:openapi#/'))
        Draft202012Validator(form, registry=registry).validate(answer)

    return check


@pytest.mark.parametrize("name", EXAMPLES)
def test_recorded_answers_have_the_form_of_the_document(check, name):
    check(name, uncut(json.loads(ANSWERS.read_text())[name]))


def test_the_lines_for_curl_are_answered_by_a_store(http, check):
    """In the order of the examples, some of which write."""
    recorded = json.loads(ANSWERS.read_text())
    job = JOB
    for name, example in EXAMPLES.items():
        line = shlex.split(here(write_curl(BY_NAME[name], example)).replace(JOB, job))
        assert line.pop(0) == "curl"
        method = "POST" if "--json" in line else "GET"
        if "-X" in line:
            at = line.index("-X")
            method, line = line[at + 1], line[:at] + line[at + 2 :]
        url = urlsplit(line[0].removeprefix(SERVICE))
        body = json.loads(line[line.index("--json") + 1]) if "--json" in line else None
        answer = http.open(url.path, method=method, query_string=parse_qs(url.query), json=body)
        assert answer.status_code == BY_NAME[name].status, (name, answer.text)
        check(name, answer.json)
        if isinstance(answer.json, dict) and name not in ("graph_file", "sql"):
            assert set(names(uncut(recorded[name]))) == set(answer.json), name
        job = answer.json["id"] if name == "start_job" else job


def test_the_lines_of_python_run(http, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "try.json").write_text(here(json.dumps(GRAPH)))
    job = JOB
    with real_server.serving(http.application) as url, featurestore.connect(url) as store:
        for name, call in read_calls().items():
            assert bool(call.python) == (name not in ("healthz", "readyz"))
        for name, example in EXAMPLES.items():
            if example.python:
                line = here(f"store.{example.python}").replace(JOB, job)
                answer = eval(line, {"store": store, "featurestore": featurestore})
                job = answer.id if name == "start_job" else job


def test_the_page_shows_each_call_by_its_path(http):
    page = http.get("/docs", headers={"Accept": "text/html"}).text
    assert page.count('<details class="call">') == len(QUESTIONS)
    assert "PUT /v1/labels/{model}/{source}/{index}" in page and "GET, POST /v1/search" in page
    assert len({route.anchor for route in list_routes(http.get("/openapi.json").json)}) == len(QUESTIONS)


@pytest.mark.parametrize(
    "path", ["/", "/sql", "/text", "/graphs", "/lists", "/features/tiny/0-res/8", "/docs", "/none"]
)
def test_every_page_leads_there(http, path):
    assert '<a href="/docs"' in http.get(path, headers={"Accept": "text/html"}).text
