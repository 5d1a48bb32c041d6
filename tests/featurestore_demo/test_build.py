"""The shipped model and dictionaries are as good as the README says, training resumes, and the demo builds."""

import collections
import json
import math
import re
from pathlib import Path

import numpy
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import featurestore
from featurestore.cli.main import main
from featurestore_demo import build, dictionaries, language_model
from featurestore_demo.corpus import documents, is_held_out
from ingest import weights
from ingest.corpus.corpus import tokenise
from ingest.inspection import selftest
from ingest.model.model import Model

DEMO = Path(build.__file__).parent
SOURCES = ["2-res-2k", "3-tc-2k", "4-res-2k"]


@pytest.fixture(scope="module")
def model():
    return Model(str(DEMO / "model"))


@pytest.fixture(scope="module")
def kept(model):
    """Some 8,000 tokens of documents that no training saw."""
    return tokenise(model.tokenizer, (d for d in documents() if is_held_out(d.name)), 8000)


def test_documents_are_the_same_each_time_and_hold_no_tests():
    names = [document.name for document in documents()]
    assert names == [document.name for document in documents()]
    assert len(names) == len(set(names)) > 300
    assert not any(name.startswith(("test/", "idlelib/")) or "site-packages" in name for name in names)
    share = sum(map(is_held_out, names)) / len(names)
    assert 0.01 < share < 0.08


def test_sample_takes_slices_of_many_documents():
    sample = [next(iter(build.sample()))] + [document for _, document in zip(range(50), build.sample(), strict=False)]
    assert sample[0] == sample[1], "the same each time"
    whole = {document.name: document.text for document in documents()}
    for document in sample:
        assert document.text in whole[document.name]
        assert len(document.text) <= build.SLICE


def test_the_model_loads_as_any_and_knows_python():
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model")
    plain = AutoModelForCausalLM.from_pretrained(DEMO / "model", dtype=torch.float32).eval()
    size = sum(parameter.numel() for parameter in plain.parameters())
    assert 1_500_000 <= size <= 8_000_000
    text = "class Café(Base):\n    def __init__(self, name):\n        self.name = name\n"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text

    def next_token(prompt):
        ids = torch.tensor([[0, *tokenizer.encode(prompt, add_special_tokens=False)]])
        with torch.no_grad():
            return tokenizer.decode(plain(ids).logits[0, -1].argmax())

    assert next_token("    def close(") == "self"
    assert next_token("import os\nimport sys\n\n\ndef main(argv=None") in ("):", ",", ")")
    assert next_token("        try:\n            value = table[key]\n        except") == " KeyError"


def test_held_out_loss_is_far_below_a_unigram_model(model, kept):
    texts = map(kept.document, range(len(kept.names)))
    rows = language_model.contexts(model.tokenizer, ["".join(model.tokenizer.decode(ids.tolist())) for ids in texts])[
        :16
    ]
    with torch.no_grad():
        loss = float(language_model.loss_of(model.language_model, torch.from_numpy(rows)))
    tokens = kept.data.tolist()
    counts = collections.Counter(tokens)
    unigram = -sum(n / len(tokens) * math.log(n / len(tokens)) for n in counts.values())
    assert loss < 3.7
    assert loss < unigram - 1.5


@pytest.mark.parametrize("source", SOURCES)
def test_dictionaries_are_as_good_as_promised(model, kept, source):
    sae = weights.read(DEMO / "dictionaries" / source)
    quality = selftest.measure(sae, model, kept)
    assert sae.d_sae >= 2048
    assert 10 <= quality["l0"] <= 60
    assert quality["variance_explained"] >= 0.75


def test_weights_are_small():
    files = [*(DEMO / "model").glob("*.safetensors"), *(DEMO / "dictionaries").rglob("*.safetensors")]
    assert len(files) == 4
    assert sum(file.stat().st_size for file in files) <= 20_000_000


def test_model_training_resumes_to_the_same_weights(tmp_path):
    rows = numpy.random.default_rng(0).integers(1, 4096, size=(8, language_model.CONTEXT))
    common = {"steps": 6, "batch_size": 2, "seed": 3, "save_every": 2}

    def fresh():
        return language_model.new_model(3, d_model=32, layers=1, heads=2)

    whole = language_model.train(rows, work=tmp_path / "a", model=fresh(), **common)
    language_model.train(rows, work=tmp_path / "b", model=fresh(), stop_at=3, **common)
    resumed = language_model.train(rows, work=tmp_path / "b", model=fresh(), **common)
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_dictionary_training_resumes_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(dictionaries, "BATCH", 64)
    monkeypatch.setattr(dictionaries, "CALIBRATION", 256)
    x = torch.randn(512, 16, generator=torch.Generator().manual_seed(1)).half()
    plan = dictionaries.Plan("x", "blocks.0.hook_resid_post", None, 8)
    whole = dictionaries.train(plan, x, x, steps=4, seed=1, work=tmp_path / "a")
    dictionaries.train(plan, x, x, steps=4, seed=1, work=tmp_path / "b", stop_at=2)
    resumed = dictionaries.train(plan, x, x, steps=4, seed=1, work=tmp_path / "b")
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
    dictionaries.save(plan, whole, tmp_path / "sae", "x")
    sae = weights.read(tmp_path / "sae")
    active = (sae.encode(x.float()) != 0).sum(1).float().mean()
    assert 6 < active < 10, "the threshold gives the L0 that was asked for"
    norms = sae.W_dec.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), atol=2e-3, rtol=0)


@pytest.fixture(scope="module")
def demo_store(demo_features):
    with featurestore.connect(demo_features) as store:
        yield store


def test_the_demo_is_built_once(demo_store, invoke):
    commit = demo_store.info().commit
    done = invoke(main, ["demo", "--no-serve", "--store", demo_store.location])
    assert done.exit_code == 0, done.output
    assert "is complete: nothing to do" in done.stdout
    assert re.search(r"ready after \d+ s \(\d+ s of processor time\); .+ takes \d+ MB\n", done.stdout)
    assert "building" not in done.stdout
    assert 'featurestore search "exception handling" --store' in done.stdout
    assert demo_store.info().commit == commit


def test_every_live_feature_of_the_demo_has_a_label(demo_store):
    rows = demo_store.sql(
        "SELECT state, count(*) AS n, count(label) AS labelled FROM features GROUP BY state"
    ).to_pylist()
    counts = {row["state"]: (row["n"], row["labelled"]) for row in rows}
    # What fires only in documents held out has nothing to make a label from.
    (seen,) = demo_store.sql(
        "SELECT count(DISTINCT (dictionary, feature)) AS n FROM stored.examples "
        "JOIN (SELECT dictionary, feature FROM features WHERE state = 'live') USING (dictionary, feature) "
        "JOIN documents d USING (corpus, document) WHERE NOT d.held_out"
    )["n"].to_pylist()
    assert counts["live"][0] > seen == counts["live"][1] > 4000
    assert counts["dead"][1] == 0
    assert demo_store.sql("SELECT DISTINCT explainer FROM labels")["explainer"].to_pylist() == ["tokens"]


def strongest(page, before=3, after=5):
    """The text around the tokens of the page's five strongest examples."""
    texts = []
    for example in [example for example in page.examples if example.band == "top"][:5]:
        peak = example.position - example.start
        texts.append("".join(example.tokens[max(0, peak - before) : peak + after]))
    return texts


def test_activating_names_features_whose_pages_show_such_text(demo_store):
    activations = demo_store.activating("def __init__(self, name):", k=5)
    assert "".join(activations.tokens) == "def __init__(self, name):"
    for feature in activations.features:
        page = demo_store.feature(feature.id)
        token = activations.tokens[feature.token].strip()
        assert sum(token in text for text in strongest(page)) >= 3, (page.label, token)
    pages = [" ".join(strongest(demo_store.feature(feature.id), 12, 12)) for feature in activations.features]
    assert sum("def " in text and "(" in text for text in pages) >= 3


def test_searches_find_what_a_programmer_means(demo_store):
    for words, tokens in {
        "import statement": ("import", "from"),
        "exception class names": ("Error", "Exception", "Warning", "except", "raise"),
        "function definition": ("def",),
    }.items():
        # A feature that fired a few times on this little text has a label of chance, and others have one in part.
        hits = demo_store.search(words, k=5, where="active_tokens >= 60")
        shown = [" ".join(strongest(demo_store.feature(hit.id))) for hit in hits]
        assert sum(any(token in text for token in tokens) for text in shown) >= 2, (words, [hit.label for hit in hits])


def test_the_command_harvests_and_inspects_as_a_user_would(tmp_path, invoke):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.py").write_text("class A:\n    def get(self):\n        return self.value\n" * 30)
    dictionary = str(DEMO / "dictionaries" / "2-res-2k")
    text = ["--text", str(tmp_path / "text"), "--model", str(DEMO / "model")]
    done = invoke(main, ["inspect", dictionary, *text, "--tokens", "300", "--json"])
    figures = json.loads(done.stdout)
    assert figures["d_sae"] == 2048
    assert figures["variance_explained"] > 0.5
    harvest = ["harvest", "--weights", f"mid={dictionary}", "--model-id", "mine", "--store", str(tmp_path / "s"), *text]
    done = invoke(main, [*harvest, "--no-index"])
    assert done.exit_code == 0, done.output
    assert "mine/mid" in done.stdout
    assert featurestore.connect(tmp_path / "s").info().features == 2048
    again = invoke(main, harvest)
    assert (again.exit_code, "the store has mine/mid already" in again.stderr) == (4, True)
