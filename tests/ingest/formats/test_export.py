"""What is written is what was read: import, export and import again give equal stores, for what a format can carry."""

import json
import re

import hypothesis
import pytest
from click.testing import CliRunner
from hypothesis import strategies

import featurestore
from featurestore import Conflict, NotFound
from ingest.cli.export_files import export_files
from tests.ingest.formats import foreign_files
from tests.ingest.formats.test_import_run import run_import

SOURCE = "gpt2-small/8-res-jb"
FIELDS = ("density", "max_activation", "active_tokens", "histogram", "state", "extra")


def export(*arguments, store):
    result = CliRunner().invoke(
        export_files, [*map(str, arguments), "--store", str(store), "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    run_import(foreign_files.write_neuronpedia(folder / "np"), store=folder / "a.features")
    return folder / "a.features"


def pages(store, source=SOURCE):
    """All that a store says of each feature, but for when it was written."""
    with featurestore.connect(store) as opened:
        for feature in opened.features_where(f"dictionary = '{source}'"):
            facts = [getattr(feature, name) for name in FIELDS]
            edges = [round(edge, 4) for edge in feature.histogram_edges or ()]
            labels = sorted((label.explainer, label.label, label.prompt) for label in feature.labels)
            logits = [(effect.token, effect.value) for effect in (*feature.top_logits, *feature.bottom_logits)]
            examples = sorted((e.band, e.tokens, e.activations, e.band_share or 0) for e in feature.examples)
            yield feature.id, facts, edges, labels, logits, examples


def test_exports_of_neuronpedia_come_back_whole(store, tmp_path):
    counts = export("neuronpedia", tmp_path / "np", store=store)
    assert {name: counts[name] for name in ("features", "activations", "explanations")} == {
        "features": 4,
        "activations": 12,
        "explanations": 6,
    }
    run_import(tmp_path / "np", store=tmp_path / "b.features")
    assert list(pages(tmp_path / "b.features")) == list(pages(store))


def test_uploads_have_examples_and_at_most_128_features(store, tmp_path):
    export("neuronpedia-upload", tmp_path / "up", store=store)
    body = json.loads((tmp_path / "up" / SOURCE / "batch-0.json").read_text())
    assert (body["modelId"], body["source"], len(body["features"])) == ("gpt2-small", "8-res-jb", 4)
    feature = body["features"][0]
    assert (feature["index"], feature["density"]) == (0, 0.0003)
    assert feature["topLogits"][0] == {"token": " bridge", "value": 2.5}
    assert {len(activation["tokens"]) for activation in feature["activations"]} == {6}


@pytest.mark.parametrize("form", ["circuit-tracer", "feature-json"])
def test_records_of_features_come_back(store, tmp_path, form):
    target = tmp_path / "out/features"
    export(form, target, store=store)
    run_import(form, target, store=tmp_path / "b.features")
    with featurestore.connect(tmp_path / "b.features") as opened:
        (source,) = [row.dictionary for row in opened.dictionaries()]
    there, back = list(pages(store)), list(pages(tmp_path / "b.features", source))
    for (_, facts, edges, _, logits, examples), (_, facts2, edges2, _, logits2, examples2) in zip(
        there, back, strict=True
    ):
        assert (facts[0], facts[1], facts[3], edges, logits) == (facts2[0], facts2[1], facts2[3], edges2, logits2)
        assert [example[:3] for example in examples] == [example[:3] for example in examples2]


def test_delphi_gets_the_best_label(store, tmp_path):
    export("delphi", tmp_path / "delphi", store=store)
    file = tmp_path / "delphi/explanations/blocks.8.hook_resid_pre_latent3.txt"
    assert json.loads(file.read_text()) == "the Golden Gate Bridge, 3"
    run_import(tmp_path / "delphi", store=tmp_path / "b.features")
    with featurestore.connect(tmp_path / "b.features") as opened:
        assert opened.feature("gpt2-small/blocks.8.hook_resid_pre/3").label == "the Golden Gate Bridge, 3"


def test_datasets_loads_what_is_written_for_the_hub(store, tmp_path):
    import pyarrow.parquet

    counts = export("dataset", tmp_path / "ds", store=store)
    assert {name: pyarrow.parquet.read_table(tmp_path / "ds" / name).num_rows for name in ("features", "labels")} == {
        "features": counts["features"],
        "labels": counts["labels"],
    }
    card = (tmp_path / "ds/README.md").read_text()
    assert re.search(r"^---\n.*config_name: features.*^---$", card, re.DOTALL | re.MULTILINE)
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(tmp_path / "ds"), "labels", cache_dir=str(tmp_path / "cache"))["train"]
    assert sorted(loaded["label"])[0] == "bridges"


def test_a_condition_chooses_features(store, tmp_path):
    assert export("labels", tmp_path / "l.csv", "--where", "feature = 3", store=store)["labels"] == 1
    with pytest.raises(NotFound, match="no dictionary gpt2/9; there are: gpt2-small/8-res-jb"):
        export("labels", tmp_path / "m.csv", "--dictionary", "gpt2/9", store=store)


def test_nothing_is_written_over(store, tmp_path):
    (tmp_path / "l.csv").write_text("mine")
    with pytest.raises(Conflict, match="exists already"):
        export("labels", tmp_path / "l.csv", store=store)
    assert (tmp_path / "l.csv").read_text() == "mine"


TEXTS = strategies.text(
    strategies.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cf", "Cn", "Co", "Mn", "Me")),
    min_size=1,
    max_size=40,
).filter(lambda text: text.strip() == text and text.strip() != "")


@hypothesis.settings(max_examples=3, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    labels=strategies.dictionaries(strategies.integers(0, 50), TEXTS, min_size=1, max_size=8),
    suffix=strategies.sampled_from(["csv", "jsonl", "parquet"]),
)
def test_labels_come_back_from_every_kind_of_table(tmp_path_factory, labels, suffix):
    folder = tmp_path_factory.mktemp("labels")
    foreign_files.write_json(folder / "labels.json", {str(feature): text for feature, text in labels.items()})
    run_import("labels", folder / "labels.json", store=folder / "a.features", dictionary="m/s", explainer="somebody")
    export("labels", folder / f"out.{suffix}", store=folder / "a.features")
    run_import("labels", folder / f"out.{suffix}", store=folder / "b.features")
    with featurestore.connect(folder / "b.features") as opened:
        rows = opened.sql("select dictionary, feature, label, explainer from labels").to_pylist()
    assert {row["feature"]: row["label"] for row in rows} == labels
    assert {(row["dictionary"], row["explainer"]) for row in rows} == {("m/s", "somebody")}
