"""A store on object storage: the same store, against a real S3-speaking server on loopback."""

import json
import subprocess
import sys
import threading
import time

import obstore
import pytest

import featurestore
from featurestore import BadStore, Conflict, FeatureStoreError, NotFound, Unavailable
from featurestore.cli.main import main
from featurestore.storage import log
from featurestore.storage.locations import storage_at
from featurestore.web import create_app
from tests.featurestore.store import test_hostile_stores as hostile
from tests.support import tiny, writer_jobs
from tests.support.servers import s3_server


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """A server with one bucket; the environment says where it is, and where the cache is."""
    with s3_server.serve_bucket(tmp_path_factory.mktemp("cache")) as url:
        yield url


@pytest.fixture(scope="module")
def stored(s3):
    """A store written straight to the bucket."""
    location = f"{s3}/shared/tiny"
    tiny.write_tiny_store(location).close()
    return location


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATURESTORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_says_the_same_as_a_directory(stored, tiny_store, fresh_cache):
    assert writer_jobs.content(stored) == writer_jobs.content(tiny_store)
    with featurestore.connect(stored) as there, featurestore.connect(tiny_store) as here:
        for query in ({"text": "exception"}, {"text": "self", "mode": "keyword", "where": "density < 0.01"}):
            assert there.search(**query) == here.search(**query)
        assert there.nearest("tiny/0-res/3", k=20) == here.nearest("tiny/0-res/3", k=20)
        statement = (
            "SELECT * EXCLUDE (why) FROM keyword('self') JOIN features USING (dictionary, feature) ORDER BY rank"
        )
        assert there.sql(statement).to_pylist() == here.sql(statement).to_pylist()
        assert there.check().problems == ()


@pytest.mark.parametrize("seen", [True, False])
def test_helpers_make_parts_in_the_bucket_or_hand_them_over(s3, fresh_cache, seen):
    location = f"{s3}/helped-{seen}"
    with featurestore.create(location) as store:
        with store.writer("tests") as writer:
            row = tiny.dictionary_row("0-res", 0)
            writer.add("dictionaries", tiny.table([row]), key=row["dictionary"])
            helper = writer.helper()
            if not seen:
                helper = helper._replace(location=f"{s3}/none")
            made, unused = (
                helper.make(
                    lambda parts: parts.add("features", tiny.table(tiny.feature_rows("tiny/0-res")), key="tiny/0-res")
                )
                for _ in range(2)
            )
            assert all((one.content is None) == seen for one in made)
            writer.adopt(made)
        assert store.sql("SELECT count(*) AS n FROM features")["n"].to_pylist() == [24]
        assert store.check().problems == ()
    there = {one.name for one in storage_at(location).entries()}
    assert {one.part.file for one in made} <= there
    assert not {one.part.file for one in unused} & there


def test_the_cache_holds_what_is_mapped_and_is_used(stored, fresh_cache):
    with featurestore.connect(stored) as store:
        store.nearest("tiny/0-res/3")
        store.feature("tiny/0-res/3")
    kept = {path.relative_to(fresh_cache).parts[1] for path in fresh_cache.rglob("*") if path.is_file()}
    assert {"decoder_index", "decoder_vectors", "token_stream"} <= kept
    assert "examples" not in kept, "Parquet is read in ranges where it lies"
    for path in fresh_cache.rglob("tokens.npy"):
        raw = bytearray(path.read_bytes())
        raw[-4:] = (0).to_bytes(4, "little")  # the last token of the last document becomes the first word
        path.write_bytes(raw)
    with featurestore.connect(stored) as store:
        texts = {example.tokens for example in store.feature("tiny/0-res/3").examples}
        assert any(tokens[-1] == "def" for tokens in texts)
        assert store.check().problems == (), "what is checked is what is stored, not the cache"


def test_a_damaged_copy_of_an_index_is_not_built_upon(s3, fresh_cache):
    """What a new index takes over of the old one is what was stored, and not what became of it in the cache."""
    with tiny.write_tiny_store(f"{s3}/copied") as store:
        store.search("exceptions", mode="semantic")
        store.nearest("tiny/0-res/3")
        copies = [path for path in fresh_cache.rglob("*_index/**/*") if path.is_file()]
        assert any(path.suffix == ".faiss" for path in copies)
        for path in copies:
            path.write_bytes(path.read_bytes()[:-64] + bytes(64))
        store.set_label("tiny/0-res/3", "names of suspension bridges")
        assert any("label index" in line for line in store.index())
        built_upon = score_all(store)
        store.index(rebuild=True)
        assert built_upon == pytest.approx(score_all(store), abs=1e-5)


def score_all(store):
    """The score of each feature in a search by meaning and in one by vectors."""
    answers = {
        "meaning": store.search("exceptions", mode="semantic", k=48, all=True, group=False),
        "vectors": store.nearest("tiny/0-res/3", k=48, all=True, group=False),
    }
    return {f"{name} {hit.id}": hit.score for name, hits in answers.items() for hit in hits}


def test_it_is_harvested_into_labelled_compacted_and_emptied_there(s3, tmp_path, fresh_cache):
    location, local = f"{s3}/life", str(tmp_path / "life")
    writer_jobs.make_world(tmp_path / "world")
    for place in (location, local):
        featurestore.create(place).close()
        writer_jobs.harvesting(place, str(tmp_path / "world"))
        writer_jobs.labelling(place, "")
        writer_jobs.indexing(place, "")
        writer_jobs.compacting(place, "")
    assert writer_jobs.content(location) == writer_jobs.content(local)
    with featurestore.connect(location) as store:
        assert not any("compact" in note for note in store.info().notes)
        found = store.check()
        assert (found.problems, found.leftovers) == ((), ())
    writer_jobs.deleting(location, "")
    with featurestore.connect(location) as store:
        assert store.info().rows == {}


def test_one_of_two_writers_finds_out(s3, fresh_cache):
    location = f"{s3}/race"
    featurestore.create(location).close()
    stores = [featurestore.connect(location) for _ in range(2)]
    writers = [store.writer("race") for store in stores]
    for writer in writers:
        tiny.add_dictionary(writer, "0-res", 0)
    writers[0].commit()
    with pytest.raises(Conflict, match="tiny/0-res already"), writers[1]:
        pass
    writers[0].close()
    assert stores[1].sql("SELECT count(*) AS n FROM features")["n"].to_pylist() == [24]
    assert stores[0].check().leftovers == ()


def test_many_writers_at_once_all_land(s3, fresh_cache):
    location = f"{s3}/many"
    with featurestore.create(location) as store, store.writer("tests") as writer:
        tiny.add_dictionary(writer, "0-res", 0)
    rows = [row for row in tiny.label_rows("tiny/0-res") if row["explainer"] == "tokens"]

    def label(n):
        with featurestore.connect(location) as store, store.writer("tests") as writer:
            writer.add("labels", tiny.table([row | {"explainer": f"model-{n}"} for row in rows]), key="tiny/0-res")

    threads = [threading.Thread(target=label, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with featurestore.connect(location) as store:
        found = store.sql("SELECT count(DISTINCT explainer) AS n FROM labels WHERE explainer LIKE 'model-%'")
        assert found["n"].to_pylist() == [6]
        assert store.info().commit == 7


def test_a_killed_writer_is_swept_when_its_lease_is_old(s3, fresh_cache, monkeypatch):
    location = f"{s3}/killed"
    featurestore.create(location).close()
    code = (
        "import os, sys, featurestore; from tests.support import tiny; "
        "writer = featurestore.connect(sys.argv[1]).writer('x'); "
        "tiny.add_dictionary(writer, '0-res', 0); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, location])
    with featurestore.connect(location) as store:
        assert store.dictionaries() == []
        assert store.check().leftovers == (), "its lease is young: it may be at work elsewhere"
        monkeypatch.setattr("featurestore.storage.object_store.LEASE_SECONDS", -1.0)
        assert len(store.check().leftovers) > 4
        assert store.repair().leftovers == ()


def test_a_service_over_it_sees_new_parts(s3, fresh_cache):
    location = f"{s3}/served"
    tiny.write_tiny_store(location, index=False).close()
    with featurestore.connect(location) as store:
        store.isolate_sql(processes=1)
        http = create_app(store).test_client()
        sql = {"sql": "SELECT count(*) FROM features"}
        assert http.post("/v1/sql", json=sql).json["rows"] == [[48]]
        with featurestore.connect(location) as other, other.writer("tests") as writer:
            tiny.add_dictionary(writer, "2-res", 0)
        began = time.monotonic()
        while http.post("/v1/sql", json=sql).json["rows"] != [[72]]:
            assert time.monotonic() - began < 5
        assert http.get("/v1/features/tiny/2-res/3").json["label"]
        for outside in ("s3://features/race/store.json", "s3://other/x", "s3://features/served/../race/store.json"):
            answer = http.post("/v1/sql", json={"sql": f"FROM read_text('{outside}')"})
            assert answer.status_code in (400, 500), answer.text
            assert "sha256" not in answer.text


def test_damage_is_found_there_too(s3, stored, fresh_cache, monkeypatch):
    copy = s3_server.copy_store(stored, f"{s3}/damaged")
    name = next(one.name for one in copy.entries("examples"))
    raw = bytearray(copy.read(name))
    raw[len(raw) // 2] ^= 1
    copy.write(name, bytes(raw))
    with featurestore.connect(f"{s3}/damaged") as store:
        assert [one.file for one in store.check().problems] == [name]
    copy.delete(name)
    with featurestore.connect(f"{s3}/damaged") as store:
        assert [one.problem for one in store.check().problems] == ["is missing"]
        with pytest.raises(BadStore):
            store.sql("SELECT max(activation) FROM stored.examples")


def test_the_log_there_gets_checkpoints(s3, fresh_cache, monkeypatch):
    monkeypatch.setattr(log, "CHECKPOINT_COMMITS", 3)
    monkeypatch.setattr(log, "GRACE_SECONDS", 0.0)
    location = f"{s3}/log"
    with tiny.write_tiny_store(location, index=False) as store:
        for n in range(2, 10):
            with store.writer("tests") as writer:
                tiny.add_dictionary(writer, f"{n}-res", 0)
    names = [one.name for one in storage_at(location).entries("log")]
    assert any("checkpoint" in name for name in names)
    with featurestore.connect(location) as store:
        assert len(store.dictionaries()) == 10
        assert store.check().problems == ()


def test_the_command_line_takes_it(stored, invoke, fresh_cache):
    result = invoke(main, ["info", "--store", stored, "--json"])
    assert json.loads(result.stdout)["features"] == 48
    result = invoke(main, ["sql", "SELECT count(*) AS n FROM features", "--store", stored, "--json"])
    assert json.loads(result.stdout) == {"n": 48}


def test_places_that_are_no_store(s3, stored, fresh_cache, monkeypatch, invoke):
    with pytest.raises(NotFound, match=r"s3://features/none is not a store: it has no store\.json"):
        featurestore.connect(f"{s3}/none")
    with pytest.raises(Conflict, match="there is a store"):
        featurestore.create(stored)
    with pytest.raises(NotFound, match="a store is a directory, an s3:// prefix"):
        featurestore.connect("ftp://somewhere/x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(obstore, "get", _refused)
    result = invoke(main, ["info", "--store", f"{s3}/none"])
    assert result.exit_code == Unavailable.exit_code
    assert "Connection refused" in result.output
    assert "Traceback" not in result.output


def _refused(*arguments, **keywords):
    """What obstore raises after its retries, which take minutes."""
    raise obstore.exceptions.GenericError("Generic S3 error: error sending request: Connection refused")


HOSTILE = (
    *("a rule that reads a file", "remove above", "remove by an absolute path", "a writer with a path"),
    *("deep JSON as about of the log", "deep JSON in store.json", "-1 as rows of the log", "1e400 as bytes of the log"),
    *("-1 as d_sae of a dictionary", "a commit of the far future", "an index that covers what is outside"),
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_store_in_a_bucket_is_refused_too(s3, fresh_cache, tiny_store, tmp_path, name):
    folder, outside = hostile.prepare(tiny_store, tmp_path / "s", hostile.ATTACKS[name])
    location = f"{s3}/hostile-{list(hostile.ATTACKS).index(name)}"
    storage = storage_at(location)
    for file in folder.rglob("*"):
        if file.is_file():
            storage.write(file.relative_to(folder).as_posix(), file.read_bytes())
    before = hostile.see(outside)
    try:
        with featurestore.connect(location) as store:
            said = dict(
                hostile.ask_doors(store, {n: hostile.READING[n] for n in ("info", "sql", "vectors", "nearest")})
            )
            said |= hostile.ask_doors(store, {"set_label": hostile.WRITING["set_label"]})
    except FeatureStoreError as exc:
        said = {"open": str(exc)}
    assert said
    assert all("hostile-" in message or "/0000" in message for message in said.values()), said
    assert hostile.see(outside) == before
