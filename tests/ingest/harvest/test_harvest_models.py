"""Harvests over models other than GPT-2, whose ways with BOS differ, against plain transformers and NumPy."""

import numpy
import pytest
import torch
import transformers

import featurestore
from ingest import weights
from ingest.harvest.harvest import harvest
from ingest.harvest.plan import HarvestOptions
from ingest.model.model import Model
from tests.support import model_families, small_models

# The module whose output is the dictionary's input, by a path of the plain model.
PLACES = {
    "gemma3": ("blocks.1.hook_mlp_out", "model.language_model.layers.1.post_feedforward_layernorm"),
    "qwen3": ("layers.1.self_attn", "model.layers.1.self_attn"),
    "pythia": ("1.resid_post", "gpt_neox.layers.1"),
}


def outputs(model, path, ids):
    found = []
    handle = model.get_submodule(path).register_forward_hook(lambda module, given, output: found.append(output))
    with torch.no_grad():
        model(torch.tensor([ids]))
    handle.remove()
    return (found[0][0] if isinstance(found[0], tuple) else found[0])[0].numpy()


@pytest.mark.parametrize(
    ("name", "prepend_bos", "begins"),
    [("gemma3", False, True), ("qwen3", True, False), ("pythia", True, True), ("pythia", False, False)],
)
def test_densities_and_maxima_are_those_of_the_plain_model(tmp_path, name, prepend_bos, begins):
    hook, path = PLACES[name]
    tokenizer = small_models.tokenizer()
    model_families.write(tmp_path / "model", name)
    if name == "qwen3":
        tokenizer.bos_token = None
        tokenizer.save_pretrained(tmp_path / "model")
    metadata = {"hook_name": hook, "prepend_bos": prepend_bos, "context_size": small_models.CONTEXT, "model_name": name}
    sae = weights.read(small_models.write_sae(tmp_path / "sae", hook=hook, metadata=metadata))
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    bos = [0] if begins else []
    size = small_models.CONTEXT - len(bos)
    rows = []
    for _, text in small_models.TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for first in range(0, len(ids), size):
            rows.append(outputs(plain, path, bos + ids[first : first + size])[len(bos) :])
    activations = sae.encode(torch.from_numpy(numpy.concatenate(rows))).numpy()
    with featurestore.create(tmp_path / "s") as store:
        report = harvest(
            store,
            Model(str(tmp_path / "model")),
            {"x": sae},
            small_models.TEXTS,
            model_id="m",
            options=HarvestOptions(max_norm=0),
        )
        assert report.counted["m/x"] == len(activations)
        assert report.excluded["m/x"]["bos"] == (len(rows) if begins else 0)
        found = store.sql("SELECT active_tokens, max_activation FROM features ORDER BY feature").to_pydict()
    # A pre-activation within rounding of its threshold may fall on either side.
    assert numpy.abs((activations != 0).sum(0) - found["active_tokens"]).max() <= 1
    largest = numpy.array([value or 0 for value in found["max_activation"]])
    numpy.testing.assert_allclose(largest, activations.max(0), rtol=1e-3, atol=1e-4)
    assert (activations.max(0) > 0).sum() > 5
