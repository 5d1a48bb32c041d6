"""The forward pass in NumPy, against transformers' own."""

import json
import shutil
from pathlib import Path

import numpy
import pytest

from featurestore import Unavailable
from featurestore.search import embedders
from featurestore.search.encoders.bert import WEIGHTS, BertEncoder, recognises

FOLDER = Path(embedders.model_location(embedders.DEFAULT))
TEXTS = [
    "",
    "a",
    "'import' and \"from\" at the beginning of a line",
    "words of apology, in formal letters, " * 3,
    "Ünïcödé ﬁ １２ café Straße",
    "日本語のテキスト 中文",
    "😀 мир, труд",
    "[MASK] try/except label:exception",
    "x" * 500,
    "very long " * 400,
]


@pytest.fixture(scope="module")
def encoder():
    return BertEncoder(FOLDER, embedders.MAX_TOKENS, embedders.FEW)


def test_vectors_equal_those_of_transformers(encoder):
    from featurestore.search.encoders.transformer import TransformerEncoder

    reference = TransformerEncoder(str(FOLDER), embedders.MAX_TOKENS, embedders.FEW)
    assert encoder.weights_hash == reference.weights_hash  # so that no store is embedded again
    wanted = reference(TEXTS)
    numpy.testing.assert_allclose(encoder(TEXTS), wanted, atol=1e-5)
    numpy.testing.assert_allclose(encoder(TEXTS[2:3]), wanted[2:3], atol=1e-5)
    assert encoder(TEXTS).dtype == numpy.float32


def test_batches_are_told_to_the_stage_and_change_nothing(encoder):
    texts = [f"{'one more word ' * (n % 40)} number {n}" for n in range(200)]
    steps = []
    together = encoder(texts, steps.append)
    assert len(steps) > 1 and sum(steps) == 200
    numpy.testing.assert_allclose(together[[3, 150]], [encoder([texts[3]])[0], encoder([texts[150]])[0]], atol=1e-5)
    assert encoder([]).shape == (0, 384)


def test_other_architectures_are_not_recognised(tmp_path):
    assert recognises(FOLDER)
    assert not recognises(tmp_path)
    config = json.loads((FOLDER / "config.json").read_text())
    for name in (WEIGHTS, "tokenizer.json"):
        (tmp_path / name).touch()
    for change in ({"model_type": "roberta"}, {"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        assert not recognises(tmp_path)
    (tmp_path / "config.json").write_text("[")
    assert not recognises(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 192}, r"has the shape \(\d+, 384\), config says"),
        ({"num_hidden_layers": 7}, "has no tensor encoder.layer.6.attention.self.query.weight"),
        ({"num_attention_heads": None}, "no embedder at"),
        ({"num_attention_heads": 7}, "384 numbers cannot be shared among 7 heads"),
    ],
)
def test_a_config_that_its_weights_contradict(tmp_path, change, message):
    for name in (WEIGHTS, "tokenizer.json"):
        (tmp_path / name).symlink_to(FOLDER / name)
    (tmp_path / "config.json").write_text(json.dumps(json.loads((FOLDER / "config.json").read_text()) | change))
    with pytest.raises(Unavailable, match=message):
        BertEncoder(tmp_path, 256, 8)


def test_cut_off_weights(tmp_path):
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(FOLDER / name, tmp_path)
    with (FOLDER / WEIGHTS).open("rb") as file:
        (tmp_path / WEIGHTS).write_bytes(file.read(1_000_000))
    with pytest.raises(Unavailable, match="no embedder at .*: model.safetensors: tensor .* is not within the file"):
        BertEncoder(tmp_path, 256, 8)
