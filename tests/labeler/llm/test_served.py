"""The protocol as a real server speaks it: `transformers serve` with a small random model, no key.

pip install -c constraints.txt 'transformers[serving]' && pytest tests/labeler/llm/test_served.py
"""

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from featurestore import Unavailable
from featurestore.progress import no_progress
from labeler.llm import ray_replicas
from labeler.llm.asker import Asker
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.runs import label_run, score_run
from tests.support import label_store, ruled_store, small_models

pytestmark = [
    pytest.mark.slow,
    # Ray opens sockets and files that it leaves to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]
TEMPLATE = "{% for one in messages %}{{ one['content'] }}\n{% endfor %}"
SERVE = "import sys; from transformers.cli.transformers import main; sys.exit(main())"
COMMAND = f"{sys.executable} -c '{SERVE}' serve --host {{host}} --port {{port}} --device cpu"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """URL of the server and path of the model, which is its name."""
    for needed in ("fastapi", "uvicorn", "accelerate"):  # what `pip install transformers[serving]` brings
        pytest.importorskip(needed)
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model")
    tokenizer = small_models.tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=257, max_position_embeddings=4096, bos_token_id=0, eos_token_id=0, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = shlex.split(COMMAND.replace("{host}", "127.0.0.1").replace("{port}", str(port)))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            began = time.monotonic()
            while time.monotonic() - began < 120 and process.poll() is None:
                with contextlib.suppress(urllib.error.HTTPError, urllib.error.URLError, OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                    break
                time.sleep(0.2)
            assert process.poll() is None, "the server ended"
            yield f"http://127.0.0.1:{port}/v1", str(folder)
        finally:
            process.terminate()


def test_a_served_model_labels(served, tmp_path):
    url, model = served
    with label_store.write_many(tmp_path / "s", 4) as store, Journal(tmp_path / "j") as kept:
        asker = Asker([Endpoint(model, url, concurrency=2)], kept)
        report = label_run.label_with_model(store, asker, progress=no_progress, explainer="random")
        assert report.labelled + sum(report.failed.values()) == 4
        assert report.paid == kept.count() >= 4
        assert report.tokens_in > 4 * 500, "it counts tokens itself, a byte each"
        again = label_run.label_with_model(
            store, Asker([Endpoint(model, url)], kept), progress=no_progress, explainer="random", redo=True
        )
        assert (again.paid, again.labelled, again.failed) == (0, report.labelled, report.failed)


def test_a_served_model_judges(served, tmp_path):
    """Random weights answer nothing readable: what was asked is paid for and counted as failures, and no score."""
    url, model = served
    with ruled_store.write(tmp_path / "s") as store, Journal(tmp_path / "j") as kept:
        asker = Asker([Endpoint(model, url)], kept)
        report = score_run.score_with_judge(
            store, asker, methods=("detection",), texts=3, limit=1, progress=no_progress
        )
        (row,) = {(row["value"], row["n"]) for row in store.sql("FROM scores").to_pylist()}
        assert row == (None, 0)
        assert (report.labels, report.paid) == (1, kept.count())
        assert report.unanswered == sum(store.sql("SELECT failures FROM scores")["failures"].to_pylist()) > 0


def test_one_that_is_served_on_a_cluster_labels(served, tmp_path):
    ray = pytest.importorskip("ray")
    _, model = served
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    try:
        with (
            label_store.write_many(tmp_path / "s", 2) as store,
            ray_replicas.serve_on_ray("auto", COMMAND, model) as fleet,
            Journal(tmp_path / "j") as kept,
        ):
            report = label_run.label_with_model(store, Asker(fleet, kept), progress=no_progress, explainer="random")
            assert report.labelled + sum(report.failed.values()) == 2
            assert report.paid == kept.count() >= 2
    finally:
        ray.shutdown()


def test_a_model_it_does_not_have(served, tmp_path):
    url, _ = served
    with (
        label_store.write_many(tmp_path / "s", 2) as store,
        pytest.raises(Unavailable, match="is 'no/such-model' a model it serves"),
    ):
        label_run.label_with_model(store, Endpoint("no/such-model", url, retries=0), progress=no_progress)
