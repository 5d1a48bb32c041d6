"""Imports as a user runs them: what comes in, what a second time changes, what is refused, and how it goes on."""

import gzip
import json
import math

import numpy
import pyarrow.parquet
import pytest
from click.testing import CliRunner

import featurestore
from featurestore import BadRequest, Conflict, NotFound, Unavailable
from ingest.cli.import_files import import_files
from ingest.formats.joining.spool import Spool
from ingest.formats.records import prompts
from tests.ingest.formats import foreign_files


def run_import(*arguments, store, **flags):
    """Run the command and return its report."""
    options = [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    result = CliRunner().invoke(
        import_files,
        [*map(str, arguments), "--store", str(store), "--no-index", "--json", *options],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A store with one of each format, and the reports by format."""
    folder = tmp_path_factory.mktemp("imports")
    paths = {
        "neuronpedia": foreign_files.write_neuronpedia(folder / "np"),
        "saedashboard": foreign_files.write_dashboards(folder / "dash"),
        "columnar": foreign_files.write_columnar(folder / "col"),
        "circuit-tracer": foreign_files.write_tracer_store(folder / "ct/features"),
        "sae-viewer": foreign_files.write_atoms(folder / "viewer/gpt2/v5/layer_8/atoms"),
        "delphi": foreign_files.write_delphi(folder / "delphi"),
    }
    foreign_files.write_json(folder / "fj/my/49.json", foreign_files.feature_json(4))  # the pair of layer 5, feature 4
    foreign_files.write_json(folder / "vis/a1/2.json", foreign_files.anthropic_feature(2))
    paths |= {"feature-json": folder / "fj", "a1": folder / "vis/a1"}
    store = folder / "all.features"
    reports = {name: run_import(path, store=store) for name, path in paths.items()}
    with featurestore.connect(store) as opened:
        yield opened, reports, paths


def test_every_format_is_recognised_and_whole(imported):
    store, reports, _ = imported
    assert {name: report["format"] for name, report in reports.items()} == {name: name for name in reports} | {
        "a1": "feature-json"
    }
    assert store.check().problems == ()


def test_neuronpedia_gives_exact_densities_and_all_labels(imported):
    store, _reports, _ = imported
    feature = store.feature("gpt2-small/8-res-jb/1")
    assert (feature.active_tokens, feature.density) == (300, 300 / 1_000_000)
    assert feature.histogram == (200, 80, 20)
    assert feature.histogram_edges == pytest.approx((0, 5 / 3, 10 / 3, 5), abs=1e-5)
    assert [(effect.token, effect.value) for effect in feature.top_logits] == [(" bridge", 2.5), (" gate", 1.5)]
    top = feature.examples[0]
    assert (top.band, top.tokens, top.activation) == ("top", tuple(foreign_files.TOKENS), 5.0)
    assert top.activations == (0, 2.5, 5, 0, 0, 0)
    interval = next(e for e in store.feature("gpt2-small/8-res-jb/0").examples if e.band != "top")
    assert (interval.band, interval.band_share) == ("[1, 3.5)", 0.25)
    labels = {(label.explainer, label.label) for label in store.feature("gpt2-small/8-res-jb/0").labels}
    assert labels == {
        ("gpt-4o-mini", "the Golden Gate Bridge, 0"),
        ("gemini-2.0-flash", "bridges"),
        ("gpt-4o-mini (2)", "places in California"),
    }
    row = next(d for d in store.dictionaries() if d.dictionary == "gpt2-small/8-res-jb")
    assert (row.hook_point, row.prompts, row.dataset) == (
        "blocks.8.hook_resid_pre",
        10_000,
        "Skylion007/openwebtext",
    )
    assert (row.origin, row.import_format, row.layer, row.d_out) == ("import", "neuronpedia", 8, None)


def test_dashboards_lose_filler_and_recover_densities(imported):
    store, reports, _ = imported
    assert reports["saedashboard"]["dropped"] == {"silent filler windows": 4}
    feature = store.feature("gpt2-small/0-res-jb/3")
    assert (feature.active_tokens, feature.density) == (366, 0.000366)  # the file says 0.00037
    assert feature.max_activation == 2.0
    assert [effect.token for effect in feature.bottom_logits] == [" sea"]
    assert {example.band for example in feature.examples} == {"top", "[0.4, 0.8)"}
    assert (
        "correlated_features_indices"
        in store.sql("select extra from features where dictionary = 'gpt2-small/0-res-jb' and feature = 3")["extra"][
            0
        ].as_py()
    )


def test_columnar_bundles_keep_counts_and_join_bytes(imported):
    store, _, _ = imported
    feature = store.feature("gemma-3-1b-it/5-tc-16k/0")
    assert (feature.active_tokens, feature.density) == (123, 0.123)
    assert feature.max_activation == pytest.approx(2.0004, abs=1e-6)
    assert [effect.id for effect in feature.top_logits] == [11, 12]
    assert feature.examples[0].tokens == ("The", " Golden", "é")
    assert store.feature("gemma-3-1b-it/5-tc-16k/2").state == "dead"


def test_stores_of_circuit_tracer_leave_dead_features_empty(imported):
    store, _, _ = imported
    feature = store.feature("ct/1-transcoder/1")
    assert (feature.density, feature.max_activation, feature.histogram) == (0.001, 3.0, (5, 3, 1))
    assert feature.histogram_edges == (0, 1, 2, 3)
    assert [(e.band, e.activation, e.repeated) for e in feature.examples] == [
        ("top", 3.0, False),
        ("Subsample Interval 3", 1.0, True),
    ]
    assert store.feature("ct/1-transcoder/2").state == "unharvested"


def test_both_generations_of_feature_json(imported):
    store, _, _ = imported
    assert store.feature("my-transcoders/layer_5/4").density == 0.001
    old = store.feature("vis/a1/2")
    assert (old.density, old.max_activation, old.histogram_edges) == (0.002, 3.0, (0, 1, 2, 3.5))
    assert [(effect.token, effect.value) for effect in old.bottom_logits] == [(" sea", -1.5)]
    assert json.loads(old.examples[0].extra)["datapoint_ind"] == 17


def test_atoms_keep_silent_sequences(imported):
    store, _, _ = imported
    feature = store.feature("gpt2/v5-layer_8/3")
    assert (feature.density, feature.histogram[0], feature.histogram_edges[-1]) == (0.01, 90, pytest.approx(3.0))
    assert [(e.band, e.activation) for e in feature.examples] == [("top", 3.0), ("random", 0.0)]


def test_delphi_is_counted_again(imported):
    store, reports, _ = imported
    feature = store.feature("pythia/layers.5/0")
    assert (feature.active_tokens, feature.active_contexts, feature.density) == (3, 2, 3 / 8)
    assert feature.mean_activation == pytest.approx(7 / 3)
    assert feature.std_activation == pytest.approx(numpy.std([1, 2, 4]))
    assert (feature.max_activation, feature.first_active, feature.last_active) == (4.0, 1, 7)
    assert [example.activation for example in feature.examples] == [4.0, 2.0]
    assert reports["delphi"]["rejects"] == {"the explainer's reply could not be parsed": 1}
    (score,) = store.scores("pythia/layers.5/0")
    assert (score.method, score.value, score.n, score.failures) == ("delphi:detection", 0.75, 4, 1)
    assert "may have been in the prompts" in score.judge


def test_a_second_time_changes_nothing(imported):
    store, _, paths = imported
    before = store.info().commit
    for path in paths.values():
        report = run_import(path, store=store.location)
        assert (report["commit"], {change["state"] for change in report["dictionaries"]}) == (None, {"unchanged"})
    assert store.info().commit == before


def test_batches_come_one_after_the_other(tmp_path):
    folder, store = foreign_files.write_dashboards(tmp_path / "dash"), tmp_path / "a.features"
    run_import(folder / "batch-0.json", store=store)
    (change,) = run_import(folder / "batch-1.json", store=store)["dictionaries"]
    assert (change["state"], change["d_sae"], change["changed_features"]) == ("changed", 4, 2)
    with featurestore.connect(store) as opened:
        assert [opened.feature(f"gpt2-small/0-res-jb/{index}").active_tokens for index in range(4)] == [366] * 4
        assert [len(opened.feature(f"gpt2-small/0-res-jb/{index}").examples) for index in range(4)] == [3] * 4
        assert opened.check().problems == ()
    assert run_import(folder / "batch-0.json", store=store)["commit"] is None


def test_what_is_newer_says_what_changed(tmp_path):
    store, path = tmp_path / "a.features", tmp_path / "labels.csv"
    path.write_text("feature,label\n3,bridges\n5,gates\n")
    run_import("labels", path, store=store, dictionary="m/s")
    path.write_text("feature,label\n3,bridges\n5,doors\n9,walls\n")
    (change,) = run_import("labels", path, store=store, dictionary="m/s")["dictionaries"]
    assert (change["labels"], change["changed_labels"], change["same_labels"], change["d_sae"]) == (1, 1, 1, 10)
    with featurestore.connect(store) as opened:
        assert [opened.feature(f"m/s/{index}").label for index in (3, 5, 9)] == ["bridges", "doors", "walls"]


def test_labels_alone_are_searched(tmp_path):
    store, path = tmp_path / "a.features", tmp_path / "labels.json"
    foreign_files.write_json(path, {"0": "names of bridges", "7": "opening brackets", "2": ""})
    report = run_import(path, store=store, dictionary="m/s")
    assert report["rejects"] == {"it has no label": 1}
    with featurestore.connect(store) as opened:
        opened.compact()
        opened.index()
        assert [hit.id for hit in opened.search("bridges", mode="keyword")] == ["m/s/0"]
        assert opened.feature("m/s/7").label == "opening brackets"
        assert opened.sql("select count(*) as n from features where has_label")["n"][0].as_py() == 2
        assert opened.check().problems == ()


def test_few_labels_of_many_features_take_little_place(tmp_path):
    store, path = tmp_path / "a.features", tmp_path / "labels.json"
    foreign_files.write_json(path, {"17": "names of bridges", "70000": "opening brackets"})
    run_import(path, store=store, dictionary="m/s")
    with featurestore.connect(store) as opened:
        assert sum(opened.info().bytes.values()) < 100_000
        opened.compact()
        assert [opened.feature(f"m/s/{index}").label for index in (17, 18, 69_999, 70_000)] == [
            "names of bridges",
            None,
            None,
            "opening brackets",
        ]
        assert opened.check().problems == ()
        assert sum(opened.info().bytes.values()) < 600_000


def test_labels_of_another_dictionary_are_not_joined(tiny_store, tmp_path):
    import shutil

    store = shutil.copytree(tiny_store, tmp_path / "tiny.features")
    path = tmp_path / "labels.csv"
    path.write_text("feature,label\n23,last\n24,beyond\n")
    with pytest.raises(Conflict, match="feature 24 of tiny/0-res, which ends at 23"):
        run_import("labels", path, store=store, dictionary="tiny/0-res")
    path.write_text("feature,label\n23,last\n")
    with pytest.raises(Conflict, match="has 99 features, the store's has 24"):
        run_import("labels", path, store=store, dictionary="tiny/0-res", d_sae=99)
    (change,) = run_import("labels", path, store=store, dictionary="tiny/0-res")["dictionaries"]
    assert (change["labels"], change["state"]) == (1, "changed")


def test_statistics_of_a_harvest_stay(tiny_store, tmp_path):
    import shutil

    store = shutil.copytree(tiny_store, tmp_path / "tiny.features")
    folder = foreign_files.write_dashboards(tmp_path / "dash")
    (change,) = run_import(folder, store=store, dictionary="tiny/0-res")["dictionaries"]
    assert change["state"] == "unchanged" and "statistics of its own" in change["notes"][0]


def test_broken_records_are_counted_and_the_rest_comes_in(tmp_path):
    good = [foreign_files.neuronpedia_activation(1, peak) for peak in (1.0, 2.0)]
    bad = {
        "it is not JSON": '{"index": "1", "tokens": ["a"',
        "its feature is no number": foreign_files.neuronpedia_activation(1, 3.0, index="one"),
        "its tokens and values have different lengths": foreign_files.neuronpedia_activation(1, 3.0, values=[1.0]),
        "it has no tokens": foreign_files.neuronpedia_activation(1, 3.0, tokens=[], values=[]),
        "one of its tokens is no text": foreign_files.neuronpedia_activation(1, 3.0, tokens=[None] * 6),
        "a token has over 4096 bytes": foreign_files.neuronpedia_activation(1, 3.0, tokens=["x" * 5000] * 6),
        "a field has another type than an activation's": foreign_files.neuronpedia_activation(1, 3.0, values="none"),
        "it is of another model or source": foreign_files.neuronpedia_activation(1, 3.0, modelId="gpt2-large"),
        "it is no object": [1, 2],
    }
    folder = foreign_files.write_neuronpedia(tmp_path / "np")
    surrogate = json.dumps(foreign_files.neuronpedia_activation(1, 3.0)).replace("Golden", "\\ud800")
    nan = json.dumps(foreign_files.neuronpedia_activation(1, 3.0, maxValue=math.nan))
    foreign_files.write_lines(folder / "activations/batch-2.jsonl.gz", [*bad.values(), surrogate, nan, "", *good])
    report = run_import(folder, store=tmp_path / "a.features")
    assert report["rejects"] == dict.fromkeys(bad, 1) | {"it is not JSON": 3}
    lines = [json.loads(line) for line in (tmp_path / "a.features.rejects.jsonl").read_text().splitlines()]
    assert {line["place"] for line in lines} == {f"line {number}" for number in range(1, 12)}
    assert report["dictionaries"][0]["examples"] == 14
    with pytest.raises(BadRequest, match=r"batch-2.jsonl.gz, line 1: it is not JSON; without --strict"):
        CliRunner().invoke(
            import_files, [str(folder), "--strict", "--store", str(tmp_path / "b.features")], catch_exceptions=False
        )
    assert not (tmp_path / "b.features").exists()


def test_a_file_cut_short_is_counted(tmp_path):
    folder = foreign_files.write_neuronpedia(tmp_path / "np")
    path = folder / "activations/batch-1.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-40])
    report = run_import(folder, store=tmp_path / "a.features")
    assert report["rejects"] == {"the file ends inside its compressed data": 1}


def test_what_grows_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ingest.formats.files.FREE_RATIO", 1 << 20)
    path = tmp_path / "labels.json.gz"
    path.write_bytes(gzip.compress(b'{"1": "' + b" " * (4 << 20) + b'"}'))
    with pytest.raises(BadRequest, match="when unpacked: it is refused"):
        run_import("labels", path, store=tmp_path / "a.features")
    assert not (tmp_path / "a.features").exists()


def test_nothing_to_import_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadRequest, match="of no format that is recognised"):
        run_import(tmp_path / "empty", store=tmp_path / "a.features")
    with pytest.raises(NotFound, match="no file of the format saedashboard"):
        run_import("saedashboard", tmp_path / "empty", store=tmp_path / "a.features")
    with pytest.raises(NotFound, match="does not exist"):
        run_import("labels", tmp_path / "nothing", store=tmp_path / "a.features")
    with pytest.raises(BadRequest, match="there is no format 'csv'"):
        run_import("csv", tmp_path / "empty", store=tmp_path / "a.features")


def test_an_interrupted_import_goes_on(tmp_path, monkeypatch):
    folder, store = foreign_files.write_neuronpedia(tmp_path / "np"), tmp_path / "a.features"
    from ingest.formats.readers import neuronpedia

    read = neuronpedia.read

    def stop(path, rejects, options):
        if "explanations" in path and "batch-1" in path:
            raise KeyboardInterrupt
        yield from read(path, rejects, options)

    monkeypatch.setattr(neuronpedia, "read", stop)
    with pytest.raises(KeyboardInterrupt):
        from ingest.formats.import_run import ImportPlan, local_sources, run

        sources = local_sources(neuronpedia.find(str(folder)))
        with featurestore.create(tmp_path / "other.features") as other:
            run(other, ImportPlan(neuronpedia, str(folder), sources, {}, {}, tmp_path / "a.features.import"))
    monkeypatch.setattr(neuronpedia, "read", read)
    report = run_import(folder, store=store)
    assert report["resumed_files"] >= 4 and report["files"] == 6
    assert not Spool(tmp_path / "a.features.import").folder.exists()


def test_named_vectors_are_a_dictionary(tmp_path):
    from safetensors.numpy import save_file

    directions = {
        name: numpy.eye(4, dtype=numpy.float32)[at] * (at + 1) for at, name in enumerate(("refusal", "truth"))
    }
    save_file(directions, tmp_path / "probes.safetensors")
    store = tmp_path / "a.features"
    run_import("vectors", tmp_path / "probes.safetensors", store=store, dictionary="gpt2/probes")
    with featurestore.connect(store) as opened:
        opened.index()
        assert opened.feature("gpt2/probes/1").label == "truth"
        assert opened.vector("gpt2/probes/1").tolist() == [0, 2, 0, 0]
        assert opened.nearest(numpy.array([0.1, 1, 0, 0]), space="gpt2/probes", k=1)[0].id == "gpt2/probes/1"
        assert opened.dictionaries()[0].kind == "vectors"
        assert opened.check().problems == ()
    assert (
        run_import("vectors", tmp_path / "probes.safetensors", store=store, dictionary="gpt2/probes")["commit"] is None
    )
    numpy.save(tmp_path / "other.npy", numpy.ones((2, 4), numpy.float32))
    with pytest.raises(Conflict, match="the store has other vectors of gpt2/probes"):
        run_import("vectors", tmp_path / "other.npy", store=store, dictionary="gpt2/probes")


def test_embeddings_are_kept_beside_where_asked(tmp_path):
    folder, store = foreign_files.write_neuronpedia(tmp_path / "np"), tmp_path / "a.features"
    result = CliRunner().invoke(
        import_files, [str(folder), "--embeddings", "--no-index", "--store", str(store)], catch_exceptions=False
    )
    assert result.exit_code == 0
    with featurestore.connect(store) as opened:
        assert opened.vector("gpt2-small/8-res-jb__embeddings/2").tolist() == pytest.approx([0.6, 0.8, 0, 2], abs=1e-3)


def test_a_torn_bundle_is_rejected(tmp_path):
    folder = foreign_files.write_columnar(tmp_path / "col", torn=True)
    with pytest.raises(BadRequest, match="not written to its end"):
        run_import(folder, store=tmp_path / "a.features")


@pytest.mark.parametrize("line", ["null", "[1]", "7", '{"tokens": ' + "[" * 100_000, '{"tokens": 7}', '"\\ud800"'])
def test_lines_that_are_no_activations_are_rejected(tmp_path, line):
    folder = foreign_files.write_neuronpedia(tmp_path / "np")
    foreign_files.write_lines(folder / "activations/batch-9.jsonl", [line])
    report = run_import("neuronpedia", folder, store=tmp_path / "a.features")
    assert sum(report["rejects"].values()) == 1
    assert report["dictionaries"][0]["examples"] == 12


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("dashboards.json", {"prompt_corpus": {"n_prompts": 10**30, "hf_dataset_path": 7}}, None),
        ("source_ids.json", {"model_name": "m/x", "source_set_id": "tc", "source_ids": {"5": 7}}, None),
        ("layer_5/leaf/batch-0.columnar/feature_batch_0/manifest.json", {"row_counts": {"a": 1}}, "names no tables"),
    ],
)
def test_a_bundle_whose_files_say_nonsense_is_read_or_refused(tmp_path, file, content, message):
    folder = foreign_files.write_columnar(tmp_path / "col")
    foreign_files.write_json(folder / file, content)
    if message is None:
        assert run_import("columnar", folder, store=tmp_path / "a.features")["dictionaries"][0]["features"] == 3
    else:
        with pytest.raises(BadRequest, match=message):
            run_import("columnar", folder, store=tmp_path / "a.features")


def test_a_row_count_that_is_no_number_is_refused(tmp_path):
    folder = foreign_files.write_columnar(tmp_path / "col")
    manifest = next(folder.rglob("feature_batch_0/manifest.json"))
    said = json.loads(manifest.read_text())
    said["row_counts"]["feature_statistics"] = {"a": 1}
    foreign_files.write_json(manifest, said)
    with pytest.raises(BadRequest, match="its manifest says {'a': 1}: fetch it again"):
        run_import("columnar", folder, store=tmp_path / "a.features")


@pytest.mark.parametrize(
    ("file", "column", "cells", "message"),
    [
        ("feature_statistics", "valid_count", [None] * 3, "valid_count of feature_statistics is None"),
        ("feature_statistics", "positive_count", [1, 2, -5], "positive_count of feature_statistics is -5"),
        ("feature_statistics", "max", ["x"] * 3, "statistics.parquet is no table .* column max is string, not double"),
        ("feature_statistics", "feature_index", None, "statistics.parquet is no table .* has no column feature_index"),
        ("feature_statistics", "feature_index", [0, 1, 1], "statistics.parquet has feature 1 twice"),
        ("feature_statistics", "feature_index", [0, 1, 1 << 40], "feature_index is 1099511627776 in a row"),
        ("logits_tables", "bottom_logits", ["x"] * 3, "its column bottom_logits is string, not list"),
        ("logits_tables", "bottom_logits", [[0.5] * 9] * 3, "bottom_token_ids and bottom_logits .* do not belong"),
        ("logits_tables", "top_token_ids", [[1 << 40]] * 3, "its column top_token_ids has a value that is no list"),
        ("activation_histograms", "bar_heights", [7, 7, 7], "its column bar_heights is int64, not list"),
        ("activation_rows", "tokens", [1.5] * 9, "its column tokens is double, not list"),
        ("activation_rows", "values", None, "has no column values"),
        ("activation_rows", "bin_min", ["x"] * 9, "its column bin_min is string, not double"),
    ],
)
def test_tables_with_other_columns_are_refused(tmp_path, file, column, cells, message):
    folder, store = foreign_files.write_columnar(tmp_path / "col"), tmp_path / "a.features"
    path = next(folder.rglob(f"{file}.parquet"))
    table = pyarrow.parquet.read_table(path)
    table = table.drop_columns([column])
    cells = None if cells is None else cells[: table.num_rows]
    pyarrow.parquet.write_table(table if cells is None else table.append_column(column, [cells]), path)
    with pytest.raises(BadRequest, match=message):
        run_import("columnar", folder, store=store)
    assert not store.exists()


def test_a_mistake_of_ours_is_no_fault_of_a_bundle(tmp_path, monkeypatch):
    folder = foreign_files.write_columnar(tmp_path / "col")

    def fail(windows):
        raise TypeError("a mistake")

    monkeypatch.setattr("ingest.formats.readers.columnar.drop_filler", fail)
    with pytest.raises(TypeError, match="a mistake"):
        run_import("columnar", folder, store=tmp_path / "a.features")


def test_memory_that_runs_out_is_no_fault_of_a_bundle(tmp_path, monkeypatch):
    folder = foreign_files.write_columnar(tmp_path / "col")

    def fail(place):
        raise pyarrow.ArrowMemoryError("malloc failed")

    monkeypatch.setattr("ingest.formats.records.columnar_tables._open_batches", fail)
    with pytest.raises(Unavailable, match="there is not enough memory to read it"):
        run_import("columnar", folder, store=tmp_path / "a.features")


def test_prompts_that_cannot_be_read_are_tried_once(tmp_path, monkeypatch):
    folder = foreign_files.write_columnar(tmp_path / "col")
    (folder / "layer_5/leaf/tokens_99.pt").write_bytes(b"no tensors")
    tried = []
    load = prompts.read_prompts.__wrapped__
    monkeypatch.setattr(prompts, "read_prompts", lambda path: tried.append(path) or load(path))
    monkeypatch.setattr("ingest.formats.records.columnar_tables.ROWS", 1)
    prompts.find_problem.cache_clear()
    report = run_import("columnar", folder, store=tmp_path / "a.features")
    assert len(tried) == 1
    (reason,) = [reason for reason in report["dropped"] if "number of their prompt" in reason]
    assert report["dropped"][reason] == report["dictionaries"][0]["examples"]


def test_bundles_of_arrow_are_the_same(imported, tmp_path):
    store, _, _ = imported
    folder = foreign_files.write_columnar(tmp_path / "col", "arrow")
    assert run_import(folder, store=store.location)["commit"] is None


def test_long_windows_are_cut_around_their_peak(tmp_path):
    tokens = [f" t{number}" for number in range(2000)]
    activation = foreign_files.neuronpedia_activation(0, 1.0, tokens=tokens, values=[0.0] * 1500 + [3.0] + [0.0] * 499)
    path = foreign_files.write_lines(tmp_path / "activations/batch-0.jsonl", [activation])
    report = run_import(path, store=tmp_path / "a.features")
    assert report["dropped"] == {"windows cut to 512 tokens": 1}
    with featurestore.connect(tmp_path / "a.features") as opened:
        (example,) = opened.feature("gpt2-small/8-res-jb/0").examples
        assert (len(example.tokens), example.activation, example.tokens[example.position]) == (512, 3.0, " t1500")


def test_a_quote_that_does_not_end_takes_no_labels_with_it(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text('index,label\n1,5" pipes\n2,ok\n3,"it does not end\n4,lost\n')
    report = run_import("labels", path, store=tmp_path / "a.features", dictionary="m/s")
    assert report["dictionaries"][0]["labels"] == 2
    assert report["rejects"] == {"its quote does not end, so that the rest of the file is in it": 1}
    path.write_text('index,label\n3,"it does not end\n4,lost\n')
    with pytest.raises(BadRequest, match=r"labels.csv has no row of labels \(1 times: its quote does not end"):
        run_import("labels", path, store=tmp_path / "c.features", dictionary="m/s")
    path.write_text('index,label\n1,"two\nlines"\n2,"the last\none"')
    assert run_import("labels", path, store=tmp_path / "b.features", dictionary="m/s")["dictionaries"][0]["labels"] == 2


def test_texts_of_a_table_that_are_no_utf_8_are_refused(tmp_path):
    text = pyarrow.Array.from_buffers(
        pyarrow.string(), 1, [None, pyarrow.array([0, 2], pyarrow.int32()).buffers()[1], pyarrow.py_buffer(b"\xff\xfe")]
    )
    pyarrow.parquet.write_table(pyarrow.table({"feature": [1], "label": text}), tmp_path / "labels.parquet")
    with pytest.raises(BadRequest, match="cannot be read as parquet: .*UTF"):
        run_import("labels", tmp_path / "labels.parquet", store=tmp_path / "a.features")
