"""A store of many small features, each with a prompt of its own, and the process that labels it and may be killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy

import featurestore
from featurestore.progress import no_progress
from labeler import prompts
from labeler.explainers.llm_explainer import build_messages
from labeler.llm.asker import Asker
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.runs import label_run, row_buffer
from tests.support import fake_llm, tiny

NAME = f"{tiny.MODEL}/many"


def write_many(path: Path, features: int) -> featurestore.FeatureStore:
    """A store of one dictionary; feature i promotes a token with i in it, so no two prompts are the same."""
    store = featurestore.create(path)
    with store.writer("tests") as writer:
        row = {"tokenizer": tiny.TOKENIZER, "pieces": tiny.PIECES, "bytes": tiny.BYTES}
        writer.add("tokenizers", tiny.table([row]), key=tiny.TOKENIZER)
        documents = [
            {"document": i, "name": f"document {i}", "tokenizer": tiny.TOKENIZER, "length": len(tokens)}
            for i, tokens in enumerate(tiny.DOCUMENTS)
        ]
        writer.add_corpus(tiny.CORPUS, tiny.table(documents), numpy.concatenate(tiny.DOCUMENTS))
        writer.add("dictionaries", tiny.table([tiny.dictionary_row("many", 0) | {"d_sae": features}]), key=NAME)
        pattern, examples = tiny.feature_rows(NAME)[0], tiny.example_rows(NAME)[:4]
        writer.add(
            "features",
            tiny.table(
                [
                    pattern
                    | {"feature": i, "density": (i + 1) / 1e6, "top_logits": [{"token": f" word{i}", "value": 1.0}]}
                    for i in range(features)
                ]
            ),
            key=NAME,
        )
        writer.add(
            "examples", tiny.table([one | {"feature": i} for i in range(features) for one in examples]), key=NAME
        )
    return store


def expected(store: Any, feature: int) -> str:
    """The label that the endpoint gives a feature for the usual prompt."""
    talk = build_messages(store.feature(f"{NAME}/{feature}"), prompts.load())
    return fake_llm.label_of({"messages": talk})


def label(path: str, url: str, journal: str, concurrency: int = 8, batch: int = 500) -> label_run.LabelReport:
    """Label the store, or what is left of it."""
    row_buffer.BATCH = batch
    with featurestore.connect(path) as store, Journal(journal) as kept:
        asker = Asker([Endpoint("judge", url, concurrency=concurrency)], kept)
        return label_run.label_with_model(store, asker, progress=no_progress)


if __name__ == "__main__":
    label(*sys.argv[1:4], concurrency=int(sys.argv[4]))
