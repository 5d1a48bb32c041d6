"""Labels by servers that run on a real local Ray cluster for the time of the run; one is killed meanwhile."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featurestore import Unavailable
from featurestore.cli.main import main
from featurestore.progress import no_progress
from labeler.llm import ray_replicas
from labeler.llm.asker import Asker
from labeler.llm.journal import Journal
from labeler.runs import label_run
from tests.support import ROOT, fake_llm, label_store

ray = pytest.importorskip("ray")
# Ray opens sockets and files that it leaves to the end of the process.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
# The latency tells this run's servers from those of others on this machine.
LATENCY = f"0.02{os.getpid():07d}"
SERVE = f"{sys.executable} {fake_llm.__file__} --latency {LATENCY} --host {{host}} --port {{port}} --key {{key}}"


@pytest.fixture(scope="module")
def running():
    """A cluster of two processors."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield
    ray.shutdown()


def processes(command):
    """Those whose command line holds the words."""
    words = b"\0".join(word.encode() for word in shlex.split(command.split(" --host")[0]))
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if (process / "cmdline").read_bytes().startswith(words):
                found.append(int(process.name))
    return found


def gone(command):
    """Whether no such process is left, after a while."""
    until = time.monotonic() + 60
    while processes(command) and time.monotonic() < until:
        time.sleep(0.02)
    return not processes(command)


@pytest.mark.crash
@pytest.mark.parametrize("servers", [1, 2])
def test_a_killed_servers_features_are_asked_about_again(running, tmp_path, servers):
    """With two, the other is asked; with one, it is started anew. Nothing is lost, nothing doubled."""
    killed = []

    done = []

    def kill_at_twenty(steps, state=None):
        done.extend([None] * steps)
        if len(done) - steps < 20 <= len(done):
            killed.append(processes(SERVE)[0])
            os.kill(killed[0], signal.SIGKILL)

    with (
        label_store.write_many(tmp_path / "s", 120) as store,
        Journal(tmp_path / "j") as kept,
        ray_replicas.serve_on_ray("auto", SERVE, "judge", servers) as fleet,
    ):
        asker = Asker(fleet, kept)
        report = label_run.label_with_model(store, asker, progress=lambda description, total: kill_at_twenty)
        assert killed
        assert (report.labelled, report.paid, report.failed, kept.count()) == (120, 120, {}, 120)
        rows = store.sql("SELECT feature, label FROM stored.labels WHERE explainer = 'judge'").to_pylist()
        assert len({row["feature"] for row in rows}) == len(rows) == 120
        for row in rows[::17]:
            assert {"label": row["label"]} == json.loads(label_store.expected(store, row["feature"]))
        again = label_run.label_with_model(store, asker, progress=no_progress, redo=True)
        assert (again.labelled, again.paid) == (120, 120), "all from the journal"
    assert gone(SERVE)


@pytest.mark.crash
def test_servers_end_with_a_driver_that_is_killed():
    driver = f"""if True:
        import sys
        from labeler.llm import ray_replicas
        with ray_replicas.serve_on_ray("local", {SERVE!r}, "judge", 1) as fleet:
            print(fleet[0].base_url, flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-W", "ignore", "-c", driver]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b"http://")
        assert processes(SERVE)
        process.kill()
    assert gone(SERVE)


def test_the_command(running, tmp_path, invoke):
    label_store.write_many(tmp_path / "s", 12).close()
    asked = ["--store", str(tmp_path / "s"), "--model", "judge", "--no-index", "--json"]
    done = invoke(main, ["label", *asked, "--ray", "auto", "--servers", "2", "--serve", SERVE])
    assert json.loads(done.stdout)["labelled"] == 12, done.output
    assert gone(SERVE)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (f"{sys.executable} -c \"raise SystemExit('no such model {{port}}')\"", "ended with 1: no such model"),
        ("/no/such/server {port}", "ended with 127: /no/such/server: No such file"),
    ],
)
def test_a_command_that_serves_nothing_is_told(running, monkeypatch, command, words):
    monkeypatch.setattr(ray_replicas, "DEATHS", 1)
    with pytest.raises(Unavailable, match=words), ray_replicas.serve_on_ray("auto", command, "judge", 1):
        pass


@pytest.mark.parametrize(
    ("wanted", "words"),
    [({"gpus": 1}, "needs 1 GPU, and the cluster has 0"), ({"count": 3}, "needs 1 CPU, .* 2: room for 2")],
)
def test_more_than_the_cluster_has_is_told(running, wanted, words):
    with pytest.raises(Unavailable, match=words), ray_replicas.serve_on_ray("auto", SERVE, "judge", **wanted):
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ray", "auto"], "--ray needs --serve"),
        (["--ray", "auto", "--serve", "vllm serve m"], "does not say where {port} goes"),
        (["--ray", "auto", "--serve", "vllm 'serve {port}"], "is no command"),
        (["--serve", "vllm serve m --port {port}"], "go with --ray"),
        (["--ray", "auto", "--serve", "vllm --port {port}", "--batch"], "without --endpoint and --batch"),
    ],
)
def test_mistakes_get_one_line(tmp_path, invoke, options, words):
    label_store.write_many(tmp_path / "s", 1).close()
    done = invoke(main, ["label", "--store", str(tmp_path / "s"), "--model", "judge", *options])
    assert (done.exit_code, words in done.stderr) == (2, True), done.output
