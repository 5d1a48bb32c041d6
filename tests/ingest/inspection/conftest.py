"""The demo's model, one of its dictionaries and some text, measured once a module."""

import json
from pathlib import Path

import pytest

from ingest import weights
from ingest.corpus.corpus import tokenise
from ingest.corpus.sources import documents
from ingest.inspection.selftest import measure
from ingest.model.model import Model
from tests.support import ROOT

DEMO = ROOT / "featurestore_demo"
TOKENS = 200


@pytest.fixture(scope="module")
def text():
    return str(Path(json.__file__).parent / "decoder.py")


@pytest.fixture(scope="module")
def model():
    return Model(str(DEMO / "model"))


@pytest.fixture(scope="module")
def corpus(model, text):
    return tokenise(model.tokenizer, documents([text]), TOKENS)


@pytest.fixture(scope="module")
def sae():
    return weights.read(DEMO / "dictionaries" / "2-res-2k")


@pytest.fixture(scope="module")
def truth(sae, model, corpus):
    return measure(sae, model, corpus)
