"""Every code block of README.md and docs/ runs, but for those that say why not."""

import logging
import re
import shutil
import urllib.request

import pytest
from safetensors.numpy import save_file

import featurestore
from featurestore.cli.main import main
from tests.support import doc_blocks, fake_llm, small_models, tiny
from tests.support.doc_blocks import ROOT

PAGES = doc_blocks.files()
# tests/docs/test_queries.py runs these, each for itself, and wants that they find something.
ELSEWHERE = {"docs/queries.md"}
NOT_RUN = {
    ("README.md", "makes the environment that the tests run in"),
    ("docs/tutorial.md", "installs the package that the tests run from"),
    ("docs/weights.md", "the weights are fetched from the hub"),
    ("docs/weights.md", "sae.pt is a file of your own"),
    ("docs/harvest.md", "fetches packages"),
    ("docs/harvest.md", "needs a cluster"),
    ("docs/labelling.md", "needs a cluster and vLLM"),
    ("docs/howto/cluster.md", "installs the package that the tests run from"),
    ("docs/howto/cluster.md", "starts processes that stay"),
    ("docs/howto/cluster.md", "needs a cluster"),
    ("docs/howto/import.md", "reads files that are not part of the project"),
    ("docs/howto/import.md", "fetches from the public bucket"),
    ("docs/howto/object-storage.md", "installs the package that the tests run from"),
    ("docs/howto/neuronpedia.md", "the package is installed in an environment of its own"),
    ("docs/howto/neuronpedia.md", "needs sae-lens, which is no dependency of ours"),
    ("docs/howto/neuronpedia.md", "the package goodfire is installed in an environment of its own"),
}


def name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def world(tmp_path_factory, demo_features):
    """What the documentation speaks of: the demo store, a probe, a model, a dictionary of it, a corpus."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(demo_features, folder / "demo.features")
    small_models.write_model(folder / "gpt2")
    small_models.write_sae(folder / "sae-layer-8", hook="blocks.2.hook_resid_post")
    with featurestore.connect(demo_features) as store:
        probe = store.vector("pystdlib/2-res-2k/951")
    save_file({"direction": probe}, folder / "probe.safetensors")
    (folder / "corpus").mkdir()
    for document, text in small_models.TEXTS:
        (folder / "corpus" / f"{document}.txt").write_text(text)
    return folder


@pytest.fixture
def here(world, tmp_path, monkeypatch):
    """A copy of it, as the current directory."""
    shutil.copytree(world, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("FEATURESTORE", raising=False)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """An object store with an empty bucket called bucket; servers of one process share what they hold, so it is
    emptied."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "FEATURESTORE_CACHE": str(tmp_path / "cache"),
    }
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
    boto3.client("s3", endpoint_url=settings["AWS_ENDPOINT_URL"]).create_bucket(Bucket="bucket")
    yield "s3://bucket/features"
    server.stop()


@pytest.mark.parametrize("path", [page for page in PAGES if name(page) not in ELSEWHERE], ids=name)
def test_blocks_run(path, here, invoke, monkeypatch, request):
    text = path.read_text("utf-8")
    todo = [block for block in doc_blocks.blocks(path) if block.reason is None and block.language != "text"]
    if not todo:
        return
    if "s3://" in text and any("s3://" in block.text for block in todo):
        location = request.getfixturevalue("bucket")
        if not re.search(rf"harvest --store {location}", text):
            tiny.write_tiny_store(location, index=False).close()
    if "my.features" in text and not re.search(r"harvest\s+--store my\.features", text):
        settings = ["--model", "gpt2", "--weights", "8-res=sae-layer-8", "--text", "corpus"]
        assert invoke(main, ["harvest", "--store", "my.features", *settings]).exit_code == 0
    with fake_llm.Endpoint(models=("qwen3",)) as endpoint:
        reader = doc_blocks.Reader(invoke, monkeypatch.setenv, endpoint.url)
        try:
            for block in todo:
                reader.run(block, f"{name(path)}:{block.line}")
        finally:
            reader.close()


def test_every_block_says_what_it_is():
    for path in PAGES:
        for block in doc_blocks.blocks(path):
            assert block.language in doc_blocks.LANGUAGES, f"{name(path)}:{block.line}: {block.language!r}"
        outside = doc_blocks.FENCE.sub("", path.read_text("utf-8"))
        assert "```" not in outside, f"{name(path)}: a fence that is not closed, or says more than its language"
        assert not re.search(r"\n\n    \S", outside), f"{name(path)}: a block by indentation, which nobody runs"


def test_blocks_that_are_not_run_are_these():
    marked = [(name(path), block.reason) for path in PAGES for block in doc_blocks.blocks(path) if block.reason]
    assert set(marked) == NOT_RUN


def test_there_is_something_to_run():
    found = [block.language for path in PAGES for block in doc_blocks.blocks(path) if block.reason is None]
    assert found.count("python") >= 15 and found.count("sh") >= 15 and found.count("sql") >= 25


def test_links_lead_somewhere():
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
            generated = {"reference/commands.md", "reference/tables.md", "reference/http.md", "openapi.json"}
            there = (path.parent / target).resolve()
            known = there.relative_to(ROOT / "docs").as_posix() if there.is_relative_to(ROOT / "docs") else None
            assert there.exists() or known in generated, f"{name(path)}: {target}"


def test_commands_of_the_text_are_commands():
    listed = set(main.list_commands(None))
    for path in PAGES:
        used = set(re.findall(r"`featurestore ([a-z]+(?:-[a-z]+)*)", path.read_text("utf-8")))
        assert used <= listed, f"{name(path)}: {sorted(used - listed)}"
