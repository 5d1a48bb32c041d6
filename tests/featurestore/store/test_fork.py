"""A store in a process that was forked from the one that opened it, and a store that is sent to another process."""

import gc
import os
import pickle
import signal

import pytest

import featurestore
from featurestore import Unavailable
from featurestore.client import Client
from tests.support import tiny

STATEMENT = "SELECT count(*) AS n FROM features WHERE list_contains([1, 2], feature) AND label IS NOT NULL"


@pytest.fixture(scope="module")
def location(tiny_store):
    return str(tiny_store)


def in_fork(ask, seconds=60):
    """What `ask` returns in a forked process; the process is ended after `seconds`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        try:
            answer = ask()
        except BaseException as exc:
            answer = exc
        os.write(writer, pickle.dumps(answer))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        raw = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the process ended with {status}"
    return pickle.loads(raw)


# Python warns of forking while threads run, which is what is tried here.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("isolated", [False, True])
def test_a_store_that_was_used_before_a_fork_answers_in_it(location, isolated):
    def ask():
        return (
            store.sql(STATEMENT).to_pylist(),
            [hit.id for hit in store.search("self", mode="keyword")],
            [hit.id for hit in store.search("self", mode="keyword", where="density > 0.001")],
            [hit.id for hit in store.nearest("tiny/0-res/3")],
            store.feature("tiny/0-res/3").label,
        )

    with featurestore.connect(location) as store:
        if isolated:
            store.isolate_sql(1)
        wanted = ask()
        view = store._current_view
        assert in_fork(ask) == wanted
        assert store._current_view is view  # the parent's goes on
        assert ask() == wanted


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_never_frees_what_its_parent_had_open(location):
    """DuckDB crashes where its threads are missing: at the collector's turn, and where the last reference goes."""

    def leave_garbage():
        ring = [featurestore.connect(location)]
        ring.append(ring)
        ring[0].sql(STATEMENT)

    def forget_all():
        nonlocal store
        store.close()
        store = None
        return gc.collect() >= 0

    gc.disable()
    try:
        for _ in range(3):
            leave_garbage()
        store = featurestore.connect(location)
        store.sql(STATEMENT)
        assert in_fork(forget_all)
        store.close()
    finally:
        gc.enable()
        gc.collect()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_another_thread_holds_the_store_does_not_wait_for_it(location):
    with featurestore.connect(location) as store:
        wanted = store.sql("SELECT 1 AS v").to_pylist()
        with store._lock:
            assert in_fork(lambda: store.sql("SELECT 1 AS v").to_pylist()) == wanted


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_store_in_a_bucket_says_at_once_that_it_cannot(location):
    with featurestore.connect(location) as store:
        store.location = "s3://bucket/store"
        answer = in_fork(lambda: store.sql("SELECT 1"))
        store.location = location
    assert isinstance(answer, Unavailable) and "spawn" in str(answer)


def test_a_store_is_pickled_as_its_location(tmp_path, monkeypatch):
    tiny.write_tiny_store(tmp_path / "s", index=False).close()
    monkeypatch.chdir(tmp_path)
    with featurestore.connect("s", embedder="mine") as store:
        store.sql("SELECT 1")
        raw = pickle.dumps(store)
        wanted = store.sql(STATEMENT)
    assert len(raw) < 1000
    monkeypatch.chdir("/")
    with pickle.loads(raw) as again:
        assert again.sql(STATEMENT) == wanted
        assert (again.location, again._named) == (str(tmp_path / "s"), "mine")


def test_a_client_is_pickled_as_its_url(monkeypatch):
    monkeypatch.setenv("FEATURESTORE_KEY", "of-the-environment")
    with Client("http://any:secret@127.0.0.1:9", timeout=3.0, retries=0) as client:
        again = pickle.loads(pickle.dumps(client))
    assert again.location == "http://127.0.0.1:9" and again._http.timeout == 3.0
    assert again._http._http.headers["authorization"] == "Bearer secret"
    assert b"of-the-environment" not in pickle.dumps(Client("http://127.0.0.1:9"))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_client_in_a_fork_has_connections_of_its_own():
    with Client("http://127.0.0.1:9") as client:
        before = id(client._http._http)
        assert in_fork(lambda: id(client._http._http) != before and len(client._http._clients) == 2)
        assert id(client._http._http) == before
