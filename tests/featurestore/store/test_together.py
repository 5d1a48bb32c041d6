"""One process serves, one harvests, three label, one compacts, and a notebook runs SQL: all at once on one store."""

import json
import multiprocessing
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

import featurestore
from featurestore.errors import Conflict
from tests.support import tiny, writer_jobs

PROCESSES = multiprocessing.get_context("spawn")
SERVED = (
    "import sys, featurestore; from featurestore.web import serve; "
    "store = featurestore.connect(sys.argv[1]); store.isolate_sql(2); serve(store, port=0)"
)


def label(path, name):
    """Labels of every feature by one explainer, four at a time."""
    with featurestore.connect(path) as store:
        for source in tiny.SOURCES:
            dictionary = f"{tiny.MODEL}/{source}"
            for first in range(0, tiny.D_SAE, 4):
                rows = [
                    {
                        "dictionary": dictionary,
                        "feature": n,
                        "label": f"{name} says {n}",
                        "explainer": name,
                        "tool": "t",
                    }
                    | {"created_at": tiny.WHEN}
                    for n in range(first, first + 4)
                ]
                with store.writer(name) as writer:
                    writer.add("labels", tiny.table(rows), key=dictionary)


def compact(path, _):
    """Compaction again and again; who came first keeps what it wrote, and that is told, not raised."""
    with featurestore.connect(path) as store:
        for _ in range(12):
            store.compact()
            time.sleep(0.2)


def ask(url, path, body=None):
    request = urllib.request.Request(url + path, json.dumps(body).encode() if body else None)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.crash
def test_everybody_works_at_once(tmp_path):
    path, world = str(tmp_path / "s"), tmp_path / "world"
    tiny.write_tiny_store(tmp_path / "s").close()
    writer_jobs.make_world(world)
    work = [(writer_jobs.harvesting, str(world)), (compact, ""), *((label, f"model-{n}") for n in range(3))]
    processes = [PROCESSES.Process(target=job, args=(path, argument)) for job, argument in work]
    served = subprocess.Popen([sys.executable, "-c", SERVED, path], stdout=subprocess.PIPE, text=True)
    asked = {"pages": 0, "sql": 0, "notebook": 0}
    failures = []
    try:
        assert served.stdout is not None
        url = served.stdout.readline().split(" at ")[1].split()[0]
        counting = {"sql": "SELECT count(*), count(label) FROM features"}
        ask(url, "/v1/sql", counting)  # a process for SQL starts before all are busy: a question has 30 s in all
        for process in processes:
            process.start()

        def reading(name, question):
            try:
                while any(process.is_alive() for process in processes):
                    question()
                    asked[name] += 1
            except Exception as exc:  # whatever it is, no reader may meet it
                failures.append((name, exc))

        notebook = featurestore.connect(path)
        readers = [
            threading.Thread(target=reading, args=("pages", lambda: ask(url, "/v1/features/tiny/0-res/3"))),
            threading.Thread(target=reading, args=("sql", lambda: ask(url, "/v1/sql", counting))),
            threading.Thread(
                target=reading,
                args=("notebook", lambda: notebook.sql("FROM labels JOIN features USING (dictionary, feature)")),
            ),
        ]
        for reader in readers:
            reader.start()
        for process in processes:
            process.join(120)
        for reader in readers:
            reader.join(60)
        assert [process.exitcode for process in processes] == [0] * len(processes)
        assert failures == []
        assert min(asked.values()) > 3, asked
        # What was written last is seen by the service without a restart.
        began = time.monotonic()
        while "small/2-res" not in [one["dictionary"] for one in ask(url, "/v1/dictionaries")["dictionaries"]]:
            assert time.monotonic() - began < 5
        page = ask(url, "/v1/features/tiny/1-res/23")
        assert {one["explainer"] for one in page["labels"]} == {"model-0", "model-1", "model-2"}
        notebook.close()
    finally:
        served.terminate()
        served.wait()
        served.stdout.close()
    with featurestore.connect(path) as store:
        found = store.check()
        assert (found.problems, found.leftovers) == ((), ())
        count = store.sql("SELECT count(*) AS n FROM labels WHERE explainer LIKE 'model-%'")["n"].to_pylist()
        assert count == [3 * 2 * tiny.D_SAE]


def test_two_compactions_meet(tmp_path):
    """The second finds its parts gone, says so, and changes nothing."""
    store = tiny.write_tiny_store(tmp_path / "s", index=False)
    writer_jobs.scatter_labels(store)
    before = writer_jobs.content(tmp_path / "s")
    first, second = store.writer("first"), store.writer("second")
    parts = store._current_view.snapshot.parts("labels")
    for writer in (first, second):
        writer.remove_parts(parts)
    first.close()
    store.compact()
    with pytest.raises(Conflict, match="meanwhile; nothing was written"):
        second.commit()
    second.close()
    assert writer_jobs.content(tmp_path / "s") == before
