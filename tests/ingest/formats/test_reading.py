"""Files read in several processes: the same rows, an error that stops all, and a next time that goes on."""

import os
import subprocess
import sys

import msgspec
import pytest

import featurestore
from featurestore import BadRequest, Unavailable
from ingest.formats import reading
from ingest.formats.import_run import ImportPlan, local_sources, run
from ingest.formats.readers import neuronpedia
from tests.ingest.formats import foreign_files

EXAMPLES = "select * exclude (corpus) from stored.examples order by feature, band, rank"


@pytest.fixture
def export(tmp_path):
    return foreign_files.write_neuronpedia(tmp_path / "export")


@pytest.fixture
def processes(monkeypatch):
    """Let every file be read in a process, of which there are two."""
    monkeypatch.setattr(reading, "_count_processes", lambda files, sources: 2)


def plan_of(export, **changes):
    sources = local_sources(neuronpedia.find(str(export)))
    plan = ImportPlan(neuronpedia, str(export), sources, {}, {}, export.parent / "spool", export.parent / "rejects")
    return plan._replace(**changes)


def test_processes_give_what_one_process_gives(export, processes, monkeypatch, tmp_path):
    with featurestore.create(tmp_path / "several.features") as store:
        several = run(store, plan_of(export))
        rows = store.sql(EXAMPLES)
    monkeypatch.setattr(reading, "_count_processes", lambda files, sources: 0)
    with featurestore.create(tmp_path / "one.features") as store:
        one = run(store, plan_of(export))
        assert store.sql(EXAMPLES).equals(rows)
    assert (several.rejects, several.dropped, several.files) == (one.rejects, one.dropped, one.files)
    assert several.dictionaries == one.dictionaries


def test_rejects_of_all_processes_are_in_one_file(export, processes, tmp_path):
    for kind in ("features", "activations"):
        (export / kind / "batch-9.jsonl").write_text("no JSON\n")
    with featurestore.create(tmp_path / "s.features") as store:
        report = run(store, plan_of(export))
    assert report.rejects["it is not JSON"] == 2
    assert (export.parent / "rejects").read_text().count("it is not JSON") == 2


def test_an_error_in_a_process_is_the_one_of_its_reader(export, processes, tmp_path):
    (export / "activations/batch-9.jsonl").write_text("no JSON\n")
    with featurestore.create(tmp_path / "s.features") as store:
        with pytest.raises(BadRequest, match=r"batch-9.jsonl, line 1: it is not JSON; without --strict"):
            run(store, plan_of(export, strict=True))
        assert store.dictionaries() == []


def test_after_an_interruption_what_was_read_is_not_read_again(export, processes, tmp_path):
    def interrupt(stage, total):
        def advance(count):
            raise KeyboardInterrupt

        return advance

    with featurestore.create(tmp_path / "s.features") as store:
        with pytest.raises(KeyboardInterrupt):
            run(store, plan_of(export), interrupt)
        assert store.dictionaries() == []
        report = run(store, plan_of(export))
    assert report.resumed_files >= 1
    assert report.dictionaries[0].state == "new"


def test_a_process_that_ends_is_said(export, processes, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.executable", "/bin/false")
    ended = pytest.raises(Unavailable, match="the process that read it has ended")
    with featurestore.create(tmp_path / "s.features") as store, ended:
        run(store, plan_of(export))


def test_a_process_ends_with_its_import_in_the_middle_of_a_file(tmp_path):
    os.mkfifo(tmp_path / "batch-0.jsonl")  # a file that never comes to its end
    command = [sys.executable, "-P", "-m", "ingest.formats.reading_process"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) as process:
        fields = {name: str(tmp_path / name) for name in ("path", "folder", "place")}
        fields |= {"path": str(tmp_path / "batch-0.jsonl")}
        task = reading.Task(format="neuronpedia", name="batch-0", options={}, strict=False, **fields)
        reading.write_message(process.stdin, msgspec.msgpack.encode(task))
        with open(tmp_path / "batch-0.jsonl", "wb"):  # it is being read now
            process.stdin.close()
            assert process.wait(timeout=60) == 0  # at once: the file has no end


@pytest.mark.slow
@pytest.mark.parametrize("limit", [30, 300])
def test_a_disk_that_is_full_is_said_and_the_next_time_goes_on(tmp_path, limit):
    """A limit of the size of files stands for the disk: whichever file it hits, there is a whole store, or none."""
    words = [f" word{number}" for number in range(3000)]
    lines = []
    for feature in range(40):
        for number in range(20):
            tokens = [words[(feature * 61 + number * 7 + place * 11) % 3000] for place in range(64)]
            lines.append(foreign_files.neuronpedia_activation(feature, 1.0, tokens=tokens, values=[1.0] + [0.0] * 63))
    path = foreign_files.write_lines(tmp_path / "activations/batch-0.jsonl", lines)
    store = tmp_path / "s.features"
    words = [sys.executable, "-m", "featurestore.cli", "import", "neuronpedia", str(path), "--store", str(store)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    limited = ["prlimit", f"--fsize={limit << 10}", *words, "--no-index"]
    ended = subprocess.run(limited, env=environment, capture_output=True, text=True)
    assert "Traceback" not in ended.stderr
    if ended.returncode:
        assert "cannot write to" in ended.stderr and not store.exists()
    ended = subprocess.run([*words, "--no-index"], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    with featurestore.connect(store) as opened:
        assert opened.sql("select count(*) as n from stored.examples")["n"].to_pylist() == [800]
