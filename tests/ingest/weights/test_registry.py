"""Names of SAELens, looked up in a registry file of its form."""

import pytest
import yaml

from featurestore import BadRequest, NotFound
from ingest import weights
from ingest.weights.registry import find_published

REGISTRY = {
    "tiny-res": {
        "repo_id": "someone/tiny-SAEs",
        "model": "tiny",
        "config_overrides": {"model_from_pretrained_kwargs": {"center_writing_weights": True}},
        "saes": [
            {"id": "blocks.0.hook_resid_pre", "path": "blocks.0", "l0": 12.5, "norm_scaling_factor": 1.7},
            {"id": "blocks.1.hook_resid_pre", "path": "blocks.1"},
        ],
    },
    "one": {"repo_id": "someone/one", "model": "tiny", "saes": [{"id": "only", "path": "."}]},
}


@pytest.fixture
def registry(tmp_path):
    file = tmp_path / "pretrained_saes.yaml"
    file.write_text(yaml.safe_dump(REGISTRY))
    return file


def test_names_are_places_on_the_hub(registry):
    found = find_published("saelens://tiny-res/blocks.0.hook_resid_pre", registry)
    assert found[:2] == ("hf://someone/tiny-SAEs//blocks.0?scale=1.7&centred=true", 12.5)
    assert find_published("tiny-res/blocks.1.hook_resid_pre", registry)[0].startswith(
        "hf://someone/tiny-SAEs//blocks.1"
    )
    assert find_published("one", registry) == ("hf://someone/one", None, None)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("tiny-res", BadRequest, r"holds 2 dictionaries; name one: saelens://tiny-res/ID, as blocks.0.hook_resid_pre"),
        ("tiny-res/blocks.9.hook_resid_pre", BadRequest, r"has no blocks.9.hook_resid_pre: .*blocks.1.hook_resid_pre"),
        ("saelens://tiny-re/x", NotFound, "has no release tiny-re; nearest are tiny-res"),
    ],
)
def test_names_that_are_not_there(registry, name, error, words):
    with pytest.raises(error, match=words):
        find_published(name, registry)


def test_no_registry(monkeypatch):
    monkeypatch.setattr("ingest.weights.registry._find_installed", lambda: None)
    with pytest.raises(NotFound, match="pip install sae-lens, or give its pretrained_saes.yaml with --registry"):
        weights.read("saelens://tiny-res/x")
    with pytest.raises(NotFound, match="no weights at"):
        weights.read("tiny-res")


def test_what_to_download_is_said(registry, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises((NotFound, BadRequest, Exception), match="hf://someone/tiny-SAEs//blocks.0"):
        weights.read("saelens://tiny-res/blocks.0.hook_resid_pre", registry=registry)
