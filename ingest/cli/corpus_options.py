"""The options of commands that run a model over a corpus, and the corpus that they select."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featurestore import BadRequest, Progress

if TYPE_CHECKING:
    from ingest.corpus.corpus import Corpus

TEXT_HELP = (
    "Documents: a text file, a directory, a 'pattern/**/*.txt'; rows of FILE.jsonl:COLUMN, FILE.parquet:COLUMN or "
    "hf://OWNER/DATASET#SPLIT:COLUMN with texts or chats; or tokens in FILE.npy:TOKENIZER. Repeatable. "
    "See docs/corpora.md. Without it only results from the weights are stored."
)


def corpus_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --text, --corpus, and the options that say which documents and how: the arguments of `choose_corpus`."""
    options = (
        click.option("--text", "texts", multiple=True, metavar="SOURCE", help=TEXT_HELP),
        click.option("--corpus", "corpus_id", metavar="ID", help="A corpus of the store, instead of --text."),
        click.option("--tokens", type=click.IntRange(1), help="Stop after this many tokens."),
        click.option(
            "--pack",
            type=click.IntRange(2),
            metavar="N",
            help="Join documents with the end-of-text token, and cut them to runs of N tokens.",
        ),
        click.option(
            "--drop-duplicates", is_flag=True, help="Leave out documents that have the same tokens as an earlier one."
        ),
        click.option("--pattern", metavar="GLOB", help="Files to read of a directory, as in '**/*.md'. Default: all."),
        click.option("--limit-documents", type=click.IntRange(1), metavar="N", help="Stop after this many documents."),
        click.option(
            "--on-error",
            type=click.Choice(["stop", "skip", "replace"]),
            default="stop",
            show_default=True,
            help="Documents that cannot be read: stop at the first, leave them out, or replace broken characters.",
        ),
        click.option(
            "--rejects",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Write the documents left out to this file, one JSON object a line.",
        ),
        click.option(
            "--template-var",
            "template_vars",
            multiple=True,
            metavar="NAME=VALUE",
            help="A variable of the chat template, as in date_string='26 Jul 2024'; now=DATE is its clock. Repeatable.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def choose_corpus(
    texts: tuple[str, ...],
    corpus_id: str | None,
    tokens: int | None,
    pack: int | None,
    drop_duplicates: bool,
    pattern: str | None = None,
    limit_documents: int | None = None,
    on_error: str = "stop",
    rejects: Path | None = None,
    template_vars: tuple[str, ...] = (),
) -> Callable[[Any, Any, Progress], Corpus] | None:
    """Returns a function of store, tokenizer and progress that makes the selected corpus; None when none is selected.

    Raises NotFound and BadRequest at once for missing sources and for options that do not go together.
    """
    if texts and corpus_id is not None:
        raise BadRequest("the model is run over --text SOURCE or --corpus ID, not both")
    if not texts and (tokens or pack or drop_duplicates or pattern or limit_documents or template_vars):
        raise BadRequest(
            "--pattern, --limit-documents, --template-var, --tokens, --pack and --drop-duplicates go with --text; a "
            "corpus of the store is taken whole"
        )
    if rejects and on_error == "stop":
        raise BadRequest("--rejects lists documents that are left out: give --on-error skip or replace with it")
    if corpus_id is not None:
        from ingest.corpus.from_store import read_corpus

        return lambda store, tokenizer, progress: read_corpus(store, corpus_id, tokenizer)
    if not texts:
        return None
    from ingest.corpus.chat_template import parse_variables
    from ingest.corpus.corpus import tokenise
    from ingest.corpus.faults import Faults
    from ingest.corpus.sources import documents

    faults = Faults(on_error, rejects)
    variables = parse_variables(template_vars)
    selected = documents(texts, faults, pattern)
    return lambda store, tokenizer, progress: tokenise(
        tokenizer,
        selected,
        tokens,
        pack=pack,
        drop_duplicates=drop_duplicates,
        max_documents=limit_documents,
        faults=faults,
        variables=variables,
        progress=progress,
    )
