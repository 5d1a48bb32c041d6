"""The options of commands that run a model over a corpus, and the corpus that they select."""

from __future__ import annotations

from collections.abc import Callable
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
    """Adds --text, --corpus, --tokens, --pack and --drop-duplicates, the arguments of `choose_corpus`."""
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
) -> Callable[[Any, Any, Progress], Corpus] | None:
    """Returns a function of store, tokenizer and progress that makes the selected corpus; None when none is selected.

    Raises NotFound and BadRequest at once for missing sources and for options that do not go together.
    """
    if texts and corpus_id is not None:
        raise BadRequest("the model is run over --text SOURCE or --corpus ID, not both")
    if not texts and (tokens or pack or drop_duplicates):
        raise BadRequest("--tokens, --pack and --drop-duplicates go with --text; a corpus of the store is taken whole")
    if corpus_id is not None:
        from ingest.corpus.from_store import read_corpus

        return lambda store, tokenizer, progress: read_corpus(store, corpus_id, tokenizer)
    if not texts:
        return None
    from ingest.corpus.corpus import tokenise
    from ingest.corpus.sources import documents

    selected = documents(texts)
    return lambda store, tokenizer, progress: tokenise(
        tokenizer, selected, tokens, pack=pack, drop_duplicates=drop_duplicates, progress=progress
    )
