"""Files of other tools in a tiny shape, written by hand from what is known of each format."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet
from safetensors.numpy import save_file

TOKENS = ["The", " Golden", " Gate", " Bridge", " is", " closed"]


def write_json(path: Path, value: Any) -> Path:
    """Write a JSON file, compressed if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def write_lines(path: Path, records: list[Any]) -> Path:
    """Write a file of JSON lines, compressed if its name says so. A text is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    text = "".join(line + "\n" for line in lines).encode("utf-8", errors="surrogatepass")
    path.write_bytes(gzip.compress(text, 5) if path.suffix == ".gz" else text)
    return path


def values(peak: float, at: int = 2) -> list[float]:
    """The activations on TOKENS: half of the peak before it."""
    return [peak if place == at else peak / 2 if place == at - 1 else 0.0 for place in range(len(TOKENS))]


def histogram(counts: list[int], most: float) -> dict[str, list[float]]:
    """The bars of a histogram of `counts` from 0 to `most`, as dashboards name them."""
    width = most / len(counts)
    return {
        "freq_hist_data_bar_heights": counts,
        "freq_hist_data_bar_values": [round(width * (bar + 0.5), 6) for bar in range(len(counts))],
    }


# -- Neuronpedia ------------------------------------------------------------------------------------------------------
def neuronpedia_feature(number: int, **more: Any) -> dict[str, Any]:
    """A line of features/batch-N.jsonl."""
    return {
        "modelId": "gpt2-small",
        "layer": "8-res-jb",
        "index": str(number),
        "maxActApprox": 4.0 + number,
        "frac_nonzero": 0.0003,
        **histogram([200, 80, 20], 4.0 + number),
        "logits_hist_data_bar_heights": [10, 20, 10],
        "logits_hist_data_bar_values": [-1.0, 0.0, 1.0],
        "pos_str": [" bridge", " gate"],
        "pos_values": [2.5, 1.5],
        "neg_str": [" sea"],
        "neg_values": [-1.25],
        "neuron_alignment_indices": [7],
        "topkCosSimIndices": [],
        "vector": [],
        "hookName": "blocks.8.hook_resid_pre",
    } | more


def neuronpedia_activation(number: int, peak: float, **more: Any) -> dict[str, Any]:
    """A line of activations/batch-N.jsonl, as the database writes it."""
    return {
        "id": f"c{number}-{peak}",
        "modelId": "gpt2-small",
        "layer": "8-res-jb",
        "index": str(number),
        "tokens": TOKENS,
        "maxValue": peak,
        "minValue": 0,
        "values": values(peak),
        "maxValueTokenIndex": 2,
        "binMin": -1,
        "binMax": -1,
        "binContains": -1,
        "dfaValues": [],
        "dfaTargetIndex": None,
    } | more


def neuronpedia_explanation(number: int, description: str, **more: Any) -> dict[str, Any]:
    """A line of explanations/batch-N.jsonl."""
    return {
        "id": f"e{number}{description}",
        "modelId": "gpt2-small",
        "layer": "8-res-jb",
        "index": str(number),
        "description": description,
        "typeName": "oai_token-act-pair",
        "explanationModelName": "gpt-4o-mini",
        "embedding": json.dumps([0.6, 0.8, 0.0, float(number)]),
    } | more


def write_neuronpedia(folder: Path) -> Path:
    """An export of four features in two batches of each kind."""
    features = [neuronpedia_feature(index) for index in range(4)]
    activations = [neuronpedia_activation(index, 4.0 + index - rank) for index in range(4) for rank in range(3)]
    activations[1] |= {"binMin": 1.0, "binMax": 3.5, "binContains": 0.25}
    labels = [neuronpedia_explanation(index, f"the Golden Gate Bridge, {index}") for index in range(4)]
    labels.append(neuronpedia_explanation(0, "bridges", explanationModelName="gemini-2.0-flash"))
    labels.append(neuronpedia_explanation(0, "places in California"))
    for number, part in enumerate((slice(0, 2), slice(2, 4))):
        write_lines(folder / f"features/batch-{number}.jsonl.gz", features[part])
        write_lines(folder / f"activations/batch-{number}.jsonl.gz", activations[part.start * 3 : part.stop * 3])
    write_lines(folder / "explanations/batch-0.jsonl.gz", labels[:4])
    write_lines(folder / "explanations/batch-1.jsonl.gz", labels[4:])
    source = {"id": "8-res-jb", "modelId": "gpt2-small", "num_prompts": 10_000, "num_tokens_in_prompt": 100}
    write_lines(folder / "source.jsonl", [source | {"dataset": "Skylion007/openwebtext"}])
    return folder


# -- SAEDashboard -----------------------------------------------------------------------------------------------------
def dashboard_feature(index: int, peaks: tuple[float, ...] = (2.0, 1.0, 0.0)) -> dict[str, Any]:
    """A feature of batch-N.json; a peak of 0 is a filler row."""
    return {
        "feature_index": index,
        "frac_nonzero": 0.00037,
        **histogram([300, 60, 6], 2.0),
        "logits_hist_data_bar_heights": [1, 2, 1],
        "logits_hist_data_bar_values": [-1.0, 0.0, 1.0],
        "pos_str": [" gate"],
        "pos_values": [2.5],
        "neg_str": ["▁sea"],
        "neg_values": [-1.25],
        "correlated_features_indices": [index],
        "n_prompts_total": 10_000,
        "n_tokens_in_prompt": 100,
        "dataset": "Skylion007/openwebtext",
        "vector": [],
        "activations": [
            {
                "bin_min": -1,
                "bin_max": 2.0,
                "bin_contains": -1,
                "tokens": [f"{rank}", *TOKENS[1:]],
                "values": values(peak),
                "qualifying_token_index": 2,
                "dfa_values": [],
            }
            for rank, peak in enumerate(peaks)
        ]
        + [
            {
                "bin_min": 0.4,
                "bin_max": 0.8,
                "bin_contains": 0.5,
                "tokens": TOKENS,
                "values": values(0.6),
                "qualifying_token_index": 1,
            }
        ],
    }


def write_dashboards(folder: Path, features: int = 4) -> Path:
    """Two batches of SAEDashboard."""
    about = {"model_id": "gpt2-small", "layer": 0, "sae_set": "res-jb"}
    for number, part in enumerate(numpy.array_split(numpy.arange(features), 2)):
        records = [dashboard_feature(index) for index in part.tolist()]
        write_json(folder / f"batch-{number}.json", about | {"features": records})
    write_json(folder / "skipped_indexes.json", about | {"skipped_indexes": []})
    return folder


def write_columnar(folder: Path, form: str = "parquet", torn: bool = False) -> Path:
    """A columnar bundle of three features of layer 5 in one batch."""
    batch = folder / "layer_5/leaf/batch-0.columnar/feature_batch_0"
    index = [0, 1, 2]
    tables = {
        "feature_statistics": {
            "feature_index": index,
            "max": pyarrow.array([2.0004, 1.0, 0.0], pyarrow.float32()),
            "frac_nonzero": pyarrow.array([0.5, 0.25, 0], pyarrow.float32()),
            "positive_density": pyarrow.array([0.1, 0.2, 0], pyarrow.float32()),
            "positive_count": [123, 7, 0],
            "nonzero_count": [124, 7, 0],
            "valid_count": [1000, 1000, 1000],
        },
        "feature_tables": {"feature_index": index, "neuron_alignment_indices": [[3], [4], []]},
        "activation_histograms": {
            "feature_index": index,
            "bar_heights": [[100.0, 23.0], [7.0, 0.0], []],
            "bar_values": [[0.5, 1.5], [0.25, 0.75], []],
        },
        "logits_histograms": {
            "feature_index": index,
            "bar_heights": [[5.0, 6.0], [1.0, 2.0], [3.0, 4.0]],
            "bar_values": [[-0.5, 0.5]] * 3,
        },
        "logits_tables": {
            "feature_index": index,
            "top_token_ids": [[11, 12]] * 3,
            "top_logits": [[2.0, 1.0]] * 3,
            "bottom_token_ids": [[13]] * 3,
            "bottom_logits": [[-1.0]] * 3,
        },
        "activation_rows": {
            "feature_index": [0, 0, 1, 2],
            "sequence_index": [0, 1, 0, 0],
            "tokens": [["The", "ĠGolden", "Ã©"], ["Ġa", "Ġb"], ["The", "ĠGolden", "Ã©"], ["x"]],
            "values": [[0.0, 2.0, 1.0], [0.5, 0.0], [1.0, 0.0, 0.0], [0.0]],
            "max_value": [2.0, 0.5, 1.0, 0.0],
            "bin_min": [-1.0, 0.4, -1.0, -1.0],
            "bin_max": [2.0, 0.8, 1.0, 0.0],
            "bin_contains": [-1.0, 0.25, -1.0, -1.0],
            "qualifying_token_index": [1, 0, 0, 0],
        },
    }
    batch.mkdir(parents=True)
    for name, columns in tables.items():
        table = pyarrow.table(columns)
        if form == "parquet":
            pyarrow.parquet.write_table(table, batch / f"{name}.parquet")
        else:
            with pyarrow.ipc.new_file(batch / f"{name}.arrow", table.schema) as file:
                file.write_table(table)
    counts = {name: len(next(iter(columns.values()))) for name, columns in tables.items()}
    files = {name: f"{name}.{form}" for name in tables}
    write_json(batch / "manifest.json", {"tables": files, "row_counts": counts, "feature_batch_index": 0})
    if not torn:
        write_json(batch.parent / "manifest.json", {"dashboard_output_format": "columnar", "batches": []})
    ids = {"schema": 1, "source_set_id": "tc", "model_name": "google/gemma-3-1b-it", "source_ids": {"5": "5-tc-16k"}}
    write_json(folder / "source_ids.json", ids)
    corpus = {"hf_dataset_path": "monology/pile", "n_prompts": 10, "n_tokens_in_prompt": 101}
    write_json(folder / "dashboards.json", {"prompt_corpus": corpus, "source_set": {"id": "tc"}})
    return folder


# -- one JSON record a feature ----------------------------------------------------------------------------------------
def feature_json(index: int, **more: Any) -> dict[str, Any]:
    """A feature as circuit-tracer's front end reads it."""
    example = {"tokens": TOKENS, "tokens_acts_list": values(3.0), "train_token_ind": 2, "is_repeated_datapoint": False}
    again = example | {"tokens_acts_list": values(1.0), "is_repeated_datapoint": True}
    return {
        "transcoder_id": "my-transcoders",
        "index": index,
        "examples_quantiles": [
            {"quantile_name": "Top activations", "examples": [example]},
            {"quantile_name": "Subsample Interval 3", "examples": [again]},
        ],
        "top_logits": [" gate", " bridge"],
        "bottom_logits": [" sea"],
        "act_min": 0.0,
        "act_max": 3.0,
        "quantile_values": [0.5, 1.0],
        "histogram": [5, 3, 1],
        "activation_frequency": 0.001,
    } | more


def anthropic_feature(index: int) -> dict[str, Any]:
    """A feature of the A/1 browser of 2023."""
    example = {
        "tokens_str_list": TOKENS,
        "tokens_acts_list": values(3.0),
        "train_token_ind": 2,
        "is_repeated_datapoint": 0,
        "datapoint_ind": 17,
        "ablations": {"loss_ablation": [0.0] * len(TOKENS)},
    }
    return {
        "index": index,
        "act_buckets": [5, 3, 1],
        "act_bucket_edges": [0.0, 1.0, 2.0, 3.5],
        "logit_buckets": [1, 2],
        "logit_bucket_edges": [-1.0, 0.0, 1.0],
        "statistics": {"density_frac": 0.002, "global_max_act": 3.0, "abs_max_neuron_inds": [1, 2, 3]},
        "logit_effects": {"negatives": [[" sea", -1.5]], "positives": [[" gate", 2.5], [" bridge", 1.5]]},
        "examples_quantiles": [{"quantile_name": "Top Activations", "quantile_max_act": 3.0, "examples": [example]}],
    }


def write_tracer_store(folder: Path, features: int = 3, packed: str = "gzip") -> Path:
    """A circuit-tracer store of two layers; the feature with the largest index is dead."""
    index: dict[str, Any] = {"version": 1}
    folder.mkdir(parents=True)
    for layer in (0, 1):
        content, offsets = b"", [0]
        for feature in range(features):
            record = feature_json(feature) if feature < features - 1 else {"index": feature, "isDead": True}
            text = json.dumps(record).encode()
            packed_text = gzip.compress(text) if packed == "gzip" else zlib.compress(text)
            content += struct.pack("<I", len(packed_text)) + packed_text
            offsets.append(len(content))
        (folder / f"layer_{layer}.bin").write_bytes(content)
        index[str(layer)] = {"filename": f"layer_{layer}.bin", "offsets": offsets}
    write_json(folder / "index.json.gz", index)
    return folder


def write_atoms(folder: Path) -> Path:
    """Two atoms of the sae-viewer."""
    for atom in (0, 3):
        sequence = {"density": 0.3, "doc_id": 5, "idx": 2, "acts": values(3.0), "act": 3.0, "tokens": TOKENS}
        silent = sequence | {"acts": [0.0] * len(TOKENS), "act": 0.0}
        record = {"density": 0.01, "mean_act": 0.02, "mean_act_squared": 0.1, "hist": {"0": 90, "1": 8, "14": 2}}
        write_json(folder / f"{atom}.json", record | {"top": [sequence], "random": [silent]})
    return folder


# -- Delphi -----------------------------------------------------------------------------------------------------------
def write_delphi(folder: Path) -> Path:
    """A run of Delphi: a cache of three features over two sequences of four tokens, two explanations, one score."""
    hook = "layers.5"
    locations = numpy.array([[0, 1, 0], [0, 2, 0], [1, 3, 0], [1, 0, 2]], dtype=numpy.uint16)
    activations = numpy.array([1.0, 2.0, 4.0, 0.5], dtype=numpy.float16)
    tokens = numpy.array([[5, 6, 7, 8], [5, 9, 7, 6]], dtype=numpy.int64)
    cache = folder / "latents" / hook
    cache.mkdir(parents=True)
    save_file({"locations": locations, "activations": activations, "tokens": tokens}, cache / "0_2.safetensors")
    write_json(
        cache / "config.json", {"dataset_repo": "EleutherAI/pile", "ctx_len": 4, "model_name": "EleutherAI/pythia"}
    )
    write_json(folder / "explanations" / f"{hook}_latent0.txt", "names of bridges")
    write_json(folder / "explanations" / f"{hook}_latent2.txt", "Explanation could not be parsed.")
    judged = [
        {"activating": True, "prediction": True},
        {"activating": True, "prediction": False},
        {"activating": False, "prediction": False},
        {"activating": False, "prediction": False},
        {"activating": False, "prediction": None},
    ]
    write_json(folder / "scores/detection" / f"{hook}_latent0.txt", judged)
    return folder
