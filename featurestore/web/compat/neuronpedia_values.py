"""Features, activations, explanations, models and sources as Neuronpedia's API writes them.

An id of ours, model/source/index, is theirs with the same three parts; `layer` is the source there, and an index is
text. Fields of theirs that a store has no facts for are empty, null or 0, as they are where Neuronpedia has none.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from featurestore.conventions import HISTOGRAM_EDGES
from featurestore.errors import NotFound
from featurestore.graphs.feature_files import find_peak
from featurestore.values.dictionary import Dictionary
from featurestore.values.examples import Example
from featurestore.values.feature import Feature, FeatureId, Label, Score

Object = dict[str, Any]
# Columns of theirs that a store has nothing for.
ABSENT: Object = {
    "hasVector": False,
    "vector": [],
    "vectorLabel": None,
    "vectorDefaultSteerStrength": 10,
    "topkCosSimIndices": [],
    "topkCosSimValues": [],
    "neuron_alignment_indices": [],
    "neuron_alignment_values": [],
    "neuron_alignment_l1": [],
    "correlated_neurons_indices": [],
    "correlated_neurons_pearson": [],
    "correlated_neurons_l1": [],
    "correlated_features_indices": [],
    "correlated_features_pearson": [],
    "correlated_features_l1": [],
    "decoder_weights_dist": [],
    "umap_cluster": None,
    "umap_log_feature_sparsity": None,
    "umap_x": None,
    "umap_y": None,
}
ABSENT_OF_ACTIVATION: Object = {
    "dfaValues": [],
    "dfaTargetIndex": None,
    "dfaMaxValue": None,
    "zQIndices": [],
    "zKIndices": [],
    "zValues": [],
    "lossValues": [],
    "logitContributions": None,
}


def name_set(source: str) -> str:
    """Return the source set of a source, as in res-jb of 6-res-jb; the source itself where it names no layer."""
    match = re.fullmatch(r"(?:\d+|e)-(.+?)(?:__.*)?", source)
    return match[1] if match else source


def describe_feature(page: Feature, dictionary: Dictionary, most: int | None = None) -> Object:
    """Return a feature with its explanations and at most `most` activations, the strongest first."""
    heights, values = _describe_histogram(page)
    return {
        "modelId": dictionary.model,
        "layer": dictionary.source,
        "index": str(page.feature),
        "sourceSetName": name_set(dictionary.source),
        "creatorId": dictionary.tool,
        "createdAt": dictionary.created_at,
        "maxActApprox": page.max_activation or 0,
        "hookName": dictionary.hook_point,
        **ABSENT,
        "pos_str": [effect.token for effect in page.top_logits],
        "pos_values": [effect.value for effect in page.top_logits],
        "neg_str": [effect.token for effect in page.bottom_logits],
        "neg_values": [effect.value for effect in page.bottom_logits],
        # -1 says that nobody counted, as there.
        "frac_nonzero": -1 if page.density is None else page.density,
        "freq_hist_data_bar_heights": heights,
        "freq_hist_data_bar_values": values,
        "logits_hist_data_bar_heights": [],
        "logits_hist_data_bar_values": [],
        "explanations": describe_explanations(page),
        "activations": describe_activations(page, most),
    }


def _describe_histogram(page: Feature) -> tuple[list[int], list[float]]:
    """Return counts of activations, and the middle of each bin; from the first bin with a count to the last."""
    counts, edges = page.histogram or (), page.histogram_edges or HISTOGRAM_EDGES
    places = [place for place, count in enumerate(counts) if count]
    if not places:
        return [], []
    kept = range(places[0], places[-1] + 1)
    return [counts[n] for n in kept], [(edges[n] + edges[n + 1]) / 2 for n in kept]


def describe_activations(page: Feature, most: int | None = None) -> list[Object]:
    """Return a feature's examples as activations with a value for each token, the strongest first."""
    order = sorted(page.examples, key=lambda example: -max(example.activations, default=0.0))
    return [_describe_activation(page, example, number) for number, example in enumerate(order[:most])]


def _describe_activation(page: Feature, example: Example, number: int) -> Object:
    id = FeatureId.parse(page.id)
    model, _, source = id.dictionary.partition("/")
    values = list(example.activations)
    place = max(range(len(values)), key=values.__getitem__, default=0)
    top = example.band_low is None
    return {
        "id": f"{_encode_id(page.id)}-{number}",
        "modelId": model,
        "layer": source,
        "source": source,  # which their client reads and their API leaves out
        "index": str(id.feature),
        "creatorId": None,
        "createdAt": None,
        "tokens": list(example.tokens),
        "values": values,
        "maxValue": max(values, default=0.0),
        "maxValueTokenIndex": place,
        "minValue": min(values, default=0.0),
        "qualifyingTokenIndex": find_peak(example),
        "dataIndex": None if example.document is None else str(example.document),
        "dataSource": example.corpus,
        "binMin": -1 if top else example.band_low,
        "binMax": -1 if top else example.band_high,
        # Their client takes a share or null; what the top ones are of all is not known anyway.
        "binContains": None if top else _share(page, example),
        **ABSENT_OF_ACTIVATION,
    }


def _share(page: Feature, example: Example) -> float | None:
    """Return the share of a feature's activations that are in an example's band; None without a histogram."""
    if example.band_share is not None:
        return example.band_share
    total = sum(page.histogram or ())
    if not total or page.histogram is None or example.band_low is None:
        return None
    high = float("inf") if example.band_high is None else example.band_high
    bins = zip(page.histogram_edges or HISTOGRAM_EDGES, page.histogram, strict=False)
    return sum(count for edge, count in bins if example.band_low <= edge < high) / total


def describe_explanations(page: Feature) -> list[Object]:
    """Return a feature's labels, the best first, with their scores."""
    return [describe_explanation(page.id, label, page.scores) for label in page.labels]


def describe_explanation(id: str, label: Label, scores: Sequence[Score] = ()) -> Object:
    """Return a label as an explanation; its id leads back to it."""
    feature = FeatureId.parse(id)
    model, _, source = feature.dictionary.partition("/")
    of_label = [score for score in scores if (score.label, score.explainer) == (label.label, label.explainer)]
    explanation = _encode_id(f"{id} {label.explainer}")
    values = [score.value for score in of_label if score.value is not None]
    return {
        "id": explanation,
        "modelId": model,
        "layer": source,
        "source": source,
        "index": str(feature.feature),
        "description": label.label,
        "explanationModelName": label.explainer,
        "typeName": label.prompt,
        "authorId": label.tool,
        "notes": None,
        "createdAt": label.created_at,
        "updatedAt": label.created_at,
        "scoreV1": max(values, default=0),
        "scoreV2": None,
        "votes": [],
        "comments": [],
        "triggeredByUser": None,
        "scores": [
            {
                "id": f"{explanation}-{number}",
                "value": score.value,
                "explanationId": explanation,
                "explanationScoreTypeName": score.method,
                "explanationScoreModelName": score.judge,
                "jsonDetails": "",
                "createdAt": score.created_at,
            }
            for number, score in enumerate(of_label)
        ],
    }


def _encode_id(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_explanation_id(id: str) -> tuple[str, str]:
    """Return the feature and the explainer of an explanation's id. Raises NotFound for another text."""
    try:
        text = base64.urlsafe_b64decode(id + "=" * (-len(id) % 4)).decode()
    except (binascii.Error, UnicodeError, ValueError):
        raise NotFound(f"no explanation {id!r:.80} here") from None
    feature, _, explainer = text.partition(" ")
    if not explainer:
        raise NotFound(f"no explanation {id!r:.80} here")
    return feature, explainer


def describe_source(dictionary: Dictionary) -> Object:
    """Return a dictionary as a source."""
    location = dictionary.weights_location or ""
    repository, _, folder = location.removeprefix("hf://").partition("//")
    return {
        "id": dictionary.source,
        "modelId": dictionary.model,
        "setName": name_set(dictionary.source),
        "creatorId": dictionary.tool,
        "createdAt": dictionary.created_at,
        "visibility": "PUBLIC",
        "hasDashboards": True,
        "inferenceEnabled": True,
        "saelensConfig": None,
        "saelensRelease": None,
        "saelensSaeId": None,
        "hfRepoId": repository if location.startswith("hf://") else None,
        "hfFolderId": folder or None,
        "defaultOfModelId": None,
        "hasUmap": False,
        "hasUmapLogSparsity": False,
        "hasUmapClusters": False,
        "num_prompts": None,
        "num_tokens_in_prompt": dictionary.context_size,
        "dataset": dictionary.corpus,
        "notes": None,
        "cosSimMatchModelId": None,
        "cosSimMatchSourceId": None,
    }


def describe_set(model: str, name: str, dictionaries: Sequence[Dictionary]) -> Object:
    """Return the dictionaries of one source set."""
    first = dictionaries[0]
    return {
        "modelId": model,
        "name": name,
        "type": first.kind,
        "description": f"{first.kind} at {first.site or first.hook_point}",
        "creatorName": first.tool,
        "creatorId": first.tool,
        "creatorEmail": None,
        "createdAt": first.created_at,
        "urls": [],
        "visibility": "PUBLIC",
        "hasDashboards": True,
        "allowInferenceSearch": True,
        "releaseName": name,
        "hasGraphs": False,
        "graphEnabled": False,
        "similarityMatrixEnabled": False,
        "defaultOfModelId": None,
        "defaultGraphModelId": None,
        "defaultRange": 1,
        "defaultShowBreaks": True,
        "showDfa": False,
        "showCorrelated": False,
        "showHeadAttribution": False,
        "showUmap": False,
        "sources": [describe_source(dictionary) for dictionary in dictionaries],
    }


def describe_model(model: str, dictionaries: Sequence[Dictionary]) -> Object:
    """Return a model; `dictionaries` are those of the model."""
    residual = [dictionary.d_in for dictionary in dictionaries if (dictionary.site or "").startswith("resid")]
    first = dictionaries[0]
    return {
        "id": model,
        "displayName": model,
        "displayNameShort": model,
        "creatorId": first.tool,
        "tlensId": None,
        "dimension": (residual or [first.d_in])[0],
        "thinking": False,
        "instruct": False,
        "visibility": "PUBLIC",
        "defaultSourceSetName": name_set(first.source),
        "defaultSourceId": first.source,
        "defaultGraphSourceSetName": None,
        "inferenceEnabled": True,
        # The store knows the layers that it has dictionaries of.
        "layers": 1 + max((dictionary.layer or 0) for dictionary in dictionaries),
        "neuronsPerLayer": 0,
        "owner": "",
        "website": None,
        "createdAt": first.created_at,
        "updatedAt": first.created_at,
    }
