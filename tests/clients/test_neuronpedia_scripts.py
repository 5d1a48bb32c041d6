"""Scripts in the manner of public ones (tests/clients/scripts), as they are but for the address that they ask."""

import contextlib
import json
import os
import shutil
import subprocess

import pytest

import featurestore
from featurestore.web import Settings, create_app
from tests.clients.service import run, serving
from tests.support import ROOT, tiny, writer_jobs
from tests.support.browser import ARGUMENTS, CHROMIUM, MISSING
from tests.support.servers import real_server

pytestmark = pytest.mark.clients
SCRIPTS = ROOT / "tests" / "clients" / "scripts"
COMPAT = frozenset({"neuronpedia"})
TEXT = "raise ValueError(name)"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("scripts") / "s") as opened:
        yield opened


@pytest.fixture(scope="module")
def url(store):
    with serving(store, compat=COMPAT) as address:
        yield address


@pytest.fixture
def page():
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip(MISSING)
    with (
        sync_api.sync_playwright() as playwright,
        contextlib.closing(playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)) as browser,
    ):
        yield browser.new_page()


def run_shell(name, url):
    if shutil.which("jq") is None:
        pytest.skip("needs jq, which such scripts use")
    environment = {"PATH": os.environ["PATH"], "URL": url, "NEURONPEDIA_API_KEY": "any"}
    done = subprocess.run(["sh", SCRIPTS / name], capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout)


def run_python(name, url, **environment):
    return run((SCRIPTS / name).read_text(), url, **environment)


def run_fetch(name, url, request):
    """What the script's `main` returns, run by node, or by Chromium where there is no node."""
    script = (SCRIPTS / name).read_text()
    if shutil.which("node") is None:
        page = request.getfixturevalue("page")
        page.goto(f"{url}/llms.txt")
        return page.evaluate(f"(async () => {{ {script}\nreturn main('{url}') }})()")
    call = f"\nmain('{url}').then(result => console.log(JSON.stringify(result)))"
    done = subprocess.run(["node", "-e", script + call], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_there_are_ten_and_more():
    assert len([file for file in SCRIPTS.iterdir() if file.suffix in (".sh", ".py", ".js")]) >= 10


def test_one_feature(store, url):
    page = store.feature("tiny/0-res/8")
    peak = page.examples[0]
    assert run_shell("one_feature.sh", url) == {
        "label": page.label,
        "by": page.labels[0].explainer,
        "density": page.density,
        "raises": [[effect.token, effect.value] for effect in page.top_logits],
        "peak": peak.tokens[peak.activations.index(max(peak.activations))],
    }


def test_search_explanations(store, url):
    hits = store.search("closing brackets", mode="semantic", k=20, all=True, group=False)
    rows = run_shell("search_explanations.sh", url)
    assert [(source, index) for source, index, *_ in rows] == [
        (hit.dictionary.split("/")[1], hit.feature) for hit in hits
    ]
    assert [row[2] for row in rows] == pytest.approx([hit.score for hit in hits], abs=1e-6)
    assert {(row[3], row[4]) for row in rows} == {(hit.label, " ValueError") for hit in hits}


def test_a_loop_that_would_wait_for_the_rate_limit_never_waits(store, url):
    result = run_python("wait_for_limit.py", url)
    assert result["waits"] == 0
    for concept, label in result["top"].items():
        assert label == store.search(concept, mode="semantic", k=1, all=True, group=False)[0].label


def test_densities(store, url):
    rows = store.sql("select feature from features where dictionary = 'tiny/1-res' order by density desc limit 5")
    result = run_python("read_densities.py", url, NEURONPEDIA_API_KEY="any")
    assert result == {"features": tiny.D_SAE, "densest": rows["feature"].to_pylist()}


def test_words_by_embeddings(store, url):
    result = run_python("keyword_by_embeddings.py", url)
    for word, indices in result.items():
        rows = store.sql(
            "select feature from best_labels where dictionary = 'tiny/0-res' and contains(lower(label), $word) "
            "order by feature",
            {"word": word},
        )
        assert indices == rows["feature"].to_pylist() != []


def test_a_private_mirror_of_labels(store, url):
    result = run_python("cache_labels.py", url)
    assert result["counts"] == {"labelled": 8, "unlabelled": 4, "missing": 4}
    assert result["message"].startswith("The model, source, or feature you specified is not available")


def test_an_export_of_explanations(store, url):
    result = run_python("export_explanations.py", url)
    assert result["features"] == 22
    labels = store.sql(
        "select feature::text f, list(label) labels from labels where dictionary = 'tiny/0-res' group by 1"
    )
    by_feature = dict(zip(labels["f"].to_pylist(), labels["labels"].to_pylist(), strict=True))
    assert [index for index, _ in result["first"]] == ["0", "1", "2"]
    assert all(label in by_feature[index] for index, label in result["first"])


def test_marked_activations(store, url):
    examples = [each for each in store.feature("tiny/0-res/3").examples if each.band == "top"]
    wanted = [
        "".join(
            f"<<{token}>>" if value > 0 else token for token, value in zip(each.tokens, each.activations, strict=True)
        )
        for each in examples
    ]
    assert run_python("mark_activations.py", url)[0] == wanted[0]


def test_features_of_a_text(tmp_path):
    writer_jobs.make_world(tmp_path)
    featurestore.create(tmp_path / "s").close()
    writer_jobs.harvesting(str(tmp_path / "s"), str(tmp_path))
    with featurestore.connect(tmp_path / "s") as opened, serving(opened, compat=COMPAT) as address:
        result = run_python("features_of_text.py", address, TEXT=TEXT)
        active = opened.activating(TEXT, ["small/1-res", "small/2-res"], 5, "activation")
        of_source = opened.activating(TEXT, "small/1-res", 1000, "activation")
    assert result["top"] == [
        [each.id.split("/")[1], each.feature, each.activation, active.tokens[each.token]] for each in active.features
    ]
    assert len(result["strongest"]) == len(of_source.tokens)
    for place, (token, *features) in enumerate(result["strongest"]):
        best = max(of_source.features, key=lambda each: each.activations[place])
        assert token == of_source.tokens[place]
        assert features == ([best.feature] if best.activations[place] > 0 else [])


def test_a_page_of_graphs(store, url, request):
    result = run_fetch("graph_page.js", url, request)
    labels = [store.feature(f"tiny/{id}").label for id in ("0-res/3", "1-res/3", "0-res/8")]
    assert result["labels"] == [*labels, None, None]
    assert result["activations"] == [1, 1, 1, 0, None]
    example = store.feature("tiny/0-res/3").examples[0]
    assert result["clicked"] == example.tokens[example.activations.index(max(example.activations))]


def test_pages_of_results(store, url, request):
    result = run_fetch("search_pages.js", url, request)
    hit = store.search("exceptions", mode="semantic", k=1, all=True, group=False)[0]
    first = f"{hit.dictionary.replace('/', '@')}:{hit.feature}"
    assert result == {"pages": 3, "count": 44, "different": 44, "first": first}


def test_neighbours(store, url, request):
    result = run_fetch("neighbours.js", url, request)
    hits = store.nearest("tiny/0-res/0", within="tiny/1-res", k=3, all=True)
    assert result["near"] == [[hit.feature, pytest.approx(hit.score)] for hit in hits]
    assert result["missing"] == [404, "The model, so"]


def test_a_page_of_another_origin_asks_where_it_is_named(store, page):
    """The same script in a browser, whose preflight is answered for the origins that are named and no others."""
    script = (SCRIPTS / "search_pages.js").read_text()

    def empty(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<!doctype html><title>a page elsewhere</title>"]

    with real_server.serving(empty) as origin:
        page.goto(origin)
        for origins, wanted in ((frozenset({origin}), 44), (frozenset(), "TypeError: Failed to fetch")):
            app = create_app(store, Settings(compat=COMPAT, origins=origins))
            with real_server.serving(app) as address:
                call = f"main('{address}').then(result => result.count, error => String(error))"
                assert page.evaluate(f"(async () => {{ {script}\nreturn {call} }})()") == wanted
