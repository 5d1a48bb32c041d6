"""Crash safety by killing: real writers, SIGKILL at random moments, 100 times and more; and disks that fill up."""

import errno
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

import featurestore
from featurestore import Unavailable
from featurestore.search import embedders
from tests.support import tiny, writer_jobs

pytestmark = pytest.mark.crash
KILLS = 5  # in a row, before the job may end
ROUNDS = 3
JOBS = [
    (writer_jobs.harvesting, "plain"),
    (writer_jobs.importing, "plain"),
    (writer_jobs.labelling, "plain"),
    (writer_jobs.compacting, "scattered"),
    (writer_jobs.deleting, "scattered"),
    (writer_jobs.replacing, "plain"),
    (writer_jobs.indexing, "scattered"),
]
KILLED: list[int] = []
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.support.writer_jobs"])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    writer_jobs.make_world(folder)
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """The stores that jobs begin with: as written, and with many small label parts."""
    folder = tmp_path_factory.mktemp("bases")
    tiny.write_tiny_store(folder / "plain", index=False).close()
    with tiny.write_tiny_store(folder / "scattered", index=False) as store:
        writer_jobs.scatter_labels(store)
    return folder


def start(job, store, world):
    process = PROCESSES.Process(target=job, args=(str(store), str(world)))
    process.start()
    return process


def check_whole(store):
    with featurestore.connect(store) as opened:
        found = opened.check()
    assert found.problems == ()
    return found


@pytest.mark.parametrize(("job", "base"), JOBS, ids=lambda value: getattr(value, "__name__", value))
def test_killed_at_any_moment_it_resumes_to_the_same_end(tmp_path, world, bases, monkeypatch, job, base):
    monkeypatch.setattr(embedders, "available", lambda setting: False)
    wanted, takes = tmp_path / "wanted", 0.0
    for _ in range(2):  # the first one also starts the server that processes are forked from
        shutil.rmtree(wanted, ignore_errors=True)
        shutil.copytree(bases / base, wanted)
        began = time.monotonic()
        process = start(job, wanted, world)
        process.join(60)
        assert process.exitcode == 0
        takes = time.monotonic() - began
    expected = writer_jobs.content(wanted)
    moments = random.Random(job.__name__)  # the same on every run of the tests
    for round in range(ROUNDS):
        store, last, killed = tmp_path / f"round{round}", 0, 0
        shutil.copytree(bases / base, store)
        while killed < KILLS:
            process = start(job, store, world)
            time.sleep(moments.uniform(0, takes))
            process.kill()
            process.join()
            if process.exitcode == 0:  # it was quicker: once more from the start
                shutil.rmtree(store)
                shutil.copytree(bases / base, store)
                last = 0
                continue
            assert process.exitcode == -signal.SIGKILL
            killed += 1
            found = check_whole(store)
            assert found.commit >= last, "what was committed is there"
            last = found.commit
        process = start(job, store, world)
        process.join(60)
        assert process.exitcode == 0
        assert writer_jobs.content(store) == expected
        with featurestore.connect(store) as opened:
            opened.repair()
        assert check_whole(store).leftovers == ()
        KILLED.append(killed)


def test_there_were_a_hundred_kills():
    if len(KILLED) < len(JOBS) * ROUNDS:
        pytest.skip("only when all of this file runs")
    assert sum(KILLED) >= 100


def test_the_next_writer_sweeps_what_a_killed_one_left(tmp_path, world, bases):
    store = tmp_path / "s"
    shutil.copytree(bases / "plain", store)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        process = start(writer_jobs.importing, store, world)
        while process.exitcode is None and not list((store / "features").rglob("*imported/*")):
            time.sleep(0.001)
        process.kill()
        process.join()
        if check_whole(store).leftovers:
            break
        shutil.rmtree(store)
        shutil.copytree(bases / "plain", store)
    assert check_whole(store).leftovers, "no kill was in time"
    with featurestore.connect(store) as opened:
        writer_jobs.scatter_labels(opened, parts=1)
    assert check_whole(store).leftovers == ()


def test_a_writer_that_works_is_not_swept(tmp_path, bases):
    store = tmp_path / "s"
    shutil.copytree(bases / "plain", store)
    with featurestore.connect(store) as one, featurestore.connect(store) as other, one.writer("slow") as writer:
        tiny.add_dictionary(writer, "slow", 0)
        assert check_whole(store).leftovers == ()
        other.repair()
        writer_jobs.scatter_labels(other, parts=1)
    assert check_whole(store).leftovers == ()
    with featurestore.connect(store) as opened:
        assert opened.feature("tiny/slow/3").label


def _limited(job, store, world, most):
    """Run a job that may write no file beyond `most` bytes: what a full disk or a quota is to a program."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    try:
        job(store, world)
    except Unavailable as exc:
        os._exit(exc.exit_code if os.strerror(errno.EFBIG) in str(exc) else 1)
    os._exit(0)


@pytest.mark.parametrize("most", [10, 100, 400, 1000, 2000, 4000])
@pytest.mark.parametrize(
    "job", [writer_jobs.importing, writer_jobs.labelling, writer_jobs.compacting, writer_jobs.deleting]
)
def test_a_disk_that_fills_up_is_told_and_loses_nothing(tmp_path, world, bases, job, most):
    store = tmp_path / "s"
    shutil.copytree(bases / "scattered", store)
    before = writer_jobs.content(store)
    process = PROCESSES.Process(target=_limited, args=(job, str(store), str(world), most))
    process.start()
    process.join(60)
    assert process.exitcode in (0, Unavailable.exit_code)
    assert check_whole(store).leftovers == ()
    if process.exitcode and most <= 100:
        assert writer_jobs.content(store) == before


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_small_file_system(tmp_path, bases, world):
    mounted = tmp_path / "disk"
    mounted.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", mounted]).returncode:
        pytest.skip("no right to mount a file system; the limit on file sizes above stands for it")
    try:
        shutil.copytree(bases / "plain", mounted / "s")
        with featurestore.connect(mounted / "s") as store:
            with pytest.raises(Unavailable, match="No space left on device"):
                for n in range(100):
                    with store.writer("fill") as writer:
                        tiny.add_dictionary(writer, f"{n}-fill", 0)
            count = len(store.dictionaries())
            assert 2 <= count < 100
            assert store.check().problems == ()
            assert store.check().leftovers == ()
            assert all(store.feature(f"{one.dictionary}/5").label for one in store.dictionaries())
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)  # vectors are still mapped


def _as_nobody(store, warm):
    with featurestore.connect(warm) as opened:  # what is imported late may lie where only root can read
        assert opened.feature("tiny/0-res/3").label
        opened.compact()
    os.setegid(65534)
    os.seteuid(65534)
    with featurestore.connect(store) as opened:
        assert opened.feature("tiny/0-res/3").label
        try:
            opened.compact()
        except Unavailable as exc:
            os._exit(exc.exit_code if "Permission denied" in str(exc) else 1)
    os._exit(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_store_one_may_only_read(tmp_path_factory, bases):
    folder = tmp_path_factory.mktemp("readonly")
    for parent in [folder, *folder.parents[:2]]:
        parent.chmod(0o755)
    for name in ("s", "warm"):
        shutil.copytree(bases / "scattered", folder / name)
    process = PROCESSES.Process(target=_as_nobody, args=(str(folder / "s"), str(folder / "warm")))
    process.start()
    process.join(60)
    assert process.exitcode == Unavailable.exit_code
    assert check_whole(folder / "s").leftovers == ()
