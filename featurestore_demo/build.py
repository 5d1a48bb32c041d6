"""The demo store: the demo's dictionaries, harvested over a sample of the standard library and labelled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

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
    """Yields a slice of each document, in the order of a hash of their names."""
    for document in sorted(documents(), key=lambda document: _hash(document.name)):
        lines = document.text.splitlines(keepends=True)
        most = max(1, len(document.text) - SLICE)
        # The slice begins with a line, at an offset given by the hash.
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
    """Build the store at `path`, or continue an unfinished build; returns a line per step.

    Raises Unavailable when torch is not installed.
    """
    try:
        from labeler.runs.token_label_run import label_from_tokens
    except ImportError as exc:
        raise _needs(exc) from None
    lines = []
    store = featurestore.Store(path) if (path / "store.json").exists() else featurestore.create(path)
    with store, show_progress() as progress:
        sources = sorted(folder.name for folder in (HERE / "dictionaries").iterdir() if folder.is_dir())
        if not {f"{MODEL_ID}/{source}" for source in sources} <= {entry.dictionary for entry in store.dictionaries()}:
            lines.append(_harvest(store, sources, tokens, progress))
        unlabelled = store.sql(
            "SELECT dictionary FROM dictionaries ANTI JOIN (SELECT DISTINCT dictionary FROM stored.labels) USING "
            "(dictionary)"
        )["dictionary"].to_pylist()
        if unlabelled:
            report = label_from_tokens(store, unlabelled, progress)
            lines.append(
                f"labelled {report.labelled:,} features from token statistics; {report.skipped:,} are dead or "
                "fire in documents held out only"
            )
        if not store.graphs():
            lines.append(_add_graph(store, sources))
        lines += build_index(store, progress)
    return lines or [f"{path} is complete: nothing to do"]


def _harvest(store: featurestore.Store, sources: list[str], tokens: int, progress: featurestore.Progress) -> str:
    """Harvest the demo's dictionaries over the sample; returns a line about it."""
    try:
        from ingest import weights
        from ingest.harvest.harvest import harvest
        from ingest.harvest.plan import HarvestOptions
        from ingest.model.model import Model
    except ImportError as exc:
        raise _needs(exc) from None
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
    return (
        f"harvested {len(saes)} dictionaries over {report.tokens:,} tokens of "
        f"{report.documents:,} documents in {report.seconds:.0f} s"
    )


def _add_graph(store: featurestore.Store, sources: list[str]) -> str:
    """Store the demo's attribution graph; returns a line about it."""
    try:
        from featurestore_demo.graph import make_graph
        from ingest import weights
        from ingest.model.model import Model
    except ImportError as exc:
        raise _needs(exc) from None
    saes = {source: weights.read(HERE / "dictionaries" / source) for source in sources}
    map = [f"{source.partition('-')[0]}={MODEL_ID}/{source}" for source in sources]
    added = store.add_graph(make_graph(Model(str(HERE / "model")), saes), map=map)
    return f"stored the attribution graph {added.graph}: {added.features} features, {added.links} links"


def _needs(error: ImportError) -> featurestore.Unavailable:
    """The error that names the missing package and the remedy."""
    return featurestore.Unavailable(f"the demo needs {error.name}: pip install 'featurestore[all]'")


def show(path: Path) -> None:
    """Print what is in the store and commands to try."""
    with featurestore.connect(path) as store:
        info = store.info()
    click.echo(f"{path} holds {info.features:,} features of {info.dictionaries} dictionaries. Try:")
    for command in (
        'search "exception handling"',
        f"nearest {MODEL_ID}/2-res-2k/0",
        'activating "def __init__(self, name):"',
        "graph show try-except",
        'sql "select state, count(*) from features group by all"',
    ):
        click.echo(f"  featurestore {command} --store {path}")
