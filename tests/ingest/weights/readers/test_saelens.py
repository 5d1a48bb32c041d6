"""SAELens's architectures, settings, tensors and keys: honoured as its formulas say, or refused by name."""

import json

import numpy
import pytest
import torch

from featurestore import BadRequest
from ingest import weights
from tests.ingest.weights import saelens_files
from tests.ingest.weights.saelens_files import Case
from tests.support.published_weights import D, N, close, decoded, encoded, inputs, made, same, save, tensors

X = inputs().astype(numpy.float32)
PLAIN = Case("standard", "none", True, False)


@pytest.mark.parametrize("case", saelens_files.cases(), ids=str)
def test_every_architecture_with_every_setting(tmp_path, case):
    folder = saelens_files.write(tmp_path, case)
    if not case.is_read:
        with pytest.raises(BadRequest, match="rescale_acts_by_decoder_norm|covariance_whitening"):
            weights.read(folder)
        return
    sae = weights.read(folder)
    acts, written = saelens_files.wanted(case, X)
    same(encoded(sae, X), acts)
    close(decoded(sae, X), written)


def test_rescaling_of_architectures_without_it_can_be_left_out(tmp_path):
    folder = saelens_files.write(tmp_path, PLAIN, rescale_acts_by_decoder_norm=True)
    with pytest.raises(BadRequest, match=r"leaves it out for standard.*\?ignore=rescale_acts_by_decoder_norm"):
        weights.read(folder)
    sae = weights.read(f"{folder}?ignore=rescale_acts_by_decoder_norm")
    same(encoded(sae, X), saelens_files.wanted(PLAIN, X)[0])
    assert "ignore=rescale_acts_by_decoder_norm" in sae.location


def test_every_activation_honours_rescaling(tmp_path):
    """Reconstructions do not depend on the units of activations, except where norms decide which are chosen."""
    import dataclasses

    for architecture in ("standard", "gated"):
        case = Case(architecture, "none", True, False)
        sae = weights.read(saelens_files.write(tmp_path / architecture, case))
        rescaled = dataclasses.replace(sae, rescale_by_decoder_norm=True)
        norms = numpy.linalg.norm(made()["W_dec"], axis=1)
        same(encoded(rescaled, X), saelens_files.wanted(case, X)[0] * norms)
        close(decoded(rescaled, X), saelens_files.wanted(case, X)[1])


@pytest.mark.parametrize(
    ("architecture", "name", "shape"),
    [
        ("standard", "threshold", (N,)),
        ("standard", "W_skip", (D, D)),
        ("transcoder", "W_skip", (D, D)),
        ("topk", "r_mag", (N,)),
        ("jumprelu", "rescaling", (3,)),
    ],
)
def test_tensors_that_nobody_takes_are_refused_by_name(tmp_path, architecture, name, shape):
    case = Case(architecture, "none", False, False)
    folder = saelens_files.write(tmp_path, case)
    save(folder / "sae_weights.safetensors", tensors(**saelens_files.arrays(case), **{name: numpy.ones(shape, "f4")}))
    with pytest.raises(BadRequest, match=rf"sae_weights.safetensors: {name}: .*\?ignore={name}"):
        weights.read(folder)
    same(encoded(weights.read(f"{folder}?ignore={name}"), X), saelens_files.wanted(case, X)[0])


@pytest.mark.parametrize("name", ["scaling_factor", "finetuning_scaling_factor"])
def test_factors_of_finetuning(tmp_path, name):
    folder = saelens_files.write(tmp_path, PLAIN)
    arrays = saelens_files.arrays(PLAIN)
    save(folder / "sae_weights.safetensors", tensors(**arrays, **{name: numpy.ones(N, "f4")}))
    same(encoded(weights.read(folder), X), saelens_files.wanted(PLAIN, X)[0])
    save(folder / "sae_weights.safetensors", tensors(**arrays, **{name: numpy.full(N, 1.5, "f4")}))
    with pytest.raises(BadRequest, match=f"{name} is not 1 everywhere"):
        weights.read(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("finetuning_scaling_factor", True),
        ("seqpos_slice", [5, None]),
        ("exclude_special_tokens", [0, 1]),
        ("shift_by", 0.5),
        ("reshape_activations", "heads"),
        ("model_from_pretrained_kwargs", {"rope_scaling": 2}),
        ("activation_fn_kwargs", {"alpha": 0.1}),
    ],
)
def test_keys_that_change_the_dictionary_are_refused_by_name(tmp_path, key, value):
    inner = next(iter(value)) if isinstance(value, dict) else key
    folder = saelens_files.write(tmp_path, PLAIN, **{key: value})
    with pytest.raises(BadRequest, match=rf"cfg.json.*{inner}.*\?ignore={inner}"):
        weights.read(folder)
    same(encoded(weights.read(f"{folder}?ignore={inner}"), X), saelens_files.wanted(PLAIN, X)[0])


@pytest.mark.parametrize(
    "more",
    [
        {"seqpos_slice": [None]},
        {"seqpos_slice": [1, None]},
        {"some_later_switch": False, "another": None, "third": {}},
        {"lr": 3e-4, "wandb_project": "x", "n_batches_in_buffer": 20, "l1_coefficient": 5, "training_tokens": 10**6},
    ],
)
def test_keys_that_do_not_matter(tmp_path, more):
    sae = weights.read(saelens_files.write(tmp_path, PLAIN, **more))
    same(encoded(sae, X), saelens_files.wanted(PLAIN, X)[0])


def test_special_tokens_left_out_in_training_are_known(tmp_path):
    assert weights.read(saelens_files.write(tmp_path, PLAIN, exclude_special_tokens=True)).exclude_special


def test_groups_of_a_matryoshka_checkpoint(tmp_path):
    case = Case("matryoshka_batchtopk", "none", True, True)
    assert weights.read(saelens_files.write(tmp_path, case)).groups == (4, N - 4)


@pytest.mark.parametrize(
    ("place", "value", "by"),
    [
        ("cfg", {"l0": 31.5}, "l0 31.5"),
        ("cfg", {"metadata": {"hook_name": "x", "training_architecture_details": {"k": 6.0}}}, "details.k 6.0"),
        ("eval_results.json", {"metrics": {"l0": 12.4}}, "eval_results.json: metrics.l0 12.4"),
        ("sparsity.safetensors", None, "sparsity.safetensors: densities that add up to 1.2"),
        ("path", None, "the path: l0 71"),
    ],
)
def test_the_l0_that_files_state(tmp_path, place, value, by):
    folder = tmp_path / ("average_l0_71" if place == "path" else "sae")
    saelens_files.write(folder, PLAIN, **(value if place == "cfg" else {}))
    if place == "sparsity.safetensors":
        save(folder / place, {"sparsity": torch.full((N,), -1.0)})
    elif place.endswith(".json"):
        (folder / place).write_text(json.dumps(value))
    assert by in weights.read(folder).promised_by


def test_masked_features_are_dead(tmp_path):
    case = Case("jumprelu", "none", True, False)
    folder = saelens_files.write(tmp_path, case)
    arrays = saelens_files.arrays(case)
    arrays["threshold"][2], arrays["b_enc"][5], arrays["W_dec"][7] = numpy.inf, -numpy.inf, 0
    save(folder / "sae_weights.safetensors", tensors(**arrays))
    sae = weights.read(folder)
    acts = encoded(sae, X)
    expected = saelens_files.wanted(case, X)[0]
    expected[:, [2, 5]] = 0
    same(acts, expected)
    assert numpy.isfinite(decoded(sae, X)).all()
    said = " ".join(sae.inferred)
    assert (
        "2 of 12 features (2, 5) are masked" in said and "1 of 12 features (7) have a decoder vector of zeros" in said
    )


@pytest.mark.parametrize("architecture", ["standard", "topk", "abstopk", "gated", "jumprelu", "batchtopk"])
def test_broken_features_are_refused_by_index_or_dropped(tmp_path, architecture):
    case = Case(architecture, "none", True, architecture == "topk")
    folder = saelens_files.write(tmp_path, case)
    arrays = saelens_files.arrays(case)
    arrays["W_dec"][3, 1] = numpy.nan
    arrays["W_enc"][0, 8] = numpy.inf
    save(folder / "sae_weights.safetensors", tensors(**arrays))
    with pytest.raises(BadRequest, match=r"W_enc and W_dec holds NaN.*2 of 12 features \(3, 8\).*\?drop_bad=true"):
        weights.read(folder)
    sae = weights.read(f"{folder}?drop_bad=true")
    acts = encoded(sae, X)
    assert (acts[:, [3, 8]] == 0).all() and (acts != 0).any() and numpy.isfinite(acts).all()
    assert numpy.isfinite(decoded(sae, X)).all()


def test_broken_numbers_of_no_feature_are_refused(tmp_path):
    folder = saelens_files.write(tmp_path, PLAIN)
    arrays = saelens_files.arrays(PLAIN)
    arrays["b_dec"][0] = numpy.nan
    save(folder / "sae_weights.safetensors", tensors(**arrays))
    with pytest.raises(BadRequest, match="b_dec holds NaN"):
        weights.read(f"{folder}?drop_bad=true")
