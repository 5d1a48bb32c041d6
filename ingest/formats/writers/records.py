"""Features of a store as records of dashboards: the other way round than records/dashboard_rows.py."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from featurestore import Dictionary, Example, Feature, FeatureStore, Label

SECOND = re.compile(r"(?P<name>.+) \(\d+\)")  # how an import names a second label by one explainer


def find_features(store: FeatureStore, dictionary: str, where: str, examples: int | None) -> Iterator[Feature]:
    """Yield the features of a dictionary that a condition chooses, in order."""
    name = dictionary.replace("'", "''")
    yield from store.features_where(f"dictionary = '{name}' and ({where})", examples)


def read_extra(text: str | None) -> dict[str, Any]:
    """Return what an import kept as JSON; {} for nothing."""
    if not text:
        return {}
    try:
        said = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def explainer_of(label: Label) -> str:
    """Return the explainer of a label, without the number that an import gives to a second label."""
    match = SECOND.fullmatch(label.explainer)
    return match["name"] if match else label.explainer


def centres(edges: tuple[float, ...]) -> list[float]:
    """Return the middle of each bin."""
    return [(low + high) / 2 for low, high in itertools.pairwise(edges)]


def feature_record(dictionary: Dictionary, feature: Feature) -> dict[str, Any]:
    """Return the record of a feature as Neuronpedia's exports have it."""
    record: dict[str, Any] = {
        "modelId": dictionary.model,
        "layer": dictionary.source,
        "index": feature.id.rpartition("/")[2],
        "maxActApprox": feature.max_activation or 0,
        "frac_nonzero": -1 if feature.density is None else feature.density,
        "freq_hist_data_bar_heights": list(feature.histogram or ()),
        "freq_hist_data_bar_values": centres(feature.histogram_edges) if feature.histogram_edges else [],
        "logits_hist_data_bar_heights": list(feature.logit_histogram or ()),
        "logits_hist_data_bar_values": centres(feature.logit_histogram_edges) if feature.logit_histogram_edges else [],
        "pos_str": [effect.token for effect in feature.top_logits],
        "pos_values": [effect.value for effect in feature.top_logits],
        "neg_str": [effect.token for effect in feature.bottom_logits],
        "neg_values": [effect.value for effect in feature.bottom_logits],
        "hookName": dictionary.hook_point,
        "hasVector": False,
        "vector": [],
    }
    return record | read_extra(feature.extra)


def activation_record(dictionary: Dictionary, feature: Feature, number: int, example: Example) -> dict[str, Any]:
    """Return the record of an example as Neuronpedia's exports have it."""
    index, values = feature.id.rpartition("/")[2], list(example.activations)
    most = max(values)
    is_top = example.band_low is None or example.band_high is None
    position = None if example.position is None else example.position - example.start
    record = {
        "id": f"{dictionary.dictionary}/{index}/{number}",
        "modelId": dictionary.model,
        "layer": dictionary.source,
        "index": index,
        "tokens": list(example.tokens),
        "values": values,
        "maxValue": most,
        "maxValueTokenIndex": values.index(most),
        "minValue": min(values),
        "binMin": -1 if is_top else example.band_low,
        "binMax": -1 if is_top else example.band_high,
        "binContains": -1 if example.band_share is None else example.band_share,
        "qualifyingTokenIndex": position,
    }
    return record | read_extra(example.extra)


def explanation_records(dictionary: Dictionary, feature: Feature) -> list[dict[str, Any]]:
    """Return the records of a feature's labels as Neuronpedia's exports have them."""
    index = feature.id.rpartition("/")[2]
    return [
        {
            "id": f"{feature.id}#{number}",
            "modelId": dictionary.model,
            "layer": dictionary.source,
            "index": index,
            "description": label.label,
            "explanationModelName": explainer_of(label),
            "typeName": label.prompt,
        }
        for number, label in enumerate(
            sorted(feature.labels, key=lambda label: (len(label.explainer), label.explainer))
        )
    ]
