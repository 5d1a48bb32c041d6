"""`featurestore import`: labels, dashboards and vectors of other tools, into a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featurestore import BadRequest, NotFound
from featurestore.extension.commands import build_index, connect_local, json_option, store_option
from featurestore.extension.output import print_json_lines, print_table
from featurestore.extension.progress import show_progress
from ingest.cli.store_place import find_beside, open_store

if TYPE_CHECKING:
    from ingest.formats.import_run import ImportPlan
    from ingest.formats.joining.report import ImportReport

FACTS = ("d_sae", "kind", "hook_point", "layer", "space", "weights_hash")  # columns that the user may state
MOST_DESCRIBED = 5  # files whose mapping is shown
READING = (
    "dictionary",
    "model",
    "source",
    "explainer",
    "map",
    "space",
    "bucket",
    "embeddings",
    "tokenizer",
)  # options of readers


@click.command("import")
@click.argument("what", nargs=-1, required=True, metavar="[FORMAT] PATH")
@click.option("--detect", is_flag=True, help="Find the format from the files. The default where no FORMAT is named.")
@click.option(
    "--dictionary", metavar="MODEL/SOURCE", help="The dictionary of all records. Default: what the files say."
)
@click.option("--model", metavar="NAME", help="The model, where the files do not name it.")
@click.option("--source", metavar="NAME", help="The source, where the files do not name it.")
@click.option("--explainer", metavar="NAME", help="Who wrote the labels, where the files do not say.")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="Which column of a table of labels is what: feature, label, explainer, prompt, dictionary, model, source, "
    "layer, component or id. COLUMN may be a text with {Column} in it. Default: guessed from the names, and shown. "
    "Repeatable.",
)
@click.option("--d-sae", type=click.IntRange(1), help="Number of features of the dictionary, where files do not say.")
@click.option("--kind", type=click.Choice(["sae", "transcoder", "clt", "vectors"]), help="Kind of the dictionary.")
@click.option("--hook-point", metavar="NAME", help="Where activations are read, such as blocks.8.hook_resid_pre.")
@click.option("--layer", type=click.IntRange(0), help="Layer of the hook point.")
@click.option("--space", metavar="NAME", help="Space of vectors, such as the model's id: those of one are compared.")
@click.option(
    "--weights-hash", metavar="HEX", help="Hash of the weights, compared with that of the store's dictionary."
)
@click.option("--bucket", metavar="URL", help="Address of the public bucket. Default: Neuronpedia's.")
@click.option(
    "--tokenizer", metavar="DIR", help="Directory or hub name of a tokenizer, for files with token ids alone."
)
@click.option("--embeddings", is_flag=True, help="Keep stored embeddings of labels, as vectors of a dictionary beside.")
@click.option(
    "--any-words", is_flag=True, help="Join labels even if their words are not those of the features' tokens."
)
@click.option("--strict", is_flag=True, help="Stop at the first record that is broken, and write nothing.")
@click.option("--rejects", metavar="FILE", help="Where records that are broken go. Default: STORE.rejects.jsonl.")
@click.option("--fresh", is_flag=True, help="Read all files again, even if an interrupted import has read some.")
@click.option("--dry-run", is_flag=True, help="Only say the format, and how the files are understood.")
@click.option("--no-index", is_flag=True, help="Do not build indexes afterwards.")
@store_option
@json_option
def import_files(
    what: tuple[str, ...],
    detect: bool,
    mapping: tuple[str, ...],
    dry_run: bool,
    no_index: bool,
    store: str,
    as_json: bool,
    **values: Any,
) -> None:
    """Bring labels, dashboards or vectors that exist elsewhere into the store.

    Creates the store if there is none. Importing the same again changes nothing. To continue an interrupted import, run
    the same command again. Examples:

    featurestore import labels labels.csv --dictionary gpt2-small/8-res-jb --store my.features

    featurestore import --detect ./neuronpedia_batches --store my.features
    """
    name, path = _split(what, detect)
    plan = _make_plan(name, path, store, parse_mapping(mapping), values)
    for line in plan.described:
        click.echo(line, err=True)
    if dry_run:
        return
    from ingest.formats.import_run import encode, run

    with show_progress(store, "import", plan.format.FORMAT) as progress:
        with open_store(store) as target:
            report = run(target, plan, progress)
        lines = [] if no_index or report.commit is None else build_index(connect_local(store), progress)
    if as_json:
        print_json_lines([encode(report)])
        return
    show_report(report)
    for line in lines:
        click.echo(line, err=True)


def _split(what: tuple[str, ...], detect: bool) -> tuple[str | None, str]:
    """Return the format's name, None where it is to be found, and the path. Raises BadRequest."""
    if len(what) == 1:
        return None, what[0]
    if len(what) == 2 and not detect:
        return what[0], what[1]
    raise BadRequest("name a format and a path, as in `featurestore import labels labels.csv`, or a path with --detect")


def parse_mapping(mapping: tuple[str, ...]) -> dict[str, str]:
    """Return the columns by field. Raises BadRequest for what is not FIELD=COLUMN."""
    columns: dict[str, str] = {}
    for text in mapping:
        field, equals, column = text.partition("=")
        if not equals or not field or not column or field in columns:
            raise BadRequest(
                f"--map: '{text}' is not FIELD=COLUMN, as in --map label=Annotation, or its field is twice"
            )
        columns[field] = column
    return columns


def _make_plan(
    name: str | None, path: str, store: str, mapping: Mapping[str, str], values: dict[str, Any]
) -> ImportPlan:
    from ingest.formats import registry
    from ingest.formats.import_run import ImportPlan, local_sources
    from ingest.formats.joining.spool import Spool
    from ingest.formats.readers.labels import DICTIONARY

    if values["dictionary"] and not DICTIONARY.fullmatch(values["dictionary"]):
        raise BadRequest(f"--dictionary: '{values['dictionary']}' is not MODEL/SOURCE, as in gpt2-small/8-res-jb")
    module = registry.find_format(name) if name else registry.detect(path)
    options = {option: values[option] for option in READING if values.get(option)} | (
        {"map": mapping} if mapping else {}
    )
    spool = find_beside(store, ".import")
    if values["fresh"]:
        Spool(spool).remove()
    fetch = None
    if hasattr(module, "is_remote") and module.is_remote(path):
        sources, fetch = module.list_remote(path, options, spool / "fetched")
        options["expected"] = path
        described = []
    else:
        files = module.find(path)
        described = [module.describe(str(file), options) for file in files[:MOST_DESCRIBED]]
        sources = local_sources(files)
    if not sources:
        raise NotFound(f"{path} holds no file of the format {module.FORMAT}")
    described.insert(0, f"format {module.FORMAT}: {len(sources):,} file{'s' if len(sources) > 1 else ''}")
    return ImportPlan(
        format=module,
        location=path,
        sources=sources,
        fetch=fetch,
        options=options,
        facts={fact: values[fact] for fact in FACTS},
        spool=spool,
        rejects=Path(values["rejects"]) if values["rejects"] else find_beside(store, ".rejects.jsonl"),
        strict=values["strict"],
        described=tuple(described),
        check_words=not values["any_words"],
    )


def show_report(report: ImportReport) -> None:
    """Print what an import did."""
    for cause, count in report.dropped.items():
        click.echo(f"{count:,} {cause}", err=True)
    for reason, count in report.rejects.items():
        click.echo(f"rejected {count:,}: {reason}", err=True)
    if report.rejects_file:
        click.echo(f"rejected records are in {report.rejects_file}", err=True)
    columns = (
        "dictionary",
        "state",
        "d_sae",
        "features",
        "examples",
        "labels",
        "changed_labels",
        "same_labels",
        "scores",
    )
    rows = [{name: getattr(change, name) for name in columns} for change in report.dictionaries]
    print_table([{**row, "notes": "; ".join(c.notes)} for row, c in zip(rows, report.dictionaries, strict=True)])
    resumed = f", {report.resumed_files:,} of them read before" if report.resumed_files else ""
    done = "nothing new" if report.commit is None else f"commit {report.commit:,}"
    click.echo(f"{report.files:,} files{resumed}; {done}; {report.seconds:.1f} s", err=True)
