"""Python, HTTP and the command line give the same answers and the same errors."""

import inspect
import json
import os
import socket
import subprocess
import sys
import threading
import time

import httpx2
import msgspec
import numpy
import pytest
from waitress.server import create_server

import featurestore
from featurestore import BadRequest, NotFound, Query, Unavailable
from featurestore.cli.main import main
from featurestore.client import Client
from featurestore.interface import FeatureStore
from featurestore.store import Store
from featurestore.web import create_app
from tests.support import tiny

QUERIES = [
    {"text": "exception handling"},
    {"text": "closing brackets", "mode": "keyword", "k": 3},
    {"text": "numbers", "mode": "semantic", "where": "layer = 1", "within": ("tiny/1-res",), "all": True},
    {"near": "tiny/0-res/3", "k": 5},
    {"vector": (1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25), "space": "tiny"},
]


@pytest.fixture(scope="module")
def local(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.fixture(scope="module")
def url(local):
    """A real server on a loopback port."""
    server = create_server(create_app(local), host="127.0.0.1", port=0, threads=4)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()
    thread.join(5)


@pytest.fixture(scope="module", params=["socket", "wsgi"])
def remote(request, url, local):
    transport = httpx2.WSGITransport(app=create_app(local)) if request.param == "wsgi" else None
    with Client(url, transport=transport) as client:
        yield client


def public(cls):
    """The public methods of a class and of the classes that it is made of in its own folder, by name."""
    folder = cls.__module__.rsplit(".", 1)[0]
    methods = {
        name: f
        for each in reversed(cls.__mro__)
        if each.__module__.startswith(folder)
        for name, f in vars(each).items()
    }
    return {name: inspect.signature(f) for name, f in methods.items() if callable(f) and not name.startswith("_")}


def test_local_and_remote_are_one_interface():
    """The same methods with the same parameters; the store adds what only its owner can do."""
    owners = ("writer", "index", "compact", "remove", "check", "repair", "isolate_sql", "select", "count", "evidence")
    owners += (
        "embed",
        "set_label_rule",
        "set_structural_rule",
        "windows",
        "embedder",
        "keep_record",
        "matrix",
        "files",
    )
    assert {name: f for name, f in public(Store).items() if name not in owners} == public(Client)
    assert set(FeatureStore.__abstractmethods__) <= set(public(Client))


@pytest.mark.parametrize("fields", QUERIES)
def test_equal_hits(local, remote, fields):
    query = Query.of(fields)
    found = remote.run(query)
    assert found == local.run(query)
    assert len(found) > 0


def test_equal_values(local, remote):
    assert remote.dictionaries() == local.dictionaries()
    assert remote.dictionary("tiny/0-res") == local.dictionary("tiny/0-res")
    assert remote.feature("tiny/0-res/8") == local.feature("tiny/0-res/8")
    assert remote.feature("tiny/0-res/8", examples=1) == local.feature("tiny/0-res/8", examples=1)
    assert len(remote.feature("tiny/0-res/8", examples=1).examples) == 2
    # Where the store lies on the server's disk stays there.
    assert remote.info() == msgspec.structs.replace(local.info(), location=os.path.basename(local.location))
    numpy.testing.assert_array_equal(remote.vector("tiny/1-res/5"), local.vector("tiny/1-res/5"))
    assert remote.vector("tiny/1-res/5").dtype == numpy.float32


def test_equal_batches(local, remote):
    ids = [f"tiny/{layer}-res/{n}" for n in (8, 3, 22, 8) for layer in (0, 1)]
    wanted = [msgspec.structs.replace(local.feature(id, 1), labelled_neighbours=()) for id in ids]
    assert remote.features(ids, examples=1) == local.features(ids, examples=1) == wanted
    assert remote.vectors(ids).dtype == numpy.float32
    numpy.testing.assert_array_equal(remote.vectors(ids), [local.vector(id) for id in ids])
    numpy.testing.assert_array_equal(remote.vectors(ids), local.vectors(ids))
    assert remote.features([]) == local.features([]) == []
    assert remote.vectors([]).shape == local.vectors([]).shape
    assert len(remote.features(ids[:1] * 1001, examples=0)) == 1001


@pytest.mark.parametrize("where", ["true", "layer = 1 -- all of it", "feature % 5 = 0 OR state = 'dead'", "false"])
@pytest.mark.parametrize("pages", [3, 100])
def test_equal_features_one_after_another(local, remote, where, pages, monkeypatch):
    monkeypatch.setattr("featurestore.wire.limits.FEATURES_A_PAGE", pages)
    ids = local.sql(
        f"SELECT dictionary || '/' || feature AS id FROM features WHERE ({where}\n) ORDER BY dictionary, feature"
    )
    wanted = [local.feature(id, 1) for id in ids["id"].to_pylist()]
    # In a stream, which may be long, no neighbours are looked for.
    wanted = [msgspec.structs.replace(page, labelled_neighbours=()) for page in wanted]
    assert list(remote.features_where(where, examples=1)) == list(local.features_where(where, examples=1)) == wanted


def test_features_are_read_as_they_are_taken(local, url, monkeypatch):
    monkeypatch.setattr("featurestore.wire.limits.FEATURES_A_PAGE", 5)
    asked = []

    def counting(environ, start_response):
        asked.append(environ["PATH_INFO"])
        return app(environ, start_response)

    app = create_app(local)
    with Client(url, transport=httpx2.WSGITransport(app=counting)) as client:
        some = client.features_where()
        assert asked == []
        assert [next(some).feature for _ in range(7)] == list(range(7))
        assert asked == ["/v1/features"] * 2


def test_equal_rows_as_they_come(local, remote):
    statement = "SELECT dictionary, feature, label, max_activation FROM features ORDER BY dictionary, feature"
    with remote.stream(statement) as there, local.stream(statement) as here:
        assert there.schema == here.schema
        assert there.read_all().equals(here.read_all())


def test_equal_answers_to_other_questions(local, remote):
    ids = ["tiny/1-res/3", "tiny/0-res/0", "tiny/0-res/8"]
    assert remote.rerank("exceptions are raised", ids) == local.rerank("exceptions are raised", ids)
    assert remote.neighbourhood("tiny/0-res/3", k=4) == local.neighbourhood("tiny/0-res/3", k=4)
    assert remote.neighbourhood("tiny/0-res/3", within="tiny/1-res") == local.neighbourhood(
        "tiny/0-res/3", within="tiny/1-res"
    )
    assert remote.duplicates("tiny/0-res", cosine=0.99) == local.duplicates("tiny/0-res", cosine=0.99)
    assert remote.compare(ids) == local.compare(*ids)
    assert remote.compare("tiny/0-res", "tiny/1-res", k=5) == local.compare("tiny/0-res", "tiny/1-res", k=5)
    assert list(remote.pages(text="self", k=7)) == list(local.pages(text="self", k=7))
    assert list(remote.pages(near="tiny/0-res/3", k=7)) == list(local.pages(near="tiny/0-res/3", k=7))


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        yield opened


def test_labels_and_votes_are_written_through_either(door):
    id = "tiny/0-res/3"
    assert door.set_label(id, " said here ") is None
    first = door.feature(id).labels[0]
    assert (first.label, first.explainer) == ("said here", "human")
    before = door.info().commit
    given = [featurestore.GivenLabel(id=f"tiny/0-res/{n}", label=f"number {n}", explainer="ann") for n in range(3)]
    assert door.add_labels(given) == before + 1
    assert door.vote(id, "said here", 1, "ben") is None
    door.vote(id, "said here", 1, "ann")
    door.vote(id, "said here", 0, "ben")
    assert {one.label: one.votes for one in door.feature(id).labels}["said here"] == 1


def test_coverage_is_told_alike(door, store):
    """By Python, SQL and the command line: whose labels are shown, of how many features."""
    (first, second) = door.coverage()
    assert (first.dictionary, first.features, first.labelled) == ("tiny/0-res", 24, sum(first.explainers.values()))
    assert first.share == first.labelled / 24
    before = door.feature("tiny/0-res/3").labels[0].explainer
    door.set_label("tiny/0-res/3", "said here")
    changed = door.coverage()[0]
    assert changed.explainers == {**first.explainers, before: first.explainers[before] - 1, "human": 1}
    rows = door.sql("SELECT dictionary, explainer, labelled FROM label_coverage WHERE explainer = 'human'").to_pylist()
    assert rows == [{"dictionary": "tiny/0-res", "explainer": "human", "labelled": 1}]
    assert second.dictionary == "tiny/1-res"


def test_a_feature_without_a_label_shows_its_nearest_that_have_one(door, store):
    """As a proxy in a field of its own: it has no label, and is not found by theirs."""
    store.index()
    id = "tiny/0-res/3"
    wanted = [hit.id for hit in door.nearest(id, within="tiny/0-res", k=3, group=False)]
    assert door.feature(id).labelled_neighbours == ()
    for label in door.feature(id).labels:
        door.remove_label(id, label.explainer)
    page = door.feature(id)
    assert (page.label, page.labels) == (None, ())
    assert [neighbour.id for neighbour in page.labelled_neighbours] == wanted
    for neighbour in page.labelled_neighbours:
        other = door.feature(neighbour.id)
        assert (neighbour.label, neighbour.explainer) == (other.label, other.labels[0].explainer)
        vectors = door.vectors([id, neighbour.id]).astype("float64")
        cosine = vectors[0] @ vectors[1] / numpy.linalg.norm(vectors[0]) / numpy.linalg.norm(vectors[1])
        assert neighbour.cosine == pytest.approx(cosine, abs=1e-3)
    assert id not in [hit.id for hit in door.search(page.labelled_neighbours[0].label, mode="keyword", k=40)]


def test_a_label_is_taken_back_through_either(door):
    """It is gone from every answer; what others say stays, the history shows both, and it can be said again."""
    id = "tiny/0-res/3"
    before = door.feature(id)
    door.set_label(id, "a slip of the pen")
    door.set_label(id, "another slip", "human:ann")
    assert door.remove_label(id) is None
    page = door.feature(id)
    assert [label.explainer for label in page.labels if label.explainer.startswith("human")] == ["human:ann"]
    assert page.label == "another slip"
    door.remove_label(id, "human:ann")
    page = door.feature(id)
    assert (page.label, page.labels) == (before.label, before.labels)
    told = [(change.label, change.explainer, change.removed) for change in door.label_history(id)[:4]]
    assert told == [
        ("another slip", "human:ann", True),
        ("a slip of the pen", "human", True),
        ("another slip", "human:ann", False),
        ("a slip of the pen", "human", False),
    ]
    condition = "dictionary = 'tiny/0-res' AND feature = 3"
    assert door.sql(f"FROM labels WHERE {condition} AND explainer LIKE 'human%'").num_rows == 0
    assert door.sql(f"SELECT label FROM features WHERE {condition}")["label"].to_pylist() == [before.label]
    assert door.sql(f"FROM best_labels WHERE {condition} AND explainer LIKE 'human%'").num_rows == 0
    door.set_label(id, "said after all")
    assert door.feature(id).label == "said after all"


@pytest.mark.parametrize(
    ("write", "error", "words"),
    [
        (lambda s: s.remove_label("tiny/0-res/3", "me"), NotFound, "no label by 'me'; it has labels by: "),
        (lambda s: s.remove_label("tiny/0-res/99"), NotFound, "no feature 99"),
        (lambda s: s.remove_label("x"), BadRequest, "is not a feature id"),
        (lambda s: s.set_label("tiny/0-res/3", " "), BadRequest, "label: it is empty"),
        (lambda s: s.set_label("tiny/0-res/3", "x", " "), BadRequest, "explainer: it is empty"),
        (lambda s: s.set_label("tiny/0-res", "x"), BadRequest, "is not a feature id"),
        (lambda s: s.set_label("tiny/0-res/99", "x"), NotFound, "no feature 99"),
        (lambda s: s.add_labels([]), BadRequest, "labels: there are none"),
        (lambda s: s.vote("tiny/0-res/3", "no such", 1), NotFound, "has no label 'no such'; its labels: "),
        (lambda s: s.vote("tiny/0-res/99", "x", 1), NotFound, "no feature 99"),
        (lambda s: s.vote("x", "x", 1), BadRequest, "is not a feature id"),
        (lambda s: s.vote("tiny/0-res/3", "x", 2), BadRequest, "vote: 2"),
        (lambda s: s.vote("tiny/0-res/3", "x", 1, " "), BadRequest, "voter: it is empty"),
    ],
)
def test_what_cannot_be_written_is_said_alike(door, write, error, words):
    before = door.info().commit
    with pytest.raises(error, match=words):
        write(door)
    assert door.info().commit == before


def test_a_service_that_takes_no_labels_says_so(remote):
    for write in (
        lambda: remote.set_label("tiny/0-res/3", "x"),
        lambda: remote.remove_label("tiny/0-res/3"),
        lambda: remote.vote("tiny/0-res/3", "x", 1),
    ):
        with pytest.raises(featurestore.Forbidden, match="--allow-writes"):
            write()


def test_equal_sql(local, remote):
    statement = "SELECT feature, label, histogram, top_logits, density FROM features ORDER BY dictionary, feature"
    assert remote.sql(statement).equals(local.sql(statement))
    cut = remote.sql(statement, max_rows=3)
    assert (cut.num_rows, cut.schema.metadata) == (3, {b"featurestore.truncated": b"3"})


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.feature("tiny/0-res/99"),
        lambda s: s.feature("tiny/nope/1"),
        lambda s: s.feature("tiny"),
        lambda s: s.feature("tiny/0-res/1", examples=-1),
        lambda s: s.dictionary("tiny/nope"),
        lambda s: s.vector("tiny/0-res/99"),
        lambda s: s.features(["tiny/0-res/1", "tiny/0-res/99"]),
        lambda s: s.features(["tiny/0-res/1"], examples=-1),
        lambda s: list(s.features_where("nose = 1")),
        lambda s: list(s.features_where("true UNION SELECT 'x', 1")),
        lambda s: list(s.features_where("true) ORDER BY (feature")),
        lambda s: list(s.features_where("feature = 1; DROP VIEW features")),
        lambda s: list(s.features_where("feature % 5 = 0) OR (state = 'dead'")),
        lambda s: list(s.features_where(" ")),
        lambda s: list(s.features_where(examples=-1)),
        lambda s: list(s.stream("SELECT nose FROM features")),
        lambda s: s.rerank("x", ["tiny/0-res/99"]),
        lambda s: s.neighbourhood("tiny/0-res/3", k=0),
        lambda s: s.duplicates("tiny/0-res", cosine=2.0),
        lambda s: s.compare("tiny/0-res/1"),
        lambda s: s.compare("tiny/0-res/1", "tiny/0-res"),
        lambda s: s.compare("tiny/0-res", "tiny/1-res", cosine=2.0),
        lambda s: s.compare("tiny/0-res", "tiny/1-res", k=0),
        lambda s: s.contrast([], ["x"]),
        lambda s: list(s.pages(text="x", k=0)),
        lambda s: list(s.pages(text="x", cursor="forged")),
        lambda s: s.vectors(["tiny/0-res/1", "tiny"]),
        lambda s: s.search("x", where="nose = 1"),
        lambda s: s.search("x", k=0),
        lambda s: s.search(" "),
        lambda s: s.nearest([1.0, 2.0]),
        lambda s: s.sql("DROP VIEW features"),
        lambda s: s.sql("SELECT nose FROM features"),
        lambda s: s.activating("def f():"),
        lambda s: s.activating(" "),
        lambda s: s.activating("x", k=0),
        lambda s: s.activating("x", order="best"),
    ],
)
def test_equal_errors(local, remote, ask):
    with pytest.raises(featurestore.FeatureStoreError) as here:
        ask(local)
    with pytest.raises(featurestore.FeatureStoreError) as there:
        ask(remote)
    assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))
    assert type(here.value) is not featurestore.FeatureStoreError


def test_command_line_gives_the_same(local, url, tiny_store, invoke):
    for store in (str(tiny_store), url):
        done = invoke(main, ["search", "exception handling", "--store", store, "--json", "-k", "4"])
        wanted = [(hit.id, hit.score) for hit in local.search("exception handling", k=4)]
        rows = list(map(json.loads, done.stdout.splitlines()))
        assert [row["id"] for row in rows] == [id for id, _ in wanted]
        # Products of vectors are rounded as the number of a process's threads has it.
        assert [row["score"] for row in rows] == pytest.approx([score for _, score in wanted], abs=1e-6)
        done = invoke(main, ["nearest", "tiny/0-res/3", "--store", store, "--json"])
        wanted = [hit.id for hit in local.nearest("tiny/0-res/3")]
        assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == wanted
        done = invoke(main, ["compare", "tiny/0-res/3", "tiny/0-res/8", "--store", store, "--json"])
        assert json.loads(done.stdout)["cosines"][0][1] == local.compare("tiny/0-res/3", "tiny/0-res/8").cosines[0][1]
        done = invoke(main, ["sql", "SELECT count(*) AS n FROM features", "--store", store, "--json"])
        assert json.loads(done.stdout) == {"n": 48}
        done = invoke(main, ["feature", "tiny/0-res/8", "--store", store, "--json"])
        assert json.loads(done.stdout)["label"] == local.feature("tiny/0-res/8").label


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "x", "--store", "/no/such"], 3, "error: no store at /no/such: there is no such directory"),
        (
            ["info", "--store", "localhost:8000"],
            3,
            "no store at localhost:8000: for a service write http://localhost:8000",
        ),
        (["feature", "0-res/3"], 2, "'0-res/3' is not a feature id"),
        (["feature", "0-res/3"], 2, "did you mean tiny/0-res/3?"),
        (
            ["duplicates", "0-res"],
            3,
            "no dictionary '0-res', did you mean tiny/0-res? there are: tiny/0-res",
        ),
        (["feature", "tiny/0-res/99"], 3, "error: no feature 99 in tiny/0-res: d_sae is 24"),
        (["nearest", "tiny/nope/1"], 3, "error: no dictionary 'tiny/nope'; there are: tiny/0-res, tiny/1-res"),
        (["nearest", "/no/such.npy"], 3, "error: no file /no/such.npy"),
        (["sql", "SELEC 1"], 2, "error: SQL: Parser Error"),
        (["search", "x", "--mode", "psychic"], 2, "error: mode: 'psychic' is not one of hybrid, keyword, semantic"),
        (["search", "x", "--store", "http://127.0.0.1:9"], 6, "error: nothing answers at http://127.0.0.1:9"),
        (["index", "--store", "http://127.0.0.1:9"], 2, "error: http://127.0.0.1:9 is a service, and writing is local"),
        (["harvest", "--model", "m", "--weights", "/no/such", "--text", "x"], 3, "error: no weights at /no/such"),
        (["inspect", "/no/such"], 3, "error: no weights at /no/such"),
        (["search", "x", "--limt", "3"], 2, "no option --limt"),
    ],
)
def test_mistakes_get_one_line_and_a_code(tiny_store, invoke, arguments, code, message, monkeypatch):
    monkeypatch.setattr("featurestore.client.transport.FIRST_PAUSE", 0.0)
    monkeypatch.setenv("FEATURESTORE", str(tiny_store))
    done = invoke(main, arguments)
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert "Traceback" not in done.output
    if message.startswith("error"):
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


def test_a_vector_file_of_the_wrong_width(tiny_store, invoke, tmp_path):
    numpy.save(tmp_path / "v.npy", numpy.ones(5))
    done = invoke(main, ["nearest", str(tmp_path / "v.npy"), "--store", str(tiny_store)])
    assert (done.exit_code, "it has 5 numbers, but vectors of space tiny have 8" in done.stderr) == (2, True)
    numpy.save(tmp_path / "v.npy", tiny_vector := numpy.eye(8)[0])
    done = invoke(main, ["nearest", str(tmp_path / "v.npy"), "--store", str(tiny_store), "--json"])
    with featurestore.connect(tiny_store) as store:
        assert json.loads(done.stdout.splitlines()[0])["id"] == store.nearest(tiny_vector)[0].id


def test_tables_for_people(tiny_store, invoke):
    done = invoke(main, ["search", "exception handling", "--store", str(tiny_store), "-k", "2"])
    assert done.stdout.splitlines()[0].split() == ["feature", "score", "label", "density", "why"]
    assert "left out: 2 dead and 2 always-on features (--all shows them)" in done.stderr
    done = invoke(main, ["feature", "tiny/0-res/8", "--store", str(tiny_store)])
    assert "exception handling" in done.stdout
    assert "def<< x>>(<< self>>):⏎" in done.stdout
    done = invoke(main, ["compare", "tiny/0-res/8", "tiny/0-res/3", "--store", str(tiny_store)])
    assert done.stdout.splitlines()[0].split() == ["n", "feature", "cos", "1", "cos", "2", "density", "label"]
    assert "def<< x>>(<< self>>):⏎" in done.stdout
    done = invoke(main, ["compare", "tiny/0-res", "tiny/1-res", "--store", str(tiny_store), "-k", "2"])
    assert "pairs are each other's best match" in done.stdout and "best matches" in done.stdout
    for command in (["info"], ["dictionaries"], ["sql", "SHOW TABLES"]):
        done = invoke(main, [*command, "--store", str(tiny_store)])
        assert (done.exit_code, done.stdout != "") == (0, True)


def test_every_command_has_help_with_an_example(invoke):
    listed = invoke(main, ["--help"]).stdout
    names = main.list_commands(None)
    assert {"demo", "harvest", "inspect", "label", "search", "nearest", "activating", "sql", "feature", "serve"} <= set(
        names
    )
    for name in names:
        assert name in listed
        shown = invoke(main, [name, "--help"]).stdout
        assert "Example" in shown, name


def test_a_busy_port_is_one_clear_line(tiny_store):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        command = [sys.executable, "-m", "featurestore.cli", "serve", "--store", str(tiny_store), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        6,
        f"error: port {port} of 127.0.0.1 is in use by another program: choose another with --port\n",
    )


def test_a_served_store_sees_new_parts(tmp_path):
    """A real `featurestore serve` process; another process writes; the next question sees it."""
    from tests.support import tiny

    tiny.write_tiny_store(tmp_path / "s").close()
    command = [sys.executable, "-u", "-m", "featurestore.cli", "serve", "--store", str(tmp_path / "s"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split(" at ")[1].split()[0]
        with Client(url) as client:
            assert len(client.dictionaries()) == 2
            with featurestore.connect(tmp_path / "s").writer("tests") as writer:
                tiny.add_dictionary(writer, "2-res", 2)
            deadline = time.monotonic() + 5
            while len(client.dictionaries()) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(client.dictionaries()) == 3
            assert client.feature("tiny/2-res/3").feature == 3
        process.terminate()
        assert (process.wait(30), process.stderr.read()) == (0, ""), "it ends without a word of leaked objects"


def test_addresses_that_are_no_service():
    with pytest.raises(Unavailable, match="nothing answers at ftp://x|is `featurestore serve` running"):
        Client("ftp://x").dictionaries()

    def elsewhere(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<html>"]

    with pytest.raises(Unavailable, match="answers with something else"):
        Client("http://x", transport=httpx2.WSGITransport(app=elsewhere)).dictionaries()


def test_a_restarting_service_is_asked_again(local, monkeypatch):
    monkeypatch.setattr("featurestore.client.transport.FIRST_PAUSE", 0.0)
    app, calls = create_app(local), []

    def flaky(environ, start_response):
        calls.append(environ["PATH_INFO"])
        if len(calls) < 3:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"restarting"]
        return app(environ, start_response)

    with Client("http://x", transport=httpx2.WSGITransport(app=flaky)) as client:
        assert len(client.dictionaries()) == 2
    assert len(calls) == 3


def test_errors_by_code():
    assert isinstance(featurestore.errors.error_of("not_found", "x"), NotFound)
    assert type(featurestore.errors.error_of("from the future", "x")) is featurestore.FeatureStoreError
    codes = [cls.code for cls in featurestore.FeatureStoreError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert issubclass(BadRequest, featurestore.FeatureStoreError)
