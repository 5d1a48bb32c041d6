"""A store in a directory or on object storage, harvested alone or on Ray, by commands: all are the same store.

The model is the demo's, its dictionaries have 8,192 features each. CLUSTER_TOKENS says over how many tokens.
"""

import json
import os
import re

import pytest
from click.testing import CliRunner

from featurestore.cli.main import main
from featurestore.storage.directory import Directory
from tests.support import ROOT, wide_world
from tests.support.servers import s3_server

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]
TOKENS = int(os.environ.get("CLUSTER_TOKENS", "60000"))
LARGE = 60_000  # tokens over which parts have more than 16 MB
FIRST, SECOND = (f"pystdlib/{source}" for source in wide_world.SOURCES)
SAME_BYTES = (
    "features",
    "examples",
    "contexts",
    "feature_rows",
    "example_rows",
    "decoder_vectors",
    "documents",
    "tokens",
)
RAY = ["--ray", "local", "--workers", "3"]
QUERIES = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/queries.md").read_text(), re.DOTALL)


class Runner:
    """Runs the commands over one store and keeps what they print."""

    def __init__(self, store, world, invoke, options):
        self.store, self._world, self._invoke, self._options = store, world, invoke, options
        self.printed = {}

    def run(self, step, *command, exit_code=0):
        result = self._invoke(main, [*map(str, command), "--store", self.store])
        assert result.exit_code == exit_code, f"{self.store}, {step}: {result.output[-3000:]}"
        self.printed[step] = result.stdout.replace(self.store, "STORE")
        return result

    def check(self, step):
        """Every byte is right and nothing is left behind."""
        found = json.loads(self.run(f"check after {step}", "check", "--json").stdout.splitlines()[-1])
        assert found["problems"] == [] and found["leftovers"] == [], (self.store, step, found)
        del self.printed[f"check after {step}"]

    def harvest(self, *more, exit_code=0, sources=wide_world.SOURCES):
        weights = [word for source in sources for word in ("--weights", self._world / source)]
        corpus = ["--text", self._world / "texts", "--tokens", TOKENS]
        command = ["harvest", "--model", wide_world.MODEL, "--model-id", "pystdlib", *weights, *corpus]
        result = self.run("harvest", *command, *self._options, *more, exit_code=exit_code)
        del self.printed["harvest"]
        return result

    def ask(self, step):
        """Pages, searches in each mode and every query of the documentation."""
        for feature in (3, 777, 8191):
            self.run(f"{step}: page {feature}", "feature", f"{FIRST}/{feature}", "--json")
        for mode in ("hybrid", "semantic", "keyword"):
            self.run(f"{step}: {mode}", "search", "self", "--mode", mode, "--json")
        self.run(f"{step}: tokens", "search", " self", "--over", "tokens", "--json")
        self.run(f"{step}: nearest", "nearest", f"{FIRST}/3", "--json")
        self.run(f"{step}: examples", "sql", EXAMPLES, "--json")
        for number, query in enumerate(QUERIES):
            result = self._invoke(main, ["sql", query, "--json", "--store", self.store])
            self.printed[f"{step}: query {number}"] = (result.exit_code, result.stdout)


EXAMPLES = (
    "SELECT dictionary, band, count(*) AS n, sum(list_sum(offsets)) AS places, max(activation) AS most,"
    " count(DISTINCT document) AS documents FROM stored.examples GROUP BY ALL ORDER BY ALL"
)


def list_parts(store):
    """The sha256 of each part that is promised byte for byte."""
    parts = Directory(store).snapshot().all()
    return {part.place: part.sha256 for part in parts if part.table in SAME_BYTES}


def live(runner):
    """Lead one store through its life; what its parts were after the harvest and at the end."""
    runner.harvest()
    runner.check("harvest")
    harvested = list_parts(runner.store)
    runner.harvest(exit_code=4)  # they are there already
    runner.check("harvest again")
    runner.run("label", "label")
    runner.check("label")
    runner.run("compact", "compact")
    runner.run("index", "index")
    runner.check("compact and index")
    runner.ask("labelled")
    runner.run("score", "score", "--where", "feature < 200")
    runner.check("score")
    runner.harvest("--replace", sources=wide_world.SOURCES[1:])
    runner.check("replace")
    runner.run("remove", "remove", FIRST, "--yes")
    runner.check("remove")
    runner.run("migrate", "migrate")
    runner.run("repair", "check", "--repair")
    runner.run("dictionaries", "sql", "SELECT dictionary, d_sae, tokens_counted FROM dictionaries", "--json")
    for step in ("label", "score", "compact", "index", "repair"):
        del runner.printed[step]  # how long it took
    return harvested, list_parts(runner.store)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    wide_world.write_world(folder, 12 * TOKENS)
    return folder


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with s3_server.serve_bucket(tmp_path_factory.mktemp("cache")) as url:
        yield url


@pytest.fixture(scope="module")
def alone(world, tmp_path_factory):
    """The store of one process in a directory: what others are compared with."""
    runner = Runner(str(tmp_path_factory.mktemp("alone") / "alone.features"), world, CliRunner().invoke, [])
    return runner, live(runner)


def test_parts_have_the_size_of_real_ones(alone):
    if TOKENS < LARGE:
        pytest.skip(f"over {TOKENS:,} tokens parts are small")
    directory = Directory(alone[0].store)
    assert max(part.bytes for part in directory.snapshot().all()) > 16 << 20


@pytest.mark.parametrize("place", ["directory on Ray", "S3", "S3 on Ray"])
def test_it_is_the_same_store(alone, world, bucket, invoke, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    reference, wanted = alone
    store = f"{bucket}/{place.replace(' ', '-')}" if place.startswith("S3") else str(tmp_path / "many.features")
    runner = Runner(store, world, invoke, RAY if place.endswith("Ray") else [])
    assert live(runner) == wanted
    assert runner.printed.keys() == reference.printed.keys()
    for step, printed in reference.printed.items():
        assert runner.printed[step] == printed, step
