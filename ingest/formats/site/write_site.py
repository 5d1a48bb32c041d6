"""A store's features as a static site."""

from __future__ import annotations

import base64
import collections
import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import featurestore
from featurestore import Unavailable
from ingest.formats.output import new_directory
from ingest.formats.site.data_files import HEAD, TAIL, Blocks, pack, write_block
from ingest.formats.site.feature_record import make_record
from ingest.formats.site.meaning import compute_meanings
from ingest.formats.writers.records import find_features

if TYPE_CHECKING:
    from featurestore import FeatureStore

PAGES = ("index.html", "site.js", "style.css")
NAMED = ("hook_point", "layer", "kind", "d_sae", "import_format")  # what the site says of a dictionary
MOST_TOKENS = 50_000  # texts of logits whose words are known to the search by meaning


class _Contents:
    """What is gathered while features are written."""

    def __init__(self) -> None:
        self.features = self.examples = 0
        self.labels: list[tuple[int, int, str]] = []  # number of the dictionary, feature, label
        self.tokens: collections.Counter[str] = collections.Counter()


def write(
    store: FeatureStore, dictionaries: list[str], where: str, target: str, options: dict[str, Any]
) -> dict[str, int]:
    """Write index.html, its script and its style, and the data below data/; returns numbers of what is in it.

    Search by meaning is left out where the store has no embedder here.
    """
    contents = _Contents()
    with new_directory(target) as root:
        data = root / "data"
        data.mkdir()
        about = [
            _write_dictionary(store, data, number, name, where, options.get("examples"), contents)
            for number, name in enumerate(dictionaries)
        ]
        _write_labels(data, contents)
        vectors = _write_meaning(data, store, contents)
        manifest = {
            "title": Path(target).name,
            "tool": f"featurestore {featurestore.__version__}",
            "dictionaries": about,
            "labels": len(contents.labels),
            "meaning": vectors > 0,
        }
        text = HEAD.format(name="manifest") + pack(msgspec.json.encode(manifest)) + TAIL
        (data / "manifest.js").write_text(text, "ascii")
        pages = importlib.resources.files("ingest.formats.site") / "pages"
        for name in PAGES:
            (root / name).write_bytes((pages / name).read_bytes())
    counts = {"features": contents.features, "labels": len(contents.labels), "examples": contents.examples}
    return counts | {"vectors of labels": vectors}


def _write_dictionary(
    store: FeatureStore, data: Path, number: int, name: str, where: str, examples: int | None, contents: _Contents
) -> dict[str, Any]:
    """Write the features of one dictionary; returns what the manifest says of it."""
    blocks = Blocks(data, f"features-{number}")
    features = 0
    for feature in find_features(store, name, where, examples):
        record = make_record(feature)
        blocks.add(feature.feature, record)
        features += 1
        contents.examples += len(feature.examples)
        texts = dict.fromkeys(label.label for label in feature.labels)
        contents.labels += [(number, feature.feature, text) for text in texts]
        if len(contents.tokens) < MOST_TOKENS:
            contents.tokens.update(effect.token for effect in feature.top_logits)
    blocks.close()
    contents.features += features
    about = store.dictionary(name)
    known = {field: getattr(about, field) for field in NAMED if getattr(about, field) is not None}
    return {"dictionary": name, "features": features, "files": blocks.files} | known


def _write_labels(data: Path, contents: _Contents) -> None:
    """Write all labels by column: they are loaded whole when something is searched for."""
    columns = zip(*contents.labels, strict=True) if contents.labels else ([], [], [])
    names = ("dictionary", "feature", "label")
    write_block(data, "labels", msgspec.json.encode(dict(zip(names, map(list, columns), strict=True))))


def _write_meaning(data: Path, store: FeatureStore, contents: _Contents) -> int:
    """Write the vectors of labels and words; returns how many labels have one."""
    if not contents.labels or not isinstance(store, featurestore.Store):
        return 0
    labels = [label for _, _, label in contents.labels]
    tokens = [token for token, _ in contents.tokens.most_common()]
    try:
        meanings = compute_meanings(labels, tokens, store.embed)
    except Unavailable:
        return 0
    words = {"words": meanings.words, "weights": meanings.weights, "dimensions": meanings.of_labels.shape[1]}
    vectors = {
        name: base64.b64encode(part.tobytes()).decode()
        for name, part in (("of_words", meanings.of_words), ("of_labels", meanings.of_labels))
    }
    write_block(data, "meaning", msgspec.json.encode(words | vectors))
    return len(labels)
