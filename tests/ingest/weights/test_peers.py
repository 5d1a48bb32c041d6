"""Our encode() and decode() against those of the libraries that write these formats, where they are installed.

They are no dependencies of ours and pin other versions of what we use, so they live in an environment of their own:
python -m venv peers
peers/bin/pip install sae-lens dictionary-learning git+https://github.com/decoderesearch/circuit-tracer
then these tests with
PYTHONPATH=peers/lib/python3.11/site-packages behind our own packages.
"""

import importlib

import numpy
import pytest
import torch
import yaml

from ingest import weights
from tests.ingest.weights import saelens_files
from tests.ingest.weights.readers.test_dictionary_learning import CLASSES, written
from tests.support.published_weights import D, N, inputs, made, save, tensors

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, when they are imported
X = torch.tensor(inputs(), dtype=torch.float32)


def peer(name, needs=None):
    try:
        found = importlib.import_module(name)
    except Exception as exc:  # other versions of what they need make them fail in many ways
        pytest.skip(f"{name} is not to be had here: {type(exc).__name__}")
    if needs and not hasattr(found, needs):
        pytest.skip(f"this version of {name} has no {needs}")
    return found


def agree(ours, theirs):
    assert (theirs != 0).any() and (theirs == 0).any()
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-4, atol=1e-5)


W = made()
ARRAYS = {name: W[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec")}


@pytest.mark.parametrize("case", [case for case in saelens_files.cases() if case.is_read], ids=str)
def test_sae_lens(tmp_path, case):
    """SAELens's own dictionary, with what it folds in when training ends or a name of its registry is loaded."""
    sae_lens = peer("sae_lens")
    folder = saelens_files.write(tmp_path, case)
    is_checkpoint = "batchtopk" in case.architecture
    theirs = (sae_lens.TrainingSAE if is_checkpoint else sae_lens.SAE).load_from_disk(folder, device="cpu")
    if case.norm == "expected_average_only_in":
        theirs.fold_activation_norm_scaling_factor(saelens_files.SCALE)
    if case.norm == "covariance_whitening":
        white = tensors(**saelens_files.whitening())
        theirs.fold_activation_whitening(white["mean"], white["matrix"], white["inverse_matrix"])
    if is_checkpoint:
        theirs.save_inference_model(tmp_path / "finished")
        theirs = sae_lens.SAE.load_from_disk(tmp_path / "finished", device="cpu")
        ours = weights.read(tmp_path / "finished")
        with torch.no_grad():
            agree(ours.encode(X), theirs.encode(X))
    ours = weights.read(folder)
    with torch.no_grad():
        agree(ours.encode(X), theirs.encode(X))
        whole = theirs(X)
    torch.testing.assert_close(ours.decode(ours.encode(X), X), whole, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("name", CLASSES)
def test_dictionary_learning(tmp_path, name):
    library = peer("dictionary_learning.dictionary")
    trainers = {
        "AutoEncoderTopK": "top_k",
        "BatchTopKSAE": "batch_top_k",
        "MatryoshkaBatchTopKSAE": "matryoshka_batch_top_k",
    }
    module = peer(f"dictionary_learning.trainers.{trainers[name]}") if name in trainers else library
    folder = written(tmp_path, name)
    theirs = getattr(module, name).from_pretrained(str(folder / "ae.pt"))
    ours = weights.read(folder)
    with torch.no_grad():
        acts = theirs.encode(X)
        agree(ours.encode(X), acts)
        torch.testing.assert_close(ours.decode(ours.encode(X), X), theirs.decode(acts), rtol=1e-4, atol=1e-4)


def test_dictionary_learning_normalises_decoders_when_it_loads(tmp_path):
    library = peer("dictionary_learning.dictionary")
    linear = {"encoder.weight": W["W_enc"].T, "decoder.weight": W["W_dec"].T}
    folder = written(tmp_path, "AutoEncoder", linear | {"encoder.bias": W["b_enc"], "bias": W["b_dec"]})
    theirs = library.AutoEncoder.from_pretrained(str(folder / "ae.pt"))
    with torch.no_grad():
        agree(weights.read(folder).encode(X), theirs.encode(X))


@pytest.mark.parametrize("kind", ["relu", "jumprelu", "topk", "skip"])
def test_circuit_tracer(tmp_path, kind):
    library = peer("circuit_tracer.transcoder.single_layer_transcoder", "load_transcoder")
    functions = peer("circuit_tracer.transcoder.activation_functions")
    transposed = ARRAYS | {"W_enc": W["W_enc"].T}
    more = {"jumprelu": {"activation_function.threshold": W["threshold"] - 1}, "skip": {"W_skip": W["affine"]}}
    file = save(tmp_path / "layer_4.safetensors", tensors(**transposed, **more.get(kind, {})))
    config = {"feature_input_hook": "hook_resid_mid", "feature_output_hook": "hook_mlp_out", "model_name": "gpt2"}
    config |= {"activation": "topk", "k": 3} if kind == "topk" else {}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    activation = functions.TopK(3) if kind == "topk" else None
    theirs = library.load_transcoder(
        str(file), 4, activation, torch.device("cpu"), lazy_encoder=False, lazy_decoder=False
    )
    ours = weights.read(file)
    with torch.no_grad():
        agree(ours.encode(X), theirs.encode(X))
        torch.testing.assert_close(ours.decode(ours.encode(X), X), theirs(X), rtol=1e-4, atol=1e-4)


def test_circuit_tracer_across_layers(tmp_path):
    library = peer("circuit_tracer.transcoder.cross_layer_transcoder")
    layers = 3
    for i in range(layers):
        w = made(i)
        found = {
            f"W_enc_{i}": w["W_enc"].T,
            f"b_enc_{i}": w["b_enc"],
            f"b_dec_{i}": w["b_dec"],
            f"threshold_{i}": w["threshold"],
        }
        decoders = numpy.random.default_rng(i).normal(size=(N, layers - i, D)).astype(numpy.float32)
        save(tmp_path / f"W_enc_{i}.safetensors", tensors(**found))
        save(tmp_path / f"W_dec_{i}.safetensors", tensors(**{f"W_dec_{i}": decoders}))
    config = {"feature_input_hook": "hook_resid_mid", "feature_output_hook": "hook_mlp_out", "model_name": "gpt2"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    theirs = library.load_clt(str(tmp_path), device=torch.device("cpu"), dtype=torch.float32, lazy_decoder=False)
    x = torch.stack([X, X.flip(0), X * 0.5])
    written_to = torch.zeros(layers, len(X), D)
    with torch.no_grad():
        acts = theirs.encode(x)
        for i in range(layers):
            ours = weights.read(tmp_path / f"W_enc_{i}.safetensors")
            agree(ours.encode(x[i]), acts[i])
            given = ours.decode(ours.encode(x[i]), x[i])
            for place, target in enumerate(ours.targets):
                written_to[target] += given[:, place]
            written_to[i] += ours.b_dec
        torch.testing.assert_close(written_to, theirs.decode(acts.to_sparse(), x), rtol=1e-4, atol=1e-4)


def test_gemma_scope_2_by_circuit_tracer(tmp_path):
    library = peer("circuit_tracer.transcoder.single_layer_transcoder", "load_gemma_scope_2_transcoder")
    names = {"W_enc": "w_enc", "W_dec": "w_dec", "affine": "affine_skip_connection"}
    found = {names.get(name, name): array for name, array in W.items()}
    folder = tmp_path / "gemma-scope-2-4b-it/transcoder_all/layer_5_width_16k_l0_big_affine"
    file = save(folder / "params.safetensors", tensors(**found))
    theirs = library.load_gemma_scope_2_transcoder(str(file), 5, torch.device("cpu"))
    ours = weights.read(folder)
    with torch.no_grad():
        agree(ours.encode(X), theirs.encode(X))
        torch.testing.assert_close(ours.decode(ours.encode(X), X), theirs(X), rtol=1e-4, atol=1e-4)
