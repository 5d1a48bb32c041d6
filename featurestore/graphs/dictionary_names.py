"""Names the dictionaries of a graph's features: as its owner maps them, or from its file and the store's dictionaries.

Reads no store and no network.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from featurestore.errors import BadRequest
from featurestore.graphs.file_format import LORSA, GraphFile
from featurestore.notes import Notes
from featurestore.values.dictionary import Dictionary

# Site ("mlp" for transcoders, LORSA for what reads and writes attention) and layer.
Place = tuple[str, int]
ID = r"[^/\s]+/[^/\s]+"


class DictionaryNames(NamedTuple):
    """The dictionary of each place that has one, and notes for the graph's owner."""

    by_place: dict[Place, str]
    notes: Notes


def name(file: GraphFile, dictionaries: Sequence[Dictionary], mappings: Sequence[str]) -> DictionaryNames:
    """Name the dictionaries of a graph's features.

    `mappings` are texts such as 12=model/source, or model/{layer}-source for every layer. They, and the file, may call
    a dictionary as Neuronpedia does. Raises BadRequest for any other text, and for one that names a dictionary of the
    store with fewer features than the graph needs.
    """
    known = {dictionary.dictionary: dictionary for dictionary in dictionaries}
    elsewhere = _name_elsewhere(dictionaries)
    largest: dict[Place, int] = {}
    for node in file.nodes:
        if node.kind == "feature" and node.layer is not None and node.feature is not None:
            place = (node.site, node.layer)
            largest[place] = max(largest.get(place, 0), node.feature)
    mapped = _parse_mappings(mappings)
    by_place: dict[Place, str] = {}
    notes, too_small = Notes(), 0
    for place in sorted(largest):
        id = mapped.get(place) or mapped.get((place[0], -1), "").replace("{layer}", str(place[1]))
        by_owner = bool(id)
        id = id or _guess(file, place, dictionaries)
        id = id if id in known else elsewhere.get(id, id)
        if id in known and known[id].d_sae <= largest[place]:
            d_sae, feature = known[id].d_sae, largest[place]
            conflict = f"{id} has {d_sae:,} features, but the graph has feature {feature:,} of layer {place[1]}"
            if by_owner:
                raise BadRequest(f"map: {conflict}: it was made with another dictionary")
            sentence = f"{conflict}, so it is not taken for the graph's: name it with map"
            notes.add("graph_dictionary_too_small", sentence, layer=place[1], features=d_sae, feature=feature)
            too_small += 1
        elif id:
            by_place[place] = id
    _note_unknown(notes, largest, by_place, known, too_small)
    return DictionaryNames(by_place, notes)


def _name_elsewhere(dictionaries: Sequence[Dictionary]) -> dict[str, str]:
    """The dictionary of each name on Neuronpedia that only one has."""
    named = Counter(dictionary.neuronpedia_id for dictionary in dictionaries)
    return {
        each.neuronpedia_id: each.dictionary
        for each in dictionaries
        if each.neuronpedia_id and named[each.neuronpedia_id] == 1
    }


def _note_unknown(
    notes: Notes, places: dict[Place, int], by_place: dict[Place, str], known: dict[str, Dictionary], too_small: int
) -> None:
    """Note dictionaries that nothing names, beside those that are `too_small`, and those that the store lacks."""
    remedy = "name them with map"
    unnamed = [place for place in places if place not in by_place]
    if len(unnamed) > too_small:
        sentence = f"nothing says which dictionaries the features of layers {_layers(unnamed)} are of: {remedy}"
        notes.add("graph_dictionaries_unnamed", sentence, layers=len({layer for _, layer in unnamed}))
    unknown = [id for id in by_place.values() if id not in known]
    if unknown:
        count = len(set(unknown))
        sentence = (
            f"{count:,} of the graph's dictionaries are not in the store, {unknown[0]} say: harvest them, or {remedy}"
        )
        notes.add("graph_dictionaries_missing", sentence, dictionaries=count)


def _layers(places: Sequence[Place]) -> str:
    layers = sorted({layer for _, layer in places})
    shown = ", ".join(map(str, layers[:8]))
    return shown + (f" and {len(layers) - 8} more" if len(layers) > 8 else "")


def _parse_mappings(mappings: Sequence[str]) -> dict[Place, str]:
    """The owner's dictionaries by place; layer -1 stands for all layers."""
    by_place: dict[Place, str] = {}
    for text in mappings:
        layer, _, id = text.rpartition("=")
        if not re.fullmatch(ID, id) or not re.fullmatch(r"\d{0,6}", layer) or not (layer or "{layer}" in id):
            raise BadRequest(
                f"map: '{text}' is neither LAYER=DICTIONARY, as in 12=gemma-2-2b/12-transcoder, nor a pattern for "
                "every layer, as in gemma-2-2b/{layer}-transcoder"
            )
        place = ("mlp", int(layer) if layer else -1)
        if place in by_place:
            raise BadRequest(f"map: '{text}' is the second for {'layer ' + layer if layer else 'every layer'}")
        by_place[place] = id.replace("{layer}", layer) if layer else id
    return by_place


def _guess(file: GraphFile, place: Place, dictionaries: Sequence[Dictionary]) -> str:
    """The dictionary of a place by what the file says; "" where it says nothing.

    First the dictionary whose weights the graph was made with; else the one that Neuronpedia names; else the only
    transcoder of the model and layer.
    """
    site, layer = place
    metadata = file.metadata
    info = metadata.info if isinstance(metadata.info, dict) else {}
    details = metadata.feature_details if isinstance(metadata.feature_details, dict) else {}
    of_layer = [dictionary for dictionary in dictionaries if dictionary.layer == layer]
    transcoders = [dictionary for dictionary in of_layer if dictionary.kind in ("transcoder", "clt")]
    urls = [url for url in _texts(info.get("source_urls")) if url]
    if site != LORSA:
        repositories = list(_repositories(file, layer, info, urls))
        for transcoder in transcoders:
            if any(_is_read_from(transcoder.weights_location, repository) for repository in repositories):
                return transcoder.dictionary
    of_model = metadata.scan if re.fullmatch(r"[^/\s]+", metadata.scan) else None
    setting = "neuronpedia_lorsa_source_set" if site == LORSA else "neuronpedia_source_set"
    sets = [(of_model, source) for source in (info.get(setting), details.get(setting)) if isinstance(source, str)]
    if site != LORSA:
        pages = (re.fullmatch(r"https?://(?:www\.)?neuronpedia\.org/([^/\s]+)/([^/\s]+)/?", url) for url in urls)
        sets += [(page[1], page[2]) for page in pages if page]
    for model, source in sets:
        if model and re.fullmatch(ID, id := f"{model}/{layer}-{source}"):
            return id
    of_site = [transcoder.dictionary for transcoder in transcoders if transcoder.model == of_model]
    return of_site[0] if site != LORSA and len(of_site) == 1 else ""


def _repositories(file: GraphFile, layer: int, info: dict[str, Any], urls: Sequence[str]) -> Iterator[str]:
    """Repositories on the hub that the file names for this layer, or for all layers."""
    listed = file.metadata.transcoder_list or ()
    if file.metadata.scan.startswith("custom-") and layer < len(listed):
        yield listed[layer]
        return
    yield file.metadata.scan
    yield from _texts([info.get("transcoder_set")])
    for url in urls:
        if match := re.match(r"https?://huggingface\.co/([^/\s]+/[^/\s?#]+)", url):
            yield match[1]


def _texts(value: Any) -> list[str]:
    """The texts of a JSON list; none of anything else."""
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | tuple) else []


def _is_read_from(location: str | None, repository: str) -> bool:
    """Whether weights were read from a repository (org/name, perhaps with //folder and @revision)."""
    folder, _, revision = repository.partition("@")
    if location is None or not re.fullmatch(r"[^/\s]+/[^/\s]+(//\S+)?", folder):
        return False
    place, _, read = location.removeprefix("hf://").partition("@")
    inside = place == folder or place.startswith(folder + "/")
    return location.startswith("hf://") and inside and (not revision or not read or read == revision)
