"""Training refuses another run's checkpoint, shipped files match the code, and the report's replacement is exact."""

import json
from pathlib import Path

import numpy
import pytest
import torch
from safetensors import safe_open

from featurestore import Conflict
from featurestore_demo import dictionaries, language_model, report, train
from featurestore_demo.corpus import documents, is_held_out
from ingest import weights
from ingest.corpus.corpus import tokenise
from ingest.model.model import Model
from ingest.sae import Sae

PLANS = pytest.mark.parametrize("plan", dictionaries.PLANS, ids=lambda plan: plan.source)


@pytest.fixture(scope="module")
def model():
    return Model(str(train.MODEL))


def test_contexts_begin_with_bos_and_cover_every_token_once(model):
    texts = [document.text for _, document in zip(range(3), documents(), strict=False)]
    rows = language_model.contexts(model.tokenizer, texts)
    assert rows.shape[1] == language_model.CONTEXT
    assert (rows[:, 0] == language_model.BOS_ID).all()
    assert (rows[:, 1:] != language_model.BOS_ID).all()
    kept = rows[:, 1:][rows[:, 1:] >= 0]
    assert model.tokenizer.decode(kept.tolist()) == "".join(texts)


def test_held_out_depends_on_the_name_alone():
    # Fixed names: if these changed, documents that the shipped model was trained on would count as held out.
    assert [name for name in ("ast.py", "typing.py", "topic:compound", "os.py", "topic:with") if is_held_out(name)] == [
        "ast.py",
        "typing.py",
        "topic:compound",
    ]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    rows = numpy.random.default_rng(0).integers(1, 4096, size=(4, 16))
    common = {"work": tmp_path, "batch_size": 2, "steps": 2}

    def fresh(seed):
        return language_model.new_model(seed, d_model=32, layers=1, heads=2)

    done = language_model.train(rows, seed=1, model=fresh(1), **common)
    again = language_model.train(rows, seed=1, model=fresh(1), **common)
    for one, other in zip(done.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(Conflict, match=r"'seed': 1, .* this one has .*'seed': 2, .*--fresh"):
        language_model.train(rows, seed=2, model=fresh(2), **common)
    with pytest.raises(Conflict, match="'contexts': 4"):
        language_model.train(rows[:2], seed=1, model=fresh(1), **common)


def test_a_dictionary_of_other_activations_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dictionaries, "BATCH", 32)
    monkeypatch.setattr(dictionaries, "CALIBRATION", 64)
    x = torch.randn(128, 8, generator=torch.Generator().manual_seed(1)).half()
    plan = dictionaries.Plan("x", "blocks.0.hook_resid_post", None, 4)
    dictionaries.train(plan, x, x, steps=1, seed=1, work=tmp_path)
    with pytest.raises(Conflict, match="scales"):
        dictionaries.train(plan, 2 * x, 2 * x, steps=1, seed=1, work=tmp_path)


def test_dead_features_are_revived(tmp_path, monkeypatch):
    for name, value in {"BATCH": 64, "CALIBRATION": 256, "DEAD_AFTER": 64 * 5, "REVIVE_EVERY": 10}.items():
        monkeypatch.setattr(dictionaries, name, value)
    # All activations lie near one line, so that few features win at first and most have nothing to say.
    generator = torch.Generator().manual_seed(2)
    line = torch.randn(4096, 1, generator=generator) @ torch.randn(1, 16, generator=generator)
    x = (line + 0.3 * torch.randn(4096, 16, generator=generator)).half()
    plan = dictionaries.Plan("x", "blocks.0.hook_resid_post", None, 2)

    def alive(work):
        tensors = dictionaries.train(plan, x, x, steps=100, seed=1, work=tmp_path / work)
        pre = (x.float() - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"]
        return int((pre > tensors["threshold"]).any(0).sum())

    with_revival = alive("a")
    monkeypatch.setattr(dictionaries, "REVIVE_EVERY", 10**9)
    assert with_revival > alive("b")


@PLANS
def test_shipped_files_are_what_the_code_writes(model, plan):
    folder = train.DICTIONARIES / plan.source
    config = json.loads((folder / "cfg.json").read_text())
    assert config == dictionaries.config(plan, 192, 192, train.MODEL_NAME)
    with safe_open(folder / "sae_weights.safetensors", "pt") as file:
        shapes = {name: tuple(file.get_tensor(name).shape) for name in file.keys()}  # noqa: SIM118
        assert {file.get_tensor(name).dtype for name in shapes} == {torch.float16}
    assert shapes == {
        "W_enc": (192, 2048),
        "W_dec": (2048, 192),
        "b_enc": (2048,),
        "b_dec": (192,),
        "threshold": (2048,),
    }
    # Both names of a place, TransformerLens's and transformers', mean one module and one side.
    for one, other in (("hook_name", "hf_hook_name"), ("hook_name_out", "hf_hook_name_out")):
        if one in config["metadata"]:
            points = [model.hook_point(config["metadata"][name]) for name in (one, other)]
            assert points[0].module is points[1].module
            assert points[0].side == points[1].side


@PLANS
def test_decoder_vectors_have_length_one(plan):
    norms = weights.read(train.DICTIONARIES / plan.source).W_dec.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), atol=2e-3, rtol=0)


def test_a_dictionary_that_changes_nothing_recovers_all_loss(model):
    # relu(x) - relu(-x) = x
    eye, zero = torch.eye(192), torch.zeros(192)
    same = Sae(
        W_enc=torch.cat([eye, -eye], dim=1),
        b_enc=torch.zeros(384),
        W_dec=torch.cat([eye, -eye]),
        b_dec=zero,
        activation="relu",
        architecture="standard",
        hook_point="blocks.2.hook_resid_post",
        location="here",
        hash="",
    )
    corpus = tokenise(model.tokenizer, documents(), 2000)
    figures = report.measure_recovered_loss(model, same, corpus)
    assert figures["loss_increase"] == pytest.approx(0, abs=1e-4)
    assert figures["loss_recovered"] == pytest.approx(1, abs=1e-4)


@PLANS
def test_splicing_a_dictionary_in_costs_little(model, plan):
    corpus = tokenise(model.tokenizer, (d for d in documents() if is_held_out(d.name)), 4000)
    figures = report.measure_recovered_loss(model, weights.read(train.DICTIONARIES / plan.source), corpus)
    assert 0 < figures["loss_increase"] < 0.5
    assert figures["loss_recovered"] > 0.8


def test_the_readme_gives_a_row_to_every_dictionary():
    text = (Path(train.__file__).parent / "README.md").read_text()
    for plan in dictionaries.PLANS:
        assert f"| `{plan.source}` | `{plan.hook_point}` |" in text
