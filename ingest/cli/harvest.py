"""`featurestore harvest`."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from featurestore import BadRequest, create
from featurestore.extension.commands import build_index, connect_local, json_option, store_option
from featurestore.extension.output import print_json_lines, print_table
from featurestore.extension.progress import show_progress
from ingest.cli.corpus_options import choose_corpus, corpus_options
from ingest.cli.inspect import import_torch


@click.command()
@click.option(
    "--model", "model_path", metavar="DIR", help="The language model: a directory or hub name. Needed with --text."
)
@click.option("--model-id", metavar="NAME", help="What the model is called in ids. Default: the directory's name.")
@click.option(
    "--weights",
    "weights_given",
    required=True,
    multiple=True,
    metavar="[SOURCE=]PLACE",
    help="A dictionary's weights: a directory, a file or hf://org/repo//dir; and what it is called in ids (default: the "
    "directory's name). Repeatable.",
)
@corpus_options
@click.option("--context", type=click.IntRange(2), help="Tokens the model sees at once. Default: as in training.")
@click.option(
    "--max-norm",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="TIMES",
    help="Leave out tokens whose input is so many times as long as the median of their context: attention sinks. 0: none.",
)
@click.option(
    "--exclude-special", is_flag=True, help="Leave out the tokenizer's special tokens, as chat templates have."
)
@click.option("--memory", type=click.IntRange(1), metavar="GB", help="For what is counted. Default: 8.")
@click.option(
    "--lean", is_flag=True, help="Leave large matrices in their file: slower, for weights larger than memory."
)
@click.option(
    "--fresh", is_flag=True, help="Begin anew, though an interrupted harvest of the same was kept beside the store."
)
@click.option("--ray", metavar="ADDRESS", help="Count on a Ray cluster: its address, auto, or local to start one here.")
@click.option(
    "--workers", type=click.IntRange(1), help="Workers on the cluster. Default: one for each GPU, or processor."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which examples are sampled.")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs: cpu, cuda, cuda:1, ...")
@click.option("--replace", is_flag=True, help="Replace dictionaries that the store has already, with their labels.")
@click.option("--no-index", is_flag=True, help="Do not build indexes afterwards.")
@store_option
@json_option
def harvest(
    model_path: str | None,
    model_id: str | None,
    weights_given: tuple[str, ...],
    texts: tuple[str, ...],
    corpus_id: str | None,
    tokens: int | None,
    pack: int | None,
    drop_duplicates: bool,
    context: int | None,
    max_norm: float,
    exclude_special: bool,
    memory: int | None,
    lean: bool,
    fresh: bool,
    ray: str | None,
    workers: int | None,
    seed: int,
    device: str,
    replace: bool,
    no_index: bool,
    store: str,
    as_json: bool,
) -> None:
    """Run a model over texts once and store every statistic and example of its dictionaries' features.

    The store is made if there is none. Interrupted, the same command goes on where it stopped: what is counted is kept
    in STORE.harvest until it is in the store. Without --text or --corpus only what weights alone say is stored: norms,
    neighbours and, with --model, effects on logits. Example:

    featurestore harvest --store my.features --model ./gpt2 --weights 8-res=./sae-l8 --text ./books --tokens 1000000
    """
    import_torch()
    from ingest import weights
    from ingest.harvest.harvest import harvest as run
    from ingest.harvest.harvest import harvest_weights
    from ingest.harvest.resources import MEMORY
    from ingest.model.model import Model
    from ingest.weights.listing import split_name

    if (texts or corpus_id) and not model_path:
        raise BadRequest("a harvest runs a model over the texts: name it with --model DIR")
    if workers and not ray:
        raise BadRequest("--workers says how many of a cluster's count: name the cluster with --ray, or --ray local")
    saes = {}
    for given in weights_given:
        source, path = split_name(given)
        if source in saes:
            raise BadRequest(f"two dictionaries are called {source}: name them, as in --weights other={path}")
        saes[source] = weights.read(path, lean=lean)
    name = model_id or (Path(model_path).resolve().name if model_path else _one_name(saes))
    corpus_of = choose_corpus(texts, corpus_id, tokens, pack, drop_duplicates)
    model = Model(model_path, check_device(device)) if model_path else None
    report = None
    with show_progress(store, "harvest", _about(model_path, model_id, weights_given)) as progress:
        with store_to_write(store) as target:
            if corpus_of is None or model is None:
                harvest_weights(target, saes, model_id=name, model=model, replace=replace, progress=progress)
            else:
                kept = None if store.startswith("s3://") else Path(store.rstrip("/") + ".harvest")
                if fresh and kept:
                    shutil.rmtree(kept, ignore_errors=True)
                report = run(
                    target,
                    model,
                    saes,
                    lambda tokenizer: corpus_of(target, tokenizer, progress),
                    model_id=name,
                    context_size=context,
                    seed=seed,
                    max_norm=max_norm,
                    exclude_special=exclude_special,
                    replace=replace,
                    memory=memory << 30 if memory else MEMORY,
                    checkpoint=kept,
                    ray=ray,
                    workers=workers,
                    progress=progress,
                    tell=show_plan,
                )
        lines = [] if no_index else build_index(connect_local(store), progress)
    if as_json:
        print_json_lines([vars(report)] if report else [{"dictionaries": [f"{name}/{source}" for source in saes]}])
        return
    if report:
        show_report(report)
    else:
        click.echo(f"stored what the weights of {', '.join(f'{name}/{source}' for source in saes)} say")
    for line in lines:
        click.echo(line, err=True)


def _about(model_path: str | None, model_id: str | None, weights_given: tuple[str, ...]) -> str:
    """Names of the model and its dictionaries, without the paths of their files."""
    sources = [one.partition("=")[0] if "=" in one else Path(one).name for one in weights_given]
    model = model_id or (Path(model_path).name if model_path else "")
    return " ".join(word for word in (model, *sources) if word)


def check_device(device: str) -> str:
    """The device, if torch has it. Raises BadRequest."""
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as exc:
        first = str(exc).strip().splitlines()[0][:200]
        raise BadRequest(f"device '{device}' is not to be had here: {first}") from None
    return device


@contextlib.contextmanager
def store_to_write(store: str) -> Iterator[Any]:
    """The store; if nothing is at the path it is made, and gone again when what was to be written failed."""
    if store.startswith(("http://", "https://")) or Path(store).exists():
        yield connect_local(store)
        return
    made = create(store)
    try:
        yield made
    except BaseException:
        if made.info().commit == 0:
            shutil.rmtree(store)
        raise


def _one_name(saes: dict[str, Any]) -> str:
    """What the dictionaries' model is called. Raises BadRequest when they do not say, or not the same."""
    names = {Path(sae.model_name).name for sae in saes.values() if sae.model_name}
    if len(names) != 1:
        said = " and ".join(sorted(names)) or "none"
        raise BadRequest(f"the weights name {said} as their model: say what it is called with --model-id NAME")
    return names.pop()


def show_plan(plan: Any) -> None:
    """Print what a harvest takes, before it is done."""
    from ingest.harvest.resources import said

    rounds = f" in {plan.rounds} rounds" if plan.rounds > 1 else ""
    beside = f" and up to {said(plan.beside)} beside it meanwhile" if plan.beside else ""
    click.echo(
        f"{plan.features:,} features over {plan.tokens:,} tokens{rounds} take {said(plan.counts)} of memory for counts and up "
        f"to {said(plan.examples)} for examples; of disk up to {said(plan.stored)} in the store{beside}",
        err=True,
    )


def show_report(report: Any) -> None:
    """Print what a harvest did."""
    held_out = f", {report.held_out_documents:,} of them held out" if report.held_out_documents else ""
    empty = f"; {report.empty_documents:,} empty documents were left out" if report.empty_documents else ""
    again = f"; {report.duplicate_documents:,} with the tokens of an earlier one" if report.duplicate_documents else ""
    resumed = f", {report.resumed:.0%} of it done before" if report.resumed else ""
    click.echo(
        f"corpus {report.corpus}: {report.tokens:,} tokens of {report.documents:,} documents{held_out}, in {report.contexts:,} contexts with "
        f"{report.padding:,} tokens of padding{empty}{again}; {report.seconds:.1f} s{resumed}"
    )
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
