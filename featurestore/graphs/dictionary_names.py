"""Which dictionaries the features of a graph are of: as its owner says, or as its file and the store's dictionaries do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from featurestore.errors import BadRequest
from featurestore.graphs.file_format import LORSA, GraphFile
from featurestore.values.dictionary import Dictionary

# A layer's transcoders, or those that read and write its attention.
Place = tuple[str, int]
ID = r"[^/\s]+/[^/\s]+"


class Named(NamedTuple):
    """The dictionary of each place that has one, and what its owner should know."""

    of: dict[Place, str]
    notes: list[str]


def name(file: GraphFile, dictionaries: Sequence[Dictionary], given: Sequence[str]) -> Named:
    """Name the dictionaries of a graph's features.

    `given` has texts such as 12=model/source, or model/{layer}-source for every layer. Raises BadRequest when one is none,
    or names a dictionary of the store that has fewer features than the graph needs.
    """
    known = {one.dictionary: one for one in dictionaries}
    largest: dict[Place, int] = {}
    for node in file.nodes:
        if node.kind == "feature" and node.layer is not None and node.feature is not None:
            place = (node.site, node.layer)
            largest[place] = max(largest.get(place, 0), node.feature)
    said = _given(given)
    of, narrow = {}, []
    for place in sorted(largest):
        id = said.get(place) or said.get((place[0], -1), "").replace("{layer}", str(place[1]))
        sure = bool(id)
        id = id or _found(file, place, dictionaries)
        if id in known and known[id].d_sae <= largest[place]:
            few = f"{id} has {known[id].d_sae:,} features, but the graph has feature {largest[place]:,} of layer {place[1]}"
            if sure:
                raise BadRequest(f"map: {few}: it was made with another dictionary")
            narrow.append(few)
        elif id:
            of[place] = id
    return Named(of, list(_notes(largest, of, known, narrow)))


def _notes(
    places: dict[Place, int], of: dict[Place, str], known: dict[str, Dictionary], narrow: list[str]
) -> Iterator[str]:
    remedy = "name them with map"
    for one in narrow:
        yield f"{one}, so it is not taken for the graph's: name it with map"
    unnamed = [place for place in places if place not in of]
    if len(unnamed) > len(narrow):
        yield f"nothing says which dictionaries the features of layers {_layers(unnamed)} are of: {remedy}"
    lacking = [place for place, id in of.items() if id not in known]
    if lacking:
        count = len({of[place] for place in lacking})
        yield f"{count:,} of the graph's dictionaries are not in the store, {of[lacking[0]]} say: harvest them, or {remedy}"


def _layers(places: Sequence[Place]) -> str:
    layers = sorted({layer for _, layer in places})
    shown = ", ".join(map(str, layers[:8]))
    return shown + (f" and {len(layers) - 8} more" if len(layers) > 8 else "")


def _given(given: Sequence[str]) -> dict[Place, str]:
    """What the owner says by place; layer -1 stands for all of them."""
    found: dict[Place, str] = {}
    for text in given:
        layer, _, id = text.rpartition("=")
        if not re.fullmatch(ID, id) or not re.fullmatch(r"\d{0,6}", layer) or not (layer or "{layer}" in id):
            raise BadRequest(
                f"map: '{text}' is neither LAYER=DICTIONARY, as in 12=gemma-2-2b/12-transcoder, nor a pattern for every "
                "layer, as in gemma-2-2b/{layer}-transcoder"
            )
        place = ("mlp", int(layer) if layer else -1)
        if place in found:
            raise BadRequest(f"map: '{text}' is the second for {'layer ' + layer if layer else 'every layer'}")
        found[place] = id.replace("{layer}", layer) if layer else id
    return found


def _found(file: GraphFile, place: Place, dictionaries: Sequence[Dictionary]) -> str:
    """The dictionary that the weights the graph was made with are of; else what Neuronpedia calls it; else the model's only one."""
    site, layer = place
    metadata = file.metadata
    info = metadata.info if isinstance(metadata.info, dict) else {}
    details = metadata.feature_details if isinstance(metadata.feature_details, dict) else {}
    mine = [one for one in dictionaries if one.layer == layer and one.kind in ("transcoder", "clt")]
    urls = [url for url in _texts(info.get("source_urls")) if url]
    if site != LORSA:
        for one in mine:
            if any(_lies_in(one.weights_location, repository) for repository in _repositories(file, layer, info, urls)):
                return one.dictionary
    of_model = metadata.scan if re.fullmatch(r"[^/\s]+", metadata.scan) else None
    setting = "neuronpedia_lorsa_source_set" if site == LORSA else "neuronpedia_source_set"
    sets = [(of_model, one) for one in (info.get(setting), details.get(setting)) if isinstance(one, str)]
    if site != LORSA:
        pages = (re.fullmatch(r"https?://(?:www\.)?neuronpedia\.org/([^/\s]+)/([^/\s]+)/?", url) for url in urls)
        sets += [(page[1], page[2]) for page in pages if page]
    for model, source in sets:
        if model and re.fullmatch(ID, id := f"{model}/{layer}-{source}"):
            return id
    alone = [one.dictionary for one in mine if one.model == of_model] if site != LORSA else []
    return alone[0] if len(alone) == 1 else ""


def _repositories(file: GraphFile, layer: int, info: dict[str, Any], urls: Sequence[str]) -> Iterator[str]:
    """Repositories on the hub that the file names: of this layer, or of all."""
    listed = file.metadata.transcoder_list or ()
    if file.metadata.scan.startswith("custom-") and layer < len(listed):
        yield listed[layer]
        return
    yield file.metadata.scan
    yield from _texts([info.get("transcoder_set")])
    for url in urls:
        if match := re.match(r"https?://huggingface\.co/([^/\s]+/[^/\s?#]+)", url):
            yield match[1]


def _texts(given: Any) -> list[str]:
    return [one for one in given if isinstance(one, str)] if isinstance(given, list | tuple) else []


def _lies_in(location: str | None, repository: str) -> bool:
    """Whether weights were read from a repository (org/name, perhaps with //folder and @revision)."""
    folder, _, revision = repository.partition("@")
    if location is None or not re.fullmatch(r"[^/\s]+/[^/\s]+(//\S+)?", folder):
        return False
    place, _, read = location.removeprefix("hf://").partition("@")
    inside = place == folder or place.startswith(folder + "/")
    return location.startswith("hf://") and inside and (not revision or not read or read == revision)
