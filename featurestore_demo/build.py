"""The demo store: the demo's model and dictionaries harvested over a sample of the standard library, and labelled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import featurestore
from featurestore.extension.commands import build_index
from featurestore.extension.progress import show_progress
from featurestore_demo.corpus import Document, documents

HERE = Path(__file__).parent
MODEL_ID = "pystdlib"
TOKENS = 320_000
SLICE = 12_000  # characters taken of one document, so that many documents are seen


def sample() -> Iterator[Document]:
    """A slice of each document, the documents in an order that a hash of their names decides."""
    for document in sorted(documents(), key=lambda one: _hash(one.name)):
        lines = document.text.splitlines(keepends=True)
        most = max(1, len(document.text) - SLICE)
        # The slice begins with a line, at a place the hash decides.
        skip, at = _hash(document.name) % most if len(document.text) > SLICE else 0, 0
        while skip > 0:
            skip -= len(lines[at])
            at += 1
        text = "".join(lines[at:])[:SLICE]
        if text.strip():
            yield Document(document.name, text)


def _hash(name: str) -> int:
    return int(hashlib.sha256(f"slice {name}".encode()).hexdigest()[:12], 16)


def build(path: Path, tokens: int = TOKENS) -> list[str]:
    """Build the store at `path`, or whatever a run before this left undone; lines that say what was done.

    Raises Unavailable when torch is not installed.
    """
    try:
        from ingest import weights
        from ingest.harvest.harvest import harvest
        from ingest.harvest.plan import HarvestOptions
        from ingest.model.model import Model
        from labeler.runs.token_label_run import label_from_tokens
    except ImportError as exc:
        raise featurestore.Unavailable(f"the demo needs {exc.name}: pip install 'featurestore[all]'") from None
    said = []
    there = (path / "store.json").exists()
    store: Any = featurestore.connect(path) if there else featurestore.create(path)
    with store, show_progress() as progress:
        sources = sorted(folder.name for folder in (HERE / "dictionaries").iterdir() if folder.is_dir())
        wanted = {f"{MODEL_ID}/{source}" for source in sources}
        if not wanted <= {dictionary.dictionary for dictionary in store.dictionaries()}:
            saes = {source: weights.read(HERE / "dictionaries" / source) for source in sources}
            model = Model(str(HERE / "model"))
            report = harvest(
                store,
                model,
                saes,
                sample(),
                model_id=MODEL_ID,
                options=HarvestOptions(max_tokens=tokens, replace=True),
                progress=progress,
            )
            said.append(
                f"harvested {len(saes)} dictionaries over {report.tokens:,} tokens of "
                f"{report.documents:,} documents in {report.seconds:.0f} s"
            )
        unlabelled = store.sql(
            "SELECT dictionary FROM dictionaries ANTI JOIN (SELECT DISTINCT dictionary FROM stored.labels) USING "
            "(dictionary)"
        )["dictionary"].to_pylist()
        if unlabelled:
            labelled = label_from_tokens(store, unlabelled, progress)
            said.append(
                f"labelled {labelled.labelled:,} features from token statistics; {labelled.skipped:,} are dead or "
                "fire in "
                "documents held out only"
            )
        said += build_index(store, progress)
    return said or [f"{path} is complete: nothing to do"]


def show(path: Path) -> None:
    """Say what is in the store and what to try."""
    with featurestore.connect(path) as store:
        info = store.info()
    click.echo(f"{path} holds {info.features:,} features of {info.dictionaries} dictionaries. Try:")
    for command in (
        'search "exception handling"',
        f"nearest {MODEL_ID}/2-res-2k/0",
        'activating "def __init__(self, name):"',
        'sql "select state, count(*) from features group by all"',
    ):
        click.echo(f"  featurestore {command} --store {path}")
