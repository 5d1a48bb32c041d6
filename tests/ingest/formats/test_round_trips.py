"""Dashboards of any content, imported, exported and imported again: nothing that the format can carry is lost."""

import hypothesis
import numpy
import pytest
from hypothesis import strategies

import featurestore
from tests.ingest.formats import foreign_files
from tests.ingest.formats.test_export import TEXTS, export, pages
from tests.ingest.formats.test_import_run import run_import

TOKENS = strategies.text(strategies.sampled_from("ab \n\"\\,[]{}:é日\U0001f600'<&"), min_size=1, max_size=4)
# As float32 rounds them, which the store does.
ACTIVATIONS = strategies.floats(0.0078125, 1000, width=32) | strategies.just(0.0)
WINDOWS = strategies.lists(strategies.tuples(TOKENS, ACTIVATIONS), min_size=1, max_size=12).filter(
    lambda window: any(value for _, value in window)
)
FEATURES = strategies.fixed_dictionaries(
    {
        "counts": strategies.lists(strategies.integers(0, 1000), min_size=2, max_size=50).filter(any),
        "logits": strategies.lists(
            strategies.tuples(TOKENS, strategies.floats(-50, 50, width=16)), min_size=1, max_size=10
        ),
        "windows": strategies.lists(WINDOWS, min_size=1, max_size=4),
        "labels": strategies.lists(TEXTS, min_size=1, max_size=3, unique=True),
    }
)


def write_dashboards(folder, features):
    """Write an export of Neuronpedia of these features, by number."""
    records, activations, labels = [], [], []
    for number, said in features.items():
        more = foreign_files.histogram(said["counts"], 8.0)
        more |= {"frac_nonzero": round(sum(said["counts"]) / 1_000_000, 5)}
        more |= {"maxActApprox": float(max(value for window in said["windows"] for _, value in window))}
        more |= {"pos_str": [text for text, _ in said["logits"]], "pos_values": [value for _, value in said["logits"]]}
        records.append(foreign_files.neuronpedia_feature(number, **more))
        for window in said["windows"]:
            tokens, values = [token for token, _ in window], [value for _, value in window]
            at = int(numpy.argmax(values))
            activations.append(
                foreign_files.neuronpedia_activation(
                    number, max(values), tokens=tokens, values=values, maxValueTokenIndex=at
                )
            )
        labels += [
            foreign_files.neuronpedia_explanation(number, text, explanationModelName=f"somebody {at}")
            for at, text in enumerate(said["labels"])
        ]
    foreign_files.write_lines(folder / "features/batch-0.jsonl.gz", records)
    foreign_files.write_lines(folder / "activations/batch-0.jsonl.gz", activations)
    foreign_files.write_lines(folder / "explanations/batch-0.jsonl.gz", labels)
    source = {"id": "8-res-jb", "modelId": "gpt2-small", "num_prompts": 10_000, "num_tokens_in_prompt": 100}
    foreign_files.write_lines(folder / "source.jsonl", [source])
    return folder


def carried(store, form, source):
    """What a store says of its features as far as a form carries it."""
    rows = []
    for id, facts, edges, labels, logits, examples in pages(store, source):
        density, most, active, histogram, state, extra = facts
        number = int(id.rpartition("/")[2])
        windows = [example[:3] for example in examples]
        if form == "neuronpedia":
            rows.append((number, density, most, active, histogram, state, extra, edges, labels, logits, windows))
        else:
            rows.append((number, density, most, histogram, edges, logits, windows))
    return rows


@pytest.mark.parametrize("form", ["neuronpedia", "circuit-tracer", "feature-json"])
@hypothesis.settings(max_examples=3, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(features=strategies.dictionaries(strategies.integers(0, 6), FEATURES, min_size=1, max_size=3))
def test_dashboards_come_back_whole(tmp_path_factory, form, features):
    folder = tmp_path_factory.mktemp("dashboards")
    run_import(write_dashboards(folder / "np", features), store=folder / "a.features")
    export(form, folder / "out/features", store=folder / "a.features")
    run_import(form, folder / "out/features", store=folder / "b.features")
    with featurestore.connect(folder / "b.features") as opened:
        (source,) = [row.dictionary for row in opened.dictionaries()]
        assert opened.check().problems == ()
    whole, back = (
        [row for row in carried(folder / name, form, dictionary) if row[0] in features]
        for name, dictionary in (("a.features", "gpt2-small/8-res-jb"), ("b.features", source))
    )
    assert [row[0] for row in whole] == sorted(features) and back == whole


@hypothesis.settings(max_examples=3, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(labels=strategies.dictionaries(strategies.integers(0, 50), TEXTS, min_size=1, max_size=8))
def test_explanations_of_delphi_come_back(tmp_path_factory, labels):
    folder = tmp_path_factory.mktemp("delphi")
    foreign_files.write_json(folder / "labels.json", {str(feature): text for feature, text in labels.items()})
    run_import("labels", folder / "labels.json", store=folder / "a.features", dictionary="m/s")
    export("delphi", folder / "out", store=folder / "a.features")
    run_import("delphi", folder / "out", store=folder / "b.features")
    with featurestore.connect(folder / "b.features") as opened:
        rows = opened.sql("select feature, label from labels").to_pylist()
    assert {row["feature"]: row["label"] for row in rows} == labels
