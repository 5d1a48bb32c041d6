"""A harvest on a real local Ray cluster gives the tables of one that was done alone, though a worker is killed
meanwhile."""

import contextlib
import dataclasses
import os
import signal
from pathlib import Path

import pytest

import featurestore
from featurestore import BadRequest, Unavailable
from featurestore.storage.directory import Directory
from ingest import weights
from ingest.harvest import ray_executor
from ingest.harvest.harvest import harvest
from ingest.harvest.plan import HarvestOptions
from ingest.harvest.shards import SHARD
from ingest.model.model import Model
from tests.ingest.harvest.test_harvest_again import TEXTS, a_store, content
from tests.support import small_models

ray = pytest.importorskip("ray")
# Ray opens sockets and files that it leaves to the end of the process.
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("cluster")
    model = Model(str(small_models.write_model(root / "model")))
    saes = {
        "1-res": weights.read(small_models.write_sae(root / "1-res", hook="blocks.1.hook_resid_post", seed=1)),
        "2-tc": weights.read(
            small_models.write_sae(root / "2-tc", seed=2, hook="blocks.2.mlp.hook_in", out="blocks.2.hook_mlp_out")
        ),
    }
    return model, saes


@pytest.fixture(scope="module")
def running():
    """A cluster of four processors, whose processes do not give way to others of this machine."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_worker_niceness", "0")
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=400 << 20)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr("ingest.harvest.forward_pass.UNIT_TOKENS", 22)
    monkeypatch.setattr(ray_executor, "TOGETHER", 1)
    monkeypatch.setattr(ray_executor, "COLLECTED", 3)


def workers():
    """The processes that count for this one: others may have clusters too."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if (process / "cmdline").read_bytes().startswith(b"ray::Worker") and os.getpid() in above(process.name):
                found.append(int(process.name))
    return found


def above(process):
    """The processes that a process came from."""
    parent = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return [parent, *(above(parent) if parent > 1 else [])]


def test_a_cluster_counts_what_one_process_counts(world, running, tmp_path):
    model, saes = world
    alone, many = a_store(tmp_path / "alone"), a_store(tmp_path / "many")
    harvest(alone, model, saes, TEXTS, model_id="small")
    killed = []

    def kill_once(steps, state=None):
        if steps and not killed:  # some units are merged, others are not
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    report = harvest(
        many,
        model,
        saes,
        TEXTS,
        model_id="small",
        progress=lambda description, total: kill_once,
        options=HarvestOptions(ray="auto", workers=3, checkpoint=tmp_path / "kept", every=0),
    )
    assert killed
    assert content(many) == content(alone)
    assert report.resumed == 0
    assert not (tmp_path / "kept").exists()


def test_tasks_whose_processes_are_killed_are_done_again(world, running, tmp_path, monkeypatch):
    model, saes = world
    marks = [tmp_path / task for task in ("merge_shards", "call_function", "make_parts")]

    def killed_once(function, mark):
        def killed(*given):
            done = function(*given)
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return killed

    for mark in marks:
        monkeypatch.setattr(ray_executor, mark.name, killed_once(getattr(ray_executor, mark.name), mark))
    monkeypatch.setattr(ray_executor, "PIECES", 2)
    alone, many = a_store(tmp_path / "alone"), a_store(tmp_path / "many")
    harvest(alone, model, saes, TEXTS, model_id="small")
    harvest(many, model, saes, TEXTS, model_id="small", options=HarvestOptions(ray="auto", workers=2))
    assert all(mark.exists() for mark in marks)
    assert content(many) == content(alone)
    assert Directory(tmp_path / "many").leftovers() == []


@pytest.mark.parametrize("memory", [8 << 30, pytest.param(1, marks=pytest.mark.slow)], ids=["at once", "in rounds"])
def test_a_harvest_goes_on_on_a_cluster_and_alone_again(world, running, tmp_path, monkeypatch, memory):
    """Shards, of which there are two, are kept by whoever counts and taken up by the other."""
    monkeypatch.setattr("ingest.harvest.forward_pass.UNIT_TOKENS", 100)
    monkeypatch.setattr(ray_executor, "COLLECTED", 1)
    model, _ = world
    most = slice(30, -40)  # a few features of both shards fire
    folder = small_models.write_sae(
        tmp_path / "wide", hook="blocks.1.hook_resid_post", d_sae=SHARD + 20, seed=3, silent=most
    )
    wide = {"wide": weights.read(folder)}
    texts = small_models.TEXTS * 2
    store = a_store(tmp_path / "store")

    def interrupted(after):
        counted = []

        def interrupt(steps, state=None):
            counted.append(steps)
            if len(counted) > after:
                raise KeyboardInterrupt

        return lambda description, total: interrupt

    here = HarvestOptions(memory=memory, checkpoint=tmp_path / "kept", every=0)
    for options in (here, dataclasses.replace(here, ray="auto", workers=2)):
        with pytest.raises(KeyboardInterrupt):
            harvest(store, model, wide, texts, model_id="small", options=options, progress=interrupted(2))
    report = harvest(store, model, wide, texts, model_id="small", options=here)
    assert 0 < report.resumed < 1
    alone = a_store(tmp_path / "alone")
    harvest(alone, model, wide, texts, model_id="small")
    assert content(store) == content(alone)
    assert sum(table == "features" for table, _, _ in content(alone)) == 2
    assert store.check().problems == ()


def test_what_a_worker_refuses_is_told(world, running, tmp_path):
    model, saes = world
    broken = Model(model.location)
    broken.hash = "another"
    store = featurestore.create(tmp_path / "store")
    with pytest.raises(BadRequest, match="another one on a worker .* put the same files on all machines"):
        harvest(store, broken, saes, TEXTS, model_id="small", options=HarvestOptions(ray="auto", workers=1))
    assert store.info().commit == 0


@pytest.mark.crash
def test_workers_that_always_die_are_told(world, running, tmp_path, monkeypatch):
    model, saes = world
    monkeypatch.setattr(ray_executor, "Worker", Dying)
    monkeypatch.setattr(ray_executor, "DEATHS", 1)
    store = featurestore.create(tmp_path / "store")
    with pytest.raises(Unavailable, match="workers die again and again"):
        harvest(store, model, saes, TEXTS, model_id="small", options=HarvestOptions(ray="auto", workers=1))
    assert store.info().commit == 0


class Dying(ray_executor.Worker):
    def count(self, units, spans):
        os._exit(1)


def test_no_cluster_is_told(world, tmp_path):
    model, saes = world
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(Unavailable, match="no Ray cluster answers at 127.0.0.1:1"):
        harvest(
            featurestore.create(tmp_path / "s"),
            model,
            saes,
            TEXTS,
            model_id="small",
            options=HarvestOptions(ray="127.0.0.1:1"),
        )
