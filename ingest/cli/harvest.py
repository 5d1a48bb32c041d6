"""`featurestore harvest`: its options fill a plan."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featurestore import BadRequest, Progress
from featurestore.extension.commands import build_index, connect_local, json_option, store_option
from featurestore.extension.output import print_json_lines, print_table
from featurestore.extension.progress import no_progress, show_progress
from ingest.cli.corpus_options import choose_corpus, corpus_options
from ingest.cli.model_options import import_torch, load_model, model_options
from ingest.cli.store_place import find_beside, open_store

if TYPE_CHECKING:
    from featurestore import Store
    from ingest.corpus.corpus import Corpus
    from ingest.harvest.estimate import Estimate
    from ingest.harvest.harvest import HarvestReport
    from ingest.harvest.plan import HarvestOptions
    from ingest.harvest.resources import Resources
    from ingest.model.model import Model
    from ingest.sae import Sae

CORPUS_OPTIONS = (
    "texts",
    "corpus_id",
    "tokens",
    "pack",
    "drop_duplicates",
    "pattern",
    "limit_documents",
    "on_error",
    "rejects",
    "template_vars",
)


@click.command()
@click.option(
    "--model", "model_path", metavar="DIR", help="The language model: a directory or hub name. Needed with --text."
)
@click.option("--model-id", metavar="NAME", help="Name of the model in ids. Default: the directory's name.")
@click.option(
    "--weights",
    "weights_options",
    required=True,
    multiple=True,
    metavar="[SOURCE=]PLACE",
    help="A dictionary's weights: a directory, a file or hf://org/repo//dir; SOURCE is its name in ids (default: the "
    "directory's name). Repeatable.",
)
@corpus_options
@click.option(
    "--context",
    "context_size",
    type=click.IntRange(2),
    help="Number of tokens the model sees at once. Default: as in training.",
)
@click.option(
    "--max-norm",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="TIMES",
    help="Leave out attention sinks: tokens whose input is this many times as long as the median of their context. "
    "0 leaves out none.",
)
@click.option(
    "--exclude-special",
    is_flag=True,
    help="Do not count the tokenizer's special tokens, such as those of chat templates.",
)
@click.option("--memory", type=click.IntRange(1), metavar="GB", help="Memory for the counts. Default: 8.")
@click.option(
    "--lean", is_flag=True, help="Leave large matrices in their file: slower, for weights larger than memory."
)
@click.option(
    "--fresh", is_flag=True, help="Start from the beginning, even if an interrupted harvest was saved beside the store."
)
@click.option(
    "--ray", metavar="ADDRESS", help="Harvest on a Ray cluster: its address, auto, or local to start one here."
)
@click.option(
    "--workers", type=click.IntRange(1), help="Workers on the cluster. Default: one for each GPU, or processor."
)
@click.option(
    "--registry",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="SAELens's pretrained_saes.yaml, for names as saelens://RELEASE/ID. Default: that of an installed sae-lens.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which examples are sampled.")
@click.option("--device", default="cpu", show_default=True, help="Device of the model: cpu, cuda, cuda:1, ...")
@model_options
@click.option("--replace", is_flag=True, help="Replace dictionaries that the store already has, and their labels.")
@click.option(
    "--dry-run", is_flag=True, help="Read the corpus and print what a harvest would take, time included; store nothing."
)
@click.option("--no-index", is_flag=True, help="Do not build indexes afterwards.")
@store_option
@json_option
def harvest(
    model_path: str | None,
    model_id: str | None,
    weights_options: tuple[str, ...],
    lean: bool,
    registry: Path | None,
    fresh: bool,
    device: str,
    dtype: str,
    architecture_map: Path | None,
    dry_run: bool,
    no_index: bool,
    store: str,
    as_json: bool,
    **values: Any,
) -> None:
    """Run a model over texts once and store every statistic and example of its dictionaries' features.

    Creates the store if there is none. To continue an interrupted harvest, run the same command again: the counts are
    saved in STORE.harvest until the store has them (for s3://BUCKET/PREFIX in BUCKET-PREFIX.harvest, in the working
    directory). Without --text or --corpus only results from the weights are stored: norms, neighbours and, with
    --model, effects on logits. Example:

    featurestore harvest --store my.features --model ./gpt2 --weights 8-res=./sae-l8 --text ./books --tokens 1000000
    """
    began = time.monotonic()
    import_torch()
    if (values["texts"] or values["corpus_id"]) and not model_path:
        raise BadRequest("a harvest runs a model over the texts: name it with --model DIR")
    if values["workers"] and not values["ray"]:
        raise BadRequest("--workers says how many of a cluster's count: name the cluster with --ray, or --ray local")
    saes = _read_weights(weights_options, lean, registry)
    name = model_id or (Path(model_path).resolve().name if model_path else _find_model_name(saes))
    corpus_values = {option: values.pop(option) for option in CORPUS_OPTIONS}
    make_corpus = choose_corpus(**corpus_values)
    model = load_model(model_path, device, dtype, architecture_map) if model_path else None
    loading = time.monotonic() - began
    if dry_run:
        if make_corpus is None or model is None:
            raise BadRequest("--dry-run says what a corpus takes: give it with --text or --corpus, and a --model")
        show_estimate(_estimate(store, model, saes, make_corpus, name, values), as_json)
        return
    with show_progress(store, "harvest", _describe(model_path, model_id, weights_options)) as progress:
        with open_store(store) as target:
            report = _harvest(target, model, saes, make_corpus, name, _make_options(store, fresh, values), progress)
        harvested = time.monotonic()
        lines = [] if no_index else build_index(connect_local(store), progress)
    if report:
        stages = {"loading": loading} | report.stages | {"indexing": time.monotonic() - harvested}
        report = dataclasses.replace(report, stages=stages)
    if as_json:
        print_json_lines([vars(report)] if report else [{"dictionaries": [f"{name}/{source}" for source in saes]}])
        return
    if report:
        show_report(report)
    else:
        click.echo(f"stored what the weights of {', '.join(f'{name}/{source}' for source in saes)} say")
    for line in lines:
        click.echo(line, err=True)


def _read_weights(weights_options: tuple[str, ...], lean: bool, registry: Path | None) -> dict[str, Sae]:
    """Return dictionaries by source. Raises BadRequest when two have one name."""
    from ingest import weights
    from ingest.weights.listing import split_name

    saes: dict[str, Sae] = {}
    for option in weights_options:
        source, path = split_name(option)
        if source in saes:
            raise BadRequest(f"two dictionaries are called {source}: name them, as in --weights other={path}")
        saes[source] = weights.read(path, lean=lean, registry=registry)
    return saes


def _make_options(store: str, fresh: bool, values: dict[str, Any]) -> HarvestOptions:
    """Return the options of a harvest into `store`, with its checkpoint."""
    from ingest.harvest.plan import HarvestOptions

    checkpoint = find_beside(store, ".harvest")
    if fresh:
        shutil.rmtree(checkpoint, ignore_errors=True)
    memory = values.pop("memory")
    if memory:
        values["memory"] = memory << 30
    return HarvestOptions(checkpoint=checkpoint, **values)


def _harvest(
    store: Store,
    model: Model | None,
    saes: dict[str, Sae],
    make_corpus: Callable[[Any, Any, Progress], Corpus] | None,
    model_id: str,
    options: HarvestOptions,
    progress: Progress,
) -> HarvestReport | None:
    """Harvest over the corpus and return the report; without a corpus store what the weights say, and return None."""
    from ingest.harvest.harvest import harvest
    from ingest.harvest.weight_harvest import harvest_weights

    if make_corpus is None or model is None:
        harvest_weights(store, saes, model_id=model_id, model=model, replace=options.replace, progress=progress)
        return None
    return harvest(
        store,
        model,
        saes,
        lambda tokenizer: make_corpus(store, tokenizer, progress),
        model_id=model_id,
        options=options,
        progress=progress,
        announce=show_resources,
    )


def _estimate(
    store: str,
    model: Model,
    saes: dict[str, Sae],
    make_corpus: Callable[[Any, Any, Progress], Corpus],
    model_id: str,
    values: dict[str, Any],
) -> Estimate:
    """Return what a harvest would read and take. A store that does not exist is made in a temporary directory."""
    from ingest.harvest.estimate import estimate
    from ingest.harvest.plan import HarvestOptions

    memory = values.pop("memory")
    options = HarvestOptions(**values | ({"memory": memory << 30} if memory else {}))
    with tempfile.TemporaryDirectory(prefix="featurestore-dry-run-") as folder, contextlib.ExitStack() as stack:
        exists = "://" in store or Path(store).exists()
        target = stack.enter_context(open_store(store if exists else str(Path(folder) / "store")))
        return estimate(
            target,
            model,
            saes,
            lambda tokenizer: make_corpus(target, tokenizer, no_progress),
            model_id=model_id,
            options=options,
        )


def show_estimate(expected: Estimate, as_json: bool) -> None:
    """Print what a harvest would read and take."""
    if as_json:
        print_json_lines([expected])
        return
    show_resources(expected.resources)
    for note in expected.notes:
        click.echo(note)
    click.echo(
        f"{expected.documents:,} documents with {expected.tokens:,} tokens in {expected.contexts:,} contexts of up to "
        f"{expected.context_size:,}; some {expected.seconds:,.0f} s on this machine ({expected.tokens_per_second:,.0f} "
        "tokens a second), and nothing was stored"
    )


def _describe(model_path: str | None, model_id: str | None, weights_options: tuple[str, ...]) -> str:
    """Return the names of the model and its dictionaries, without the paths of their files."""
    sources = [option.partition("=")[0] if "=" in option else Path(option).name for option in weights_options]
    model = model_id or (Path(model_path).name if model_path else "")
    return " ".join(word for word in (model, *sources) if word)


def _find_model_name(saes: dict[str, Sae]) -> str:
    """Return the name of the model that all dictionaries name. Raises BadRequest when they do not, or disagree."""
    names = {Path(sae.model_name).name for sae in saes.values() if sae.model_name}
    if len(names) != 1:
        listed = " and ".join(sorted(names)) or "none"
        raise BadRequest(f"the weights name {listed} as their model: say what it is called with --model-id NAME")
    return names.pop()


def show_resources(needed: Resources) -> None:
    """Print the memory and disk that a harvest takes, before it begins."""
    from ingest.harvest.resources import format_bytes

    rounds = f" in {needed.rounds} rounds" if needed.rounds > 1 else ""
    beside = f" and up to {format_bytes(needed.beside)} beside it meanwhile" if needed.beside else ""
    click.echo(
        f"{needed.features:,} features over {needed.tokens:,} tokens{rounds} take {format_bytes(needed.counts)} of "
        f"memory for counts and up to {format_bytes(needed.examples)} for examples; of disk up to "
        f"{format_bytes(needed.stored)} in the store{beside}",
        err=True,
    )


def show_report(report: HarvestReport) -> None:
    """Print what a harvest counted."""
    from ingest.harvest.resources import format_bytes

    held_out = f", {report.held_out_documents:,} of them held out" if report.held_out_documents else ""
    empty = f"; {report.empty_documents:,} empty documents were left out" if report.empty_documents else ""
    again = f"; {report.duplicate_documents:,} with the tokens of an earlier one" if report.duplicate_documents else ""
    resumed = f", {report.resumed:.0%} of it done before" if report.resumed else ""
    click.echo(
        f"corpus {report.corpus}: {report.tokens:,} tokens of {report.documents:,} documents{held_out}, in "
        f"{report.contexts:,} contexts with {report.padding:,} tokens of padding{empty}{again}; "
        f"{report.seconds:.1f} s{resumed}"
    )
    moved = f"; {format_bytes(report.moved)} passed between the cluster's processes" if report.moved else ""
    click.echo("time: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report.stages.items()) + moved)
    for note in report.notes:
        click.echo(note)
    print_table(
        [
            {
                "dictionary": name,
                "tokens counted": report.counted[name],
                "left out": ", ".join(f"{n:,} {cause}" for cause, n in report.excluded[name].items() if n) or "none",
                "features active on a token": report.l0[name],
                "dead features": report.dead[name],
            }
            for name in report.dictionaries
        ]
    )
