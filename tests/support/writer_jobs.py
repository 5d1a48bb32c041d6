"""Writers as processes: the jobs that tests/featurestore/storage/test_killed.py starts and kills. Each resumes where it
was stopped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy
import pyarrow

import featurestore
from featurestore.progress import no_progress
from ingest import weights
from ingest.harvest import forward_pass
from ingest.harvest.harvest import harvest
from ingest.harvest.plan import HarvestOptions
from ingest.model.model import Model
from labeler.llm.completions import Answer
from labeler.llm.rate_limit import RateLimit
from labeler.runs import label_run
from labeler.runs import row_buffer as rows
from tests.support import small_models, tiny

IMPORTED = tuple(f"{n}-imported" for n in range(4))


class _Judge:
    """Answers like a language model, at once."""

    model = "a-model"
    rate_limit = RateLimit(2)

    def ask(self, messages, **settings) -> Answer:
        return Answer('{"label": "about ' + str(len(str(messages))) + ' characters"}')

    def stop(self) -> None:
        pass


def harvesting(store: str, world: str) -> None:
    """Harvest two dictionaries over one model, keeping every unit that is counted."""
    forward_pass.UNIT_TOKENS = 11
    with featurestore.connect(store) as opened:
        if "small/1-res" in {one.dictionary for one in opened.dictionaries()}:
            return
        model = Model(os.path.join(world, "model"))
        saes = {"1-res": weights.read(Path(world) / "1-res"), "2-res": weights.read(Path(world) / "2-res")}
        kept = None if store.startswith("s3://") else Path(store + ".harvest")
        harvest(
            opened, model, saes, small_models.TEXTS, model_id="small", options=HarvestOptions(checkpoint=kept, every=0)
        )


def importing(store: str, world: str) -> None:
    """Write several dictionaries, a commit each."""
    with featurestore.connect(store) as opened:
        there = {one.source for one in opened.dictionaries()}
        for layer, source in enumerate(IMPORTED):
            if source not in there:
                with opened.writer("import") as writer:
                    tiny.add_dictionary(writer, source, layer)


def labelling(store: str, world: str) -> None:
    """Label every live feature, a commit for every four."""
    rows.BATCH = 4
    with featurestore.connect(store) as opened:
        label_run.label_with_model(opened, _Judge(), progress=no_progress)


def compacting(store: str, world: str) -> None:
    """Merge label parts and copy the best labels."""
    with featurestore.connect(store) as opened:
        opened.compact()


def deleting(store: str, world: str) -> None:
    """Remove one dictionary after the other."""
    with featurestore.connect(store) as opened:
        for one in opened.dictionaries():
            opened.remove(one.dictionary)


def indexing(store: str, world: str) -> None:
    """Build the indexes, by words only: loading an embedder would take longer than all the rest."""
    with featurestore.connect(store) as opened:
        opened.index()


def replacing(store: str, world: str) -> None:
    """Take one dictionary's place with another's content, in one commit."""
    with featurestore.connect(store) as opened:
        name = f"{tiny.MODEL}/{tiny.SOURCES[0]}"
        if opened.dictionary(name).tool == "replaced":
            return
        with opened.writer("replace") as writer:
            writer.remove_dictionary(name)
            row = tiny.dictionary_row(tiny.SOURCES[0], 0) | {"tool": "replaced"}
            writer.add("dictionaries", tiny.table([row]), key=name)
            writer.add("features", tiny.table(tiny.feature_rows(name)), key=name)
            writer.add_vectors(name, tiny.vectors(1))


def make_world(folder: Path) -> None:
    """The model and the weights that `harvesting` reads."""
    small_models.write_model(folder / "model")
    for layer in (1, 2):
        small_models.write_sae(folder / f"{layer}-res", hook=f"blocks.{layer}.hook_resid_post", seed=layer)


def scatter_labels(store: featurestore.FeatureStore, parts: int = 12) -> None:
    """Labels in many small parts, for compaction to merge."""
    for n in range(parts):
        for source in tiny.SOURCES:
            name = f"{tiny.MODEL}/{source}"
            rows = [row | {"explainer": f"model-{n % 3}"} for row in tiny.label_rows(name)[n::parts]]
            with store.writer("scatter") as writer:
                writer.add("labels", tiny.table(rows), key=name)


def content(location: str | Path) -> dict[str, list[str]]:
    """Everything a store says, in an order that does not depend on how it was written; times and tools left out."""
    found = {}
    with featurestore.connect(location) as store:
        for view in ("dictionaries", "documents", "tokens", "tokenizers", "labels", "features", "examples"):
            table = store.sql(f"FROM {view}")
            kept = table.drop_columns([n for n in ("created_at", "tool", "model_location") if n in table.column_names])
            kept = kept.drop_columns([n for n in ("weights_location",) if n in kept.column_names])
            found[view] = sorted(map(repr, pyarrow.Table.to_pylist(kept)))
        ids = [f"{d.dictionary}/{n}" for d in store.dictionaries() for n in (0, d.d_sae - 1)]
        found["vectors"] = [repr(numpy.asarray(store.vector(id)).tolist()) for id in ids]
        found["pages"] = [repr([e.tokens for e in store.feature(id).examples]) for id in ids]
    return found
