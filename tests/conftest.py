import fcntl
import os
import signal

import httpx2
import pytest
from click.testing import CliRunner

import featurestore
from tests.support import ROOT
from tests.support.tiny import write_tiny_store

# As featurestore/cli/main.py does, and before torch is imported: threads that wait for one another sleep instead of
# spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# What a script starts in the background ignores Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Modules that take tens of seconds: `make test-long` runs them, `make test` does not. They begin in this order, so that
# no process is left with a long one at the end; the first builds the demo store, which is there when the last wants it.
LONG = (
    "docs/test_code_blocks.py",
    "docs/test_notebook.py",
    "labeler/runs/test_score_run.py",
    "ingest/harvest/test_ray_executor.py",
    "ingest/cli/test_harvest_on_ray.py",
    "labeler/runs/test_label_run.py",
    "ingest/harvest/test_harvest_again.py",
    "labeler/llm/test_ray_replicas.py",
    "featurestore/storage/test_object_store.py",
    "featurestore/storage/test_large_parts.py",
    "featurestore/sql/test_hostile_conditions.py",
    "featurestore/web/test_browser.py",
    "featurestore/web/api/test_openapi.py",
    "featurestore_demo/test_build.py",
    "docs/test_site.py",
    "featurestore/search/vectors/test_index.py",
    "featurestore/sql/test_hostile_sql.py",
    "featurestore/maintenance/test_jobs.py",
    "featurestore/maintenance/test_check.py",
    "featurestore/maintenance/test_migrate.py",
    "featurestore/storage/test_paths.py",
    "featurestore/storage/test_directory.py",
    "featurestore/store/test_fork.py",
    "featurestore/store/test_together.py",
    "featurestore/web/test_hostile_requests.py",
    "featurestore/web/compat/test_hostile_compat.py",
    "featurestore/web/test_browser_sites.py",
    "featurestore/web/serving/test_replicas.py",
    "featurestore/search/encoders/test_bert.py",
    "featurestore_demo/test_train.py",
    "ingest/formats/test_import_run.py",
    "ingest/formats/test_reading.py",
    "ingest/formats/joining/test_mixed_layers.py",
    "featurestore/snapshot/test_feature_page.py",
    "featurestore/store/test_labels.py",
    "featurestore/tables/test_completeness.py",
    "featurestore/test_absent_parts.py",
    "featurestore/web/test_browser_graphs.py",
    "featurestore/web/test_browser_sql.py",
    "featurestore/web/pages/test_browser_map.py",
    "featurestore/web/test_responses.py",
    "labeler/llm/test_batch_api.py",
    "labeler/llm/test_budget.py",
    "ingest/formats/test_export.py",
    "ingest/formats/site/test_site.py",
    "ingest/model/test_model.py",
    "featurestore/extension/test_output.py",
    "featurestore/graphs/test_graph_store.py",
    "featurestore/mcp/test_server.py",
    "featurestore/mcp/test_service_url.py",
    "featurestore/web/test_browser_embeds.py",
    "docs/test_transcript.py",
    "featurestore/web/api/test_batches.py",
    "bench/test_search.py",
    "bench/test_harvest.py",
    "featurestore/web/test_browser_compare.py",
    "featurestore/web/test_browser_feature.py",
    "featurestore/web/pages/test_browser_labels.py",
    "featurestore/web/test_browser_text.py",
    "featurestore/store/test_damaged_indexes.py",
    "featurestore/store/test_damaged_parts.py",
    "featurestore/store/test_hostile_stores.py",
    "featurestore/web/compat/test_made_up_requests.py",
    "featurestore/test_id_forms.py",
    "featurestore/tables/test_stored_types.py",
    "featurestore/web/serving/test_workers.py",
    "featurestore/maintenance/test_feature_maps.py",
    "featurestore/maintenance/test_iceberg.py",
    "ingest/formats/test_round_trips.py",
    "featurestore/sql/test_worker_process.py",
    "featurestore/search/examples/test_example_index.py",
)


PLACES = {ROOT / "tests" / module: place for place, module in enumerate(LONG)}


def pytest_ignore_collect(collection_path, config):
    """Modules that a run leaves out as a whole are not imported: all of them take a worker half a minute."""
    if collection_path.name == "clients" and "not clients" in config.option.markexpr:
        return True
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    first = config.option.markexpr.split(" and ")[0]
    return {"not long": collection_path in PLACES, "long": collection_path not in PLACES}.get(first) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path in PLACES:
            item.add_marker("long")
    items.sort(key=lambda item: PLACES.get(item.path, len(PLACES)))


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory):
    """What tests harvest from is not recorded for the person who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATURESTORE_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory):
    """Path of the store of tests/support/tiny.py; nobody writes to it."""
    path = tmp_path_factory.mktemp("stores") / "tiny.features"
    write_tiny_store(path).close()
    return path


@pytest.fixture(scope="module", params=["local", "http"])
def either(request, tiny_store):
    """The store of tests/support/tiny.py, and a client of its service: what is asked of one is answered alike by the
    other."""
    from featurestore.client import Client
    from featurestore.web import create_app

    with featurestore.connect(tiny_store) as opened:
        if request.param == "local":
            yield opened
            return
        with Client("http://x", transport=httpx2.WSGITransport(app=create_app(opened))) as client:
            yield client


@pytest.fixture(params=["local", "http"])
def door(request, store):
    """The store of the module's fixture, and a client of a service over it that takes writes."""
    from featurestore.client import Client
    from featurestore.web import Settings, create_app

    if request.param == "local":
        yield store
        return
    app = create_app(store, Settings(writes=True))
    with Client("http://x", transport=httpx2.WSGITransport(app=app)) as client:
        yield client


@pytest.fixture(scope="module")
def one_thread():
    """Small products of matrices do not wait for threads; and their last bits are those of workers, which have one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def invoke():
    """Runs a command in this process: invoke(main, ["search", ...]) -> result with exit_code, stdout and stderr."""
    return CliRunner().invoke


@pytest.fixture(scope="session")
def demo_features(tmp_path_factory):
    """Path of a demo store of few tokens, built as `featurestore demo` builds it; nobody writes to it.

    Processes of one run share it: the first that wants it builds it, others wait.
    """
    from featurestore_demo import build

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo"
    folder.mkdir(exist_ok=True)
    path, built = folder / "demo.features", folder / "built"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            said = build.build(path, tokens=60_000)
            assert said[0].startswith("harvested 3 dictionaries over 60,000 tokens")
            built.touch()
    return path
