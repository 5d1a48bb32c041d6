"""An object store that fails: each fault is tried again, or ends with one clear line; nothing wrong is read."""

import os

import pytest

import featurestore
from featurestore import FeatureStoreError
from tests.featurestore.storage import far_side
from tests.support import tiny
from tests.support.servers import s3_server

# They wait for what is slow and for tries after pauses: two minutes in all.
pytestmark = pytest.mark.crash
STATEMENT = "SELECT count(*) AS n, sum(feature) AS s FROM stored.examples"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """A bucket behind a proxy, and what decides the proxy's faults."""
    with (
        s3_server.serve_bucket(tmp_path_factory.mktemp("cache")) as url,
        far_side.serve_proxy(os.environ["AWS_ENDPOINT_URL"]) as (proxy, faults),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_ENDPOINT_URL", proxy)
        tiny.write_tiny_store(f"{url}/tiny").close()
        yield url, faults


@pytest.fixture
def faults(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATURESTORE_CACHE", str(tmp_path / "cache"))
    bucket[1].clear()
    yield bucket[1]
    bucket[1].clear()


@pytest.mark.parametrize("kind", ["503", "500", "cut", "slow", "lost"])
def test_a_read_that_fails_once_is_tried_again(bucket, faults, tiny_store, kind):
    with featurestore.connect(tiny_store) as here, featurestore.connect(f"{bucket[0]}/tiny") as there:
        faults.fail(kind, "GET", "/examples/")
        assert there.sql(STATEMENT).equals(here.sql(STATEMENT))
        faults.fail(kind, "GET", "/example_rows/")
        faults.fail(kind, "GET", "/token_stream/.*tokens.npy")
        assert there.feature("tiny/0-res/3") == here.feature("tiny/0-res/3")
        faults.fail(kind, "GET", "/log/")
        assert there.check().problems == ()
    assert faults.happened == [kind] * 4


def test_fewer_bytes_than_were_asked_for_are_never_taken_for_a_file(bucket, faults, tiny_store):
    with featurestore.connect(tiny_store) as here, featurestore.connect(f"{bucket[0]}/tiny") as there:
        faults.fail("short", "GET", "/examples/", times=100)
        with pytest.raises(FeatureStoreError, match="bytes") as told:
            there.sql(STATEMENT)
        assert "\n" not in str(told.value)
        faults.clear()
        faults.fail("short", "GET", "/token_stream/.*tokens.npy", times=100)
        with pytest.raises(FeatureStoreError, match="bytes") as told:
            there.feature("tiny/0-res/3")
        assert "\n" not in str(told.value)
        faults.clear()
        assert there.sql(STATEMENT).equals(here.sql(STATEMENT)), "nothing wrong was kept"
        assert there.feature("tiny/0-res/3") == here.feature("tiny/0-res/3")


@pytest.mark.parametrize("kind", ["503", "500", "slow", "lost"])
@pytest.mark.parametrize("path", ["/log/", "/features/tiny/9-res/"])
def test_a_write_that_fails_once_lands_once(bucket, faults, kind, path):
    location = f"{bucket[0]}/written-{kind}-{path.split('/')[1]}"
    with tiny.write_tiny_store(location, index=False) as store:
        faults.fail(kind, "PUT", path)
        with store.writer("tests") as writer:
            tiny.add_dictionary(writer, "9-res", 0)
        assert faults.happened == [kind]
    with featurestore.connect(location) as store:
        assert store.info().commit == 2
        assert store.sql("SELECT count(*) AS n FROM features")["n"].to_pylist() == [72]
        found = store.check()
        assert (found.problems, found.leftovers) == ((), ())
