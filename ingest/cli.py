"""`featurestore harvest` and `featurestore inspect`."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from featurestore import BadRequest, Unavailable, create
from featurestore.cli import build_index, local
from featurestore.commands import cell, json_lines, json_option, progress, store_option, table


def _import_torch() -> None:
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as exc:
        raise Unavailable(f"this needs {exc.name}: pip install 'featurestore[harvest]'") from None


@click.command()
@click.option(
    "--model", "model_path", required=True, metavar="DIR", help="The language model: a directory or hub name."
)
@click.option("--model-id", metavar="NAME", help="What the model is called in ids. Default: the directory's name.")
@click.option(
    "--weights",
    "weights_given",
    required=True,
    multiple=True,
    metavar="[SOURCE=]DIR",
    help="A dictionary's weights, and what it is called in ids (default: the directory's name). Repeatable.",
)
@click.option(
    "--text",
    "texts",
    required=True,
    multiple=True,
    metavar="PATH",
    help="A text file or a directory of them. Repeatable.",
)
@click.option("--tokens", type=click.IntRange(1), help="Stop after this many tokens.")
@click.option("--context", type=click.IntRange(2), help="Tokens the model sees at once. Default: as in training.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which examples are sampled.")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs: cpu, cuda, cuda:1, ...")
@click.option("--replace", is_flag=True, help="Replace dictionaries that the store has already, with their labels.")
@click.option("--no-index", is_flag=True, help="Do not build indexes afterwards.")
@store_option
@json_option
def harvest(
    model_path: str,
    model_id: str | None,
    weights_given: tuple[str, ...],
    texts: tuple[str, ...],
    tokens: int | None,
    context: int | None,
    seed: int,
    device: str,
    replace: bool,
    no_index: bool,
    store: str,
    as_json: bool,
) -> None:
    """Run a model over texts once and store every statistic and example of its dictionaries' features.

    The store is made if there is none. Example:

    featurestore harvest --store my.features --model ./gpt2 --weights 8-res=./sae-l8 --text ./books --tokens 1000000
    """
    _import_torch()
    from ingest import weights
    from ingest.corpus import read_texts
    from ingest.harvest import harvest as run
    from ingest.model import Model

    saes = {}
    for given in weights_given:
        source, _, path = given.rpartition("=")
        source = source or Path(path).resolve().name
        if source in saes:
            raise BadRequest(f"two dictionaries are called {source}: name them, as in --weights other={path}")
        saes[source] = weights.read(path)
    documents = read_texts(texts)
    model = Model(model_path, check_device(device))
    with store_to_write(store) as target:
        report = run(
            target,
            model,
            saes,
            documents,
            model_id=model_id or Path(model_path).resolve().name,
            context_size=context,
            max_tokens=tokens,
            seed=seed,
            replace=replace,
            progress=progress,
        )
    said = [] if no_index else build_index(local(store))
    if as_json:
        json_lines([vars(report)])
        return
    show_report(report)
    for line in said:
        click.echo(line, err=True)


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
        yield local(store)
        return
    made = create(store)
    try:
        yield made
    except BaseException:
        if made.info().commit == 0:
            shutil.rmtree(store)
        raise


def show_report(report: Any) -> None:
    """Print what a harvest did."""
    click.echo(
        f"{report.tokens_counted:,} tokens of {report.documents:,} documents in {report.contexts:,} contexts counted, "
        f"{report.tokens_excluded:,} BOS tokens left out, {report.seconds:.1f} s"
    )
    table(
        [
            {"dictionary": name, "features active on a token": report.l0[name], "dead features": report.dead[name]}
            for name in report.dictionaries
        ]
    )


@click.command()
@click.argument("weights_path", metavar="WEIGHTS")
@click.option("--model", "model_path", metavar="DIR", help="Also run this model, to measure L0 and variance explained.")
@click.option("--text", "texts", multiple=True, metavar="PATH", help="Text to run it on. Repeatable.")
@click.option("--tokens", type=click.IntRange(1), default=2000, show_default=True, help="How many tokens of it.")
@json_option
def inspect(weights_path: str, model_path: str | None, texts: tuple[str, ...], tokens: int, as_json: bool) -> None:
    """What a dictionary's weights are: shapes, hook, norms; with a model and text, how well it works there.

    Example: featurestore inspect ./sae-l8 --model ./gpt2 --text ./books
    """
    _import_torch()
    if bool(model_path) != bool(texts):
        raise BadRequest("measuring needs both: --model DIR and --text PATH")
    from ingest import weights
    from ingest.selftest import facts, measure

    sae = weights.read(weights_path)
    found = facts(sae)
    if model_path:
        from ingest.corpus import read_texts, tokenise
        from ingest.model import Model

        documents = read_texts(texts)
        model = Model(model_path)
        found |= measure(sae, model, tokenise(model.tokenizer, documents, tokens))
    if as_json:
        json_lines([found])
        return
    width = max(map(len, found))
    for name, value in found.items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {cell(value)}")
