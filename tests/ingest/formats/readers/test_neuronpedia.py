"""Neuronpedia's public bucket: every page of the listing, going on after an interruption, and what is incomplete."""

import json
import logging

import pytest
from click.testing import CliRunner

import featurestore
from featurestore import NotFound, Unavailable
from ingest.cli.import_files import import_files
from ingest.formats import bucket
from ingest.formats.readers import neuronpedia
from tests.ingest.formats import foreign_files
from tests.support.servers import s3_server

PREFIX = "v1/gpt2-small/8-res-jb/"


@pytest.fixture(scope="module")
def public_bucket():
    """The address of a bucket with an export of four features, and a client of it."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    port = s3_server.find_free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="datasets", ACL="public-read")
    yield f"{address}/datasets", client
    server.stop()


@pytest.fixture(scope="module")
def export(public_bucket, tmp_path_factory):
    """The same, filled."""
    address, client = public_bucket
    folder = foreign_files.write_neuronpedia(tmp_path_factory.mktemp("np") / "np")
    for file in sorted(folder.rglob("*.jsonl*")):
        client.put_object(
            Bucket="datasets", Key=f"{PREFIX}{file.relative_to(folder).as_posix()}", Body=file.read_bytes()
        )
    return address, client


def run_import(address, store, *more):
    arguments = [
        "neuronpedia",
        "gpt2-small/8-res-jb",
        "--bucket",
        address,
        "--store",
        str(store),
        "--no-index",
        "--json",
    ]
    result = CliRunner().invoke(import_files, [*arguments, *more], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def test_a_source_is_imported_by_its_name(export, tmp_path):
    address, _ = export
    store = tmp_path / "a.features"
    report = run_import(address, store)
    assert (report["files"], report["rejects"]) == (6, {})
    with featurestore.connect(store) as opened:
        feature = opened.feature("gpt2-small/8-res-jb/2")
        assert (feature.density, feature.label, len(feature.examples)) == (0.0003, "the Golden Gate Bridge, 2", 3)
    assert run_import(address, store)["commit"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.features"]


def test_every_page_is_listed(export, monkeypatch):
    address, _ = export
    get, pages = bucket._get, []
    monkeypatch.setattr(bucket, "_get", lambda url: pages.append(url) or get(f"{url}&max-keys=2"))
    entries = bucket.list_entries(address, PREFIX)
    assert len(entries) == 7 and len(pages) == 4
    assert len({entry.key for entry in entries}) == 7


@pytest.mark.slow
def test_more_than_a_thousand_batches_are_listed(public_bucket, tmp_path):
    address, client = public_bucket
    for number in range(1100):
        line = json.dumps(foreign_files.neuronpedia_explanation(number, f"label {number}", layer="9-res-jb")) + "\n"
        client.put_object(
            Bucket="datasets", Key=f"v1/gpt2-small/9-res-jb/explanations/batch-{number}.jsonl", Body=line.encode()
        )
    arguments = ["neuronpedia", "gpt2-small/9-res-jb", "--bucket", address, "--store", str(tmp_path / "a.features")]
    result = CliRunner().invoke(import_files, [*arguments, "--no-index"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with featurestore.connect(tmp_path / "a.features") as opened:
        assert opened.sql("select count(*) as n from labels")["n"][0].as_py() == 1100


def test_what_arrived_is_not_fetched_again(export, tmp_path, monkeypatch):
    address, _ = export
    fetch, fetched = bucket.fetch, []

    def fetch_some(address, entry, target):
        if len(fetched) == 4:
            raise Unavailable("the network is gone")
        fetched.append(entry.key)
        return fetch(address, entry, target)

    monkeypatch.setattr(bucket, "fetch", fetch_some)
    with pytest.raises(Unavailable, match="the network is gone"):
        run_import(address, tmp_path / "a.features")
    monkeypatch.setattr(bucket, "fetch", lambda *a: fetched.append(a[1].key) or fetch(*a))
    report = run_import(address, tmp_path / "a.features")
    assert report["resumed_files"] == 3  # one of the four is source.jsonl
    assert len([key for key in fetched if not key.endswith("source.jsonl")]) == 6


def test_a_listing_that_ends_early_is_an_error(export, monkeypatch):
    address, _ = export
    get = bucket._get
    monkeypatch.setattr(
        bucket, "_get", lambda url: get(f"{url}&max-keys=2").replace(b"NextContinuationToken", b"Nothing")
    )
    with pytest.raises(Unavailable, match="ends early, after 2 files"):
        bucket.list_entries(address, PREFIX)
    monkeypatch.setattr(bucket, "_get", lambda url: get(url)[:-200])
    with pytest.raises(Unavailable, match="cut short"):
        bucket.list_entries(address, PREFIX)


def test_missing_batches_are_an_error(tmp_path, export, monkeypatch):
    address, _ = export
    listed = bucket.list_entries

    def leave_out(address, prefix):
        entries = [entry for entry in listed(address, prefix) if "activations/batch-1" not in entry.key]
        return [*entries, bucket.Entry(f"{PREFIX}activations/batch-2.jsonl.gz", 1, "")]

    monkeypatch.setattr(bucket, "list_entries", leave_out)
    with pytest.raises(Unavailable, match="lacks 1 batches of activations: 1"):
        neuronpedia.list_remote("gpt2-small/8-res-jb", {"bucket": address}, tmp_path)


def test_a_source_that_is_not_there(export, tmp_path):
    address, _ = export
    with pytest.raises(NotFound, match="no batches of gpt2-small/7-res-jb"):
        neuronpedia.list_remote("gpt2-small/7-res-jb", {"bucket": address}, tmp_path)
    assert neuronpedia.is_remote("gpt2-small/7-res-jb") and not neuronpedia.is_remote("./here/there")


def test_older_lists_of_labels(tmp_path):
    records = [foreign_files.neuronpedia_explanation(number, f"label {number}") for number in range(3)]
    path = foreign_files.write_json(tmp_path / "gpt2-small_8-res-jb.json", records)
    assert neuronpedia.recognises(path)
    (batch,) = neuronpedia.read(str(path), None, {})
    assert batch.dictionary == "gpt2-small/8-res-jb"
    assert [label["prompt"] for label in batch.labels] == ["oai_token-act-pair"] * 3
