"""Long work and what is known of it: by hand, started through every door, cancelled, killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

import featurestore
from featurestore import BadRequest, Conflict, NotFound, Unavailable
from featurestore.cli.main import main
from featurestore.maintenance import job_files, jobs
from featurestore.maintenance.job_files import StoredJob, find_problem, lock, new_job, save
from featurestore.maintenance.job_records import keep_record
from featurestore.storage.locations import storage_at
from featurestore.web import Settings, create_app
from featurestore.web.security import keys
from featurestore.web.security.keys import Keys
from tests.support import small_models, tiny

HOLDING = """
import sys, time
from featurestore import connect
store = connect(sys.argv[1])
with store.keep_record("harvest", "gpt2 8-res") as record:
    advance = record.stage("harvesting tokens", 100)
    advance(40)
    record._update(force=True)
    print(store.jobs()[0].id, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        yield opened
        for one in opened.jobs():  # nothing that a test started outlives it
            if one.state == "running":
                opened.cancel_job(one.id)


@pytest.fixture
def by_hand(store):
    """A process that harvests, so it says, and its job."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, store.location], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, process.stdout.readline().strip()
        process.kill()


def ended(door, id):
    """The job, once it has ended."""
    until = time.monotonic() + 120
    while (found := door.job(id)).state == "running":
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("kind", ["compact", "check"])
def test_what_is_started_is_done_in_its_own_process(door, store, kind):
    started = door.start_job(kind)
    assert (started.kind, started.state, started.id.split("-")[0]) == (kind, "running", kind)
    found = ended(door, started.id)
    assert (found.state, found.error) == ("done", None)
    assert [one.id for one in door.jobs()] == [started.id]
    assert door.jobs() == store.jobs()
    if kind == "compact":
        assert "tiny/0-res: best labels copied beside 24 features" in found.lines
        assert store.compact() == []
    else:
        assert (found.message, found.result["problems"], found.result["files"]) == ("whole", [], store.check().files)
        assert store.location not in json.dumps(found.result)
    assert store.check().leftovers == ()
    assert door.cancel_job(started.id) == found
    assert door.jobs() == []
    with pytest.raises(NotFound, match=f"no job '{started.id}'"):
        door.job(started.id)


def test_a_check_that_finds_something_says_what(store):
    part = next((store._directory.storage.path / "features").rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    found = ended(store, store.start_job("check").id)
    assert (found.state, found.message) == ("done", f"1 problems in {found.result['files']:,} parts")
    (problem,) = found.result["problems"]
    assert problem["file"] == part.relative_to(store.location).as_posix()


def test_work_that_fails_says_why_and_not_where(store):
    part = next((store._directory.storage.path / "features").rglob("*.parquet"))
    part.unlink()
    found = ended(store, store.start_job("compact").id)
    assert (found.state, found.error.code) == ("failed", "bad_store")
    assert found.message == found.error.detail
    assert store.location not in found.message
    assert part.name in found.message


def test_one_of_a_kind_at_a_time(door, store):
    """While one of a kind holds its lock, whoever has it."""
    held = job_files.lock(store._directory.storage, "check.alone")
    with pytest.raises(Conflict, match="one check at a time: another runs already"):
        door.start_job("check")
    os.close(held)
    assert ended(door, door.start_job("check").id).state == "done"
    with store.keep_record("compact") as record, pytest.raises(Conflict) as refused:
        door.start_job("compact")
    assert str(refused.value) == f"one compact at a time: {record.job.id} runs already"


@pytest.mark.parametrize("kind", ["harvest", "", "Check"])
def test_kinds_that_cannot_be_started(door, kind):
    with pytest.raises(BadRequest, match=f"kind: '{kind}' is not one of index, compact, check"):
        door.start_job(kind)


@pytest.mark.parametrize("id", ["check", "check-0123456789ab", "../store", "x" * 300])
def test_jobs_that_are_not_there(door, id):
    for ask in (door.job, door.cancel_job):
        with pytest.raises(NotFound, match="no job '|nothing is at"):
            ask(id)


def test_work_by_hand_is_seen_and_not_ended_from_afar(door, by_hand):
    process, id = by_hand
    found = door.job(id)
    assert (found.kind, found.about, found.state) == ("harvest", "gpt2 8-res", "running")
    assert (found.doing, found.done, found.total) == ("harvesting tokens", 40, 100)
    assert found.message == "harvesting tokens, 40 of 100"
    with pytest.raises(Conflict, match="was started by hand: end it where it runs"):
        door.cancel_job(id)
    assert process.poll() is None


def test_work_that_was_killed_is_told_and_gone_on_with(store, by_hand):
    process, id = by_hand
    process.kill()
    process.wait()
    found = store.job(id)
    assert (found.state, found.done) == ("interrupted", 40)
    assert "run the same command again" in found.message
    with store.keep_record("harvest", "something else"):
        assert id in [one.id for one in store.jobs()]
    with store.keep_record("harvest", "gpt2 8-res"):
        assert id not in [one.id for one in store.jobs()]


@pytest.mark.parametrize("stubborn", [False, True])
def test_cancelling_ends_the_process(door, store, stubborn, monkeypatch):
    """A stand-in for the work, that waits: with a job's locks, as a real one has them."""
    monkeypatch.setattr(jobs, "PATIENCE", 30.0 if not stubborn else 0.3)
    wait = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if stubborn else ""
    code = f"import signal, time; {wait}print('ready', flush=True); time.sleep(600)"
    real, begun = subprocess.Popen, []

    def waiting(module, *words, **options):
        process = real([sys.executable, "-c", code, *words], **options | {"stdout": subprocess.PIPE})
        assert process.stdout.readline() == b"ready\n"
        begun.append(process)
        return process

    monkeypatch.setattr("featurestore.maintenance.jobs.start_python", waiting)
    started = door.start_job("index")
    with pytest.raises(Conflict, match=f"one index at a time: {started.id} runs already"):
        door.start_job("index")
    assert door.cancel_job(started.id).state == "cancelled"
    (process,) = begun
    assert process.wait() == (-signal.SIGKILL if stubborn else -signal.SIGTERM)
    process.stdout.close()
    assert door.job(started.id).state == "cancelled"


def test_a_job_hears_that_it_is_to_end(store, monkeypatch):
    """The real process, from its first moment on: whenever the signal comes, the store is whole."""
    started = store.start_job("compact")
    assert store.cancel_job(started.id).state in ("cancelled", "done")
    assert store.check().problems == ()


def test_commands_keep_account_of_themselves(store, invoke):
    place = ["--store", store.location]
    assert invoke(main, ["check", *place]).exit_code == 0
    assert invoke(main, ["label", "--no-index", *place]).exit_code == 0
    assert invoke(main, ["label", "set", "tiny/0-res/3", "a word", *place]).exit_code == 0
    label, check = store.jobs()
    assert (check.kind, check.state, check.rows) == ("check", "done", None)
    assert (label.kind, label.state, label.about) == ("label", "done", "tokens")
    assert (
        label.rows
        == store.sql("SELECT count(*) AS n FROM stored.labels WHERE tool LIKE 'featurestore 0%'")["n"][0].as_py()
    )
    shown = invoke(main, ["jobs", *place]).stdout
    assert label.id in shown and check.id in shown
    assert json.loads(invoke(main, ["jobs", check.id, "--json", *place]).stdout)["kind"] == "check"
    assert invoke(main, ["jobs", check.id, "--cancel", *place]).exit_code == 0
    assert [one.id for one in store.jobs()] == [label.id]
    assert invoke(main, ["jobs", check.id, *place]).exit_code == 3
    assert invoke(main, ["jobs", "--cancel", *place]).exit_code == 2
    done = invoke(main, ["jobs", "--start", "check", "--json", *place])
    assert ended(store, json.loads(done.stdout)["id"]).state == "done"


def test_a_command_that_finds_damage_is_done_and_one_that_fails_is_not(store, invoke):
    part = next((store._directory.storage.path / "features").rglob("*.parquet"))
    part.unlink()
    assert invoke(main, ["check", "--store", store.location]).exit_code == 7
    assert invoke(main, ["compact", "--store", store.location]).exit_code == 7
    assert [(one.kind, one.state) for one in store.jobs()] == [("compact", "failed"), ("check", "done")]


def test_a_harvest_keeps_account_and_one_that_fails_leaves_no_store(tmp_path, invoke):
    model, place = small_models.write_model(tmp_path / "gpt2"), tmp_path / "s"
    sae = small_models.write_sae(tmp_path / "sae", hook="blocks.1.hook_resid_post")
    command = ["harvest", "--store", str(place), "--model", str(model), "--no-index"]
    wide = small_models.write_sae(tmp_path / "wide", hook="blocks.1.hook_resid_post", d_in=8)
    (tmp_path / "texts").mkdir()
    for name, text in small_models.TEXTS:
        (tmp_path / "texts" / f"{name}.txt").write_text(text)
    failed = invoke(main, [*command, "--weights", f"8-res={wide}", "--text", str(tmp_path / "texts")])
    assert (failed.exit_code, place.exists()) == (2, False), failed.output
    done = invoke(main, [*command, "--weights", f"8-res={sae}", "--text", str(tmp_path / "texts")])
    assert done.exit_code == 0, done.output
    with featurestore.connect(place) as store:
        (found,) = store.jobs()
        assert (found.kind, found.about, found.state, found.rows) == ("harvest", "gpt2 8-res", "done", 20)
        assert store.check().leftovers == ()


def test_a_record_does_not_bring_back_a_store_that_is_gone(tmp_path):
    featurestore.create(tmp_path / "s").close()
    with keep_record(storage_at(tmp_path / "s"), "check") as record:
        shutil.rmtree(tmp_path / "s")
        record.stage("checking", 3)
    assert not (tmp_path / "s").exists()


def test_files_of_jobs_are_no_leftovers_and_old_ones_go(store, monkeypatch):
    monkeypatch.setattr(job_files, "MOST_ENDED", 3)
    for _ in range(6):
        with store.keep_record("check"):
            pass
    assert len(store.jobs()) == 4
    assert store.check().leftovers == ()
    (store._directory.storage.path / "jobs" / "check-0123456789ab.json").write_text("{")
    assert len(store.jobs()) == 4


def test_where_nothing_can_be_kept_work_goes_on(store, monkeypatch):
    def full(self, name, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("featurestore.storage.local.LocalStorage.write", full)
    with store.keep_record("check") as record:
        assert record is None
    with pytest.raises(Unavailable, match="no job can be started: No space left on device"):
        store.start_job("check")
    monkeypatch.undo()
    assert ended(store, store.start_job("check").id).state == "done"


def test_starting_takes_leave_to_write(store):
    reading = create_app(store).test_client()
    assert reading.get("/v1/jobs").json == {"jobs": []}
    assert reading.post("/v1/jobs", json={"kind": "check"}).status_code == 403
    text = keys.create(str(store.location) + ".keys.json", "ann", ("read",))
    http = create_app(store, Settings(writes=True, keys=Keys(str(store.location) + ".keys.json"))).test_client()
    asked = http.post("/v1/jobs", json={"kind": "check"}, headers={"Authorization": f"Bearer {text}"})
    assert (asked.status_code, store.jobs()) == (403, [])


def test_the_answer_says_where_the_job_is(store):
    http = create_app(store, Settings(writes=True)).test_client()
    answer = http.post("/v1/jobs", json={"kind": "check"})
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/jobs/{answer.json['id']}")
    assert http.get(answer.headers["Location"]).json["kind"] == "check"
    assert ended(store, answer.json["id"]).state == "done"


def test_object_stores_have_no_jobs():
    class Elsewhere:
        location = "s3://bucket/features"

    assert job_files.read_jobs(Elsewhere()) == []
    with pytest.raises(Unavailable, match="jobs are for stores in a directory"):
        jobs.start(Elsewhere(), "check")
    with keep_record(Elsewhere(), "check") as record:
        assert record is None


def test_a_path_is_not_told(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as store, store.keep_record("check") as record:
        record.set_result([f"cannot read {store.location}/features/x"])
        assert record.job.lines == ("cannot read s/features/x",)
    assert storage_at(tmp_path / "s").location == featurestore.connect(tmp_path / "s").location


HOSTILE = [
    {"id": "../../victim"},
    {"id": "check-0123456789ff"},
    {"kind": "../x"},
    {"kind": "index"},
    {"state": "paused"},
    {"began": "2026-01-02T00:00:00"},
    {"changed": "0001-01-01T00:00:00Z"},
    {"lines": [1]},
    {"result": []},
    {"error": "no"},
]


@pytest.mark.parametrize("fields", HOSTILE)
def test_a_file_of_a_job_that_no_job_wrote_is_not_read(door, store, fields):
    """Nothing outside is deleted by the id that it says, and the others are still listed."""
    folder = Path(store.location) / "jobs"
    victim = folder.parent.parent / "victim.json"
    victim.write_text("mine")
    folder.mkdir(exist_ok=True)
    at = "2026-01-02T00:00:00Z"
    job = {"id": "check-0123456789ab", "kind": "check", "about": "", "state": "done", "began": at, "changed": at}
    (folder / "check-0123456789ab.json").write_text(json.dumps({"job": job | fields, "process": 0, "ours": True}))
    (folder / "check-0123456789ac.json").write_text("[" * 100_000)
    with store.keep_record("check"):
        assert [known.state for known in door.jobs()] == ["running"]
    with pytest.raises(NotFound):
        door.job("check-0123456789ab")
    found = {problem.file for problem in store.check().problems}
    assert found == {"jobs/check-0123456789ab.json", "jobs/check-0123456789ac.json"}
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("process", [-1, 1, 2**40])
def test_no_process_is_ended_that_a_file_names(store, process):
    found = {"job": msgspec.to_builtins(new_job("check", "")), "process": process, "ours": True}
    assert find_problem(msgspec.convert(found, StoredJob), found["job"]["id"])


def test_a_process_that_is_not_the_jobs_lives(store, monkeypatch):
    """The lock of the job is held, by somebody else, and the file names another process of ours."""
    monkeypatch.setattr(jobs, "PATIENCE", 0.1)
    job = new_job("check", "")
    descriptor = lock(store._directory.storage, f"{job.id}.lock")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        save(store._directory.storage, StoredJob(job, bystander.pid, True))
        with pytest.raises(Unavailable):
            store.cancel_job(job.id)
        assert bystander.poll() is None
        bystander.stdin.write(b"\n")
    os.close(descriptor)
