"""Neuronpedia's features, activations, explanations, vectors and cosine neighbours, of the features of a store."""

from __future__ import annotations

import contextlib
import itertools
from typing import Annotated, Any

import msgspec

from featurestore.errors import BadRequest, NotFound
from featurestore.interface import FeatureStore
from featurestore.query import Query
from featurestore.values.dictionary import Dictionary, pick_dictionary
from featurestore.values.feature import Feature, FeatureId, id_text
from featurestore.web.compat.foreign import convert
from featurestore.web.compat.neuronpedia_catalog import MISSING, find_set, find_source
from featurestore.web.compat.neuronpedia_values import (
    Object,
    describe_activations,
    describe_explanation,
    describe_feature,
    describe_model,
    describe_set,
    describe_source,
    name_set,
    parse_explanation_id,
)

NEIGHBOURS = 10
PAGE = 25  # features of a page of a source
MOST_FEATURES = 2048  # of one request, as their graph viewer sends
TOGETHER = 100  # features that are read at once

Index = int | str


class WantedFeature(msgspec.Struct, rename="camel"):
    """A feature, and how many of its activations."""

    model_id: str
    layer: str
    index: Index
    max_acts_to_return: int | None = None


class OfSource(msgspec.Struct, rename="camel"):
    """A feature of a source."""

    model_id: str
    source: str
    index: Index


class OffsetRequest(msgspec.Struct, rename="camel"):
    """Where in a source."""

    model_id: str
    layer: str
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class CosineRequest(msgspec.Struct, rename="camel"):
    """A feature, and the source in which its nearest are looked for."""

    model_id: str
    source: str
    index: Index
    target_model_id: str
    target_source_id: str


class ExportRequest(msgspec.Struct, rename="camel"):
    """A source whose explanations are wanted."""

    model_id: str
    sae_id: str


def read_page(store: FeatureStore, model: str, source: str, index: Index) -> tuple[Feature, Dictionary]:
    """Return a feature and its dictionary. Raises NotFound in Neuronpedia's words."""
    dictionary = find_source(store, model, source)
    try:
        return store.feature(f"{dictionary.dictionary}/{index}"), dictionary
    except (BadRequest, NotFound) as exc:
        raise NotFound(f"{MISSING}: {exc}"[:400]) from None


def get_feature(store: FeatureStore, body: Any, model: str, source: str, index: str) -> Object:
    """Return a feature's whole page, with its model, source, source set and nearest features of the source."""
    page, dictionary = read_page(store, model, source, index)
    model, source = dictionary.model, dictionary.source  # the request may have Neuronpedia's names of them
    of_model = [other for other in store.dictionaries() if other.model == model]
    of_set = [other for other in of_model if name_set(other.source) == name_set(source)]
    near = _find_nearest(store, page.id, dictionary.dictionary)
    return describe_feature(page, dictionary) | {
        "topkCosSimIndices": [number for number, _ in near],
        "topkCosSimValues": [cosine for _, cosine in near],
        "model": describe_model(model, of_model),
        "source": describe_source(dictionary),
        "sourceSet": {
            name: value for name, value in describe_set(model, name_set(source), of_set).items() if name != "sources"
        },
        "creator": {"name": dictionary.tool},
        "lists": _find_lists(store, dictionary, page.feature),
        "comments": [],
    }


def _find_lists(store: FeatureStore, dictionary: Dictionary, index: int) -> list[Object]:
    """Return the lists that a feature is in, with what each notes about it."""
    rows = store.sql(
        "SELECT list, f.note, l.note AS about FROM list_features f JOIN lists l USING (list) "
        "WHERE f.dictionary = $dictionary AND f.feature = $feature ORDER BY list",
        {"dictionary": dictionary.dictionary, "feature": index},
    )
    return [
        {
            "modelId": dictionary.model,
            "layer": dictionary.source,
            "index": str(index),
            "listId": row["list"],
            "description": row["note"] or "",
            "list": {"id": row["list"], "name": row["list"], "description": row["about"] or ""},
        }
        for row in rows.to_pylist()
    ]


def get_named(store: FeatureStore, body: Any, id: str) -> Object:
    """Return a feature's whole page by its id as text, model@source:index. Raises NotFound."""
    parts = id_text(id).rsplit("/", 2)
    if len(parts) < 3:
        raise NotFound(f"{MISSING}: {id!r:.100} names no feature: write MODEL/SOURCE/INDEX or MODEL@SOURCE:INDEX")
    return get_feature(store, body, *parts)


def get_features(store: FeatureStore, body: Any) -> list[Object]:
    """Return features in the order of the request; those that are missing are left out, as there."""
    wanted = convert(body, list[WantedFeature])
    if len(wanted) > MOST_FEATURES:
        raise BadRequest(f"{len(wanted):,} features are more than the {MOST_FEATURES:,} of one request")
    dictionaries = store.dictionaries()
    known = {dictionary.dictionary: dictionary for dictionary in dictionaries}
    named: dict[str, Dictionary] = {}
    for name in {f"{each.model_id}/{each.layer}" for each in wanted}:
        with contextlib.suppress(NotFound):
            named[name] = pick_dictionary(dictionaries, name)
    most = wanted[0].max_acts_to_return if wanted else None
    ids = []
    for each in wanted:
        dictionary = named.get(f"{each.model_id}/{each.layer}")
        if dictionary is not None and str(each.index).isdecimal() and int(each.index) < dictionary.d_sae:
            ids.append(f"{dictionary.dictionary}/{int(each.index)}")
    batches = (store.features(ids[first : first + TOGETHER]) for first in range(0, len(ids), TOGETHER))
    pages = itertools.chain.from_iterable(batches)
    return [describe_feature(page, known[page.dictionary], most) for page in pages]


def get_activations(store: FeatureStore, body: Any) -> list[Object]:
    """Return a feature's activations, the strongest first. Raises NotFound where there are none."""
    wanted = convert(body, OfSource)
    page, _ = read_page(store, wanted.model_id, wanted.source, wanted.index)
    if not page.examples:
        raise NotFound(f"{page.id} has no activations: it never fired in the corpus, or none were kept")
    return describe_activations(page)


def list_features(store: FeatureStore, body: Any) -> list[Object]:
    """Return 25 live features of a source by index, from an offset on."""
    wanted = convert(body, OffsetRequest)
    dictionary = find_source(store, wanted.model_id, wanted.layer)
    rows = store.sql(
        "SELECT feature FROM features WHERE dictionary = $dictionary AND max_activation > 0 "
        "ORDER BY feature LIMIT $most OFFSET $offset",
        {"dictionary": dictionary.dictionary, "most": PAGE, "offset": wanted.offset},
    )
    of_model = [other for other in store.dictionaries() if other.model == dictionary.model]
    of_set = find_set(store, dictionary.model, name_set(dictionary.source))
    more = {
        "sourceSet": describe_set(dictionary.model, name_set(dictionary.source), of_set),
        "model": describe_model(dictionary.model, of_model),
    }
    pages = store.features([f"{dictionary.dictionary}/{number}" for number in rows["feature"].to_pylist()])
    return [describe_feature(page, dictionary) | more for page in pages]


def find_cosine(store: FeatureStore, body: Any) -> Object:
    """Return the features of a source whose decoder vectors have the largest cosine to a feature's."""
    wanted = convert(body, CosineRequest)
    page, dictionary = read_page(store, wanted.model_id, wanted.source, wanted.index)
    target = find_source(store, wanted.target_model_id, wanted.target_source_id)
    near = _find_nearest(store, page.id, target.dictionary)
    return {
        "feature": {"model": dictionary.model, "source": dictionary.source, "index": page.feature},
        "topkDecoderCossimFeatures": [
            {"feature": {"model": target.model, "source": target.source, "index": number}, "cosineSimilarity": cosine}
            for number, cosine in near
        ],
    }


def _find_nearest(store: FeatureStore, id: str, dictionary: str) -> list[tuple[int, float]]:
    """Return index and cosine of the nearest features of a dictionary; none for a vector without a direction.

    There are none either of its own dictionary where that has no vectors, as an import without weights.
    """
    own = FeatureId.parse(id).dictionary
    try:
        hits = store.run(Query.of({"near": id, "within": dictionary, "k": NEIGHBOURS, "all": True}))
    except BadRequest:
        if store.dictionary(dictionary).space != store.dictionary(own).space:
            raise
        return []
    except NotFound:
        if dictionary != own:
            raise
        return []
    return [(hit.feature, hit.score) for hit in hits]


def get_vector(store: FeatureStore, body: Any) -> Object:
    """Return a feature's decoder vector."""
    wanted = convert(body, OfSource)
    page, dictionary = read_page(store, wanted.model_id, wanted.source, wanted.index)
    return {
        "vector": {
            "modelId": dictionary.model,
            "layer": dictionary.source,
            "source": dictionary.source,
            "index": str(page.feature),
            "vectorLabel": page.label,
            "createdAt": dictionary.created_at,
            "creatorId": dictionary.tool,
            "vectorDefaultSteerStrength": 10,
            "hookName": dictionary.hook_point_out or dictionary.hook_point,
            "vector": store.vector(page.id).tolist(),
        }
    }


def get_explanation(store: FeatureStore, body: Any, id: str) -> Object:
    """Return one explanation. Raises NotFound."""
    feature, explainer = parse_explanation_id(id)
    page = store.feature(feature, examples=0)
    for label in page.labels:
        if label.explainer == explainer:
            return describe_explanation(page.id, label, page.scores)
    raise NotFound(f"{page.id} has no label by {explainer!r:.80} any more")


def export_explanations(store: FeatureStore, body: Any) -> list[Object]:
    """Return every explanation of a source, as the route did that Neuronpedia took away."""
    wanted = convert(body, ExportRequest)
    dictionary = find_source(store, wanted.model_id, wanted.sae_id)
    rows = store.sql(
        "SELECT feature, label, explainer, prompt FROM labels WHERE dictionary = $dictionary ORDER BY ALL",
        {"dictionary": dictionary.dictionary},
    )
    return [
        {
            "modelId": dictionary.model,
            "layer": dictionary.source,
            "index": str(row["feature"]),
            "description": row["label"],
            "explanationModelName": row["explainer"],
            "typeName": row["prompt"],
        }
        for row in rows.to_pylist()
    ]
