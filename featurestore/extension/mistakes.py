"""What a command line that cannot be read was probably meant to say: the option or the command, what there is, how."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click

from featurestore.display.text import nearest_name

# Options by the names that people know from elsewhere. Those that a command has are proposed.
_OTHER_OPTIONS = {
    "-k": ("--limit", "-n", "--top-k", "--topk", "--top", "--count", "--num", "--max"),
    "--limit": ("-k", "-n", "--max", "--count", "--max-rows"),
    "--max-rows": ("--limit", "-k", "-n", "--rows"),
    "--where": ("--filter", "--condition", "--query"),
    "--within": ("--dictionary", "--sae", "--model", "--in"),
    "--dictionary": ("--within", "--sae", "--in"),
    "--json": ("--format", "--output-format", "--jsonl", "-j"),
    "--repair": ("--fix",),
    "--rebuild": ("--force", "-f"),
    "--store": ("--path", "--db", "--database", "--url", "--host", "-s"),
    "--as": ("--explainer",),
    "--methods": ("--method",),
    "--help": ("-?", "--usage"),
    "--weights": ("--sae",),
    "--text": ("--texts", "--corpus", "--dataset"),
}
# Commands likewise; several words where the command stands in a group.
_OTHER_COMMANDS = {
    "search": ("find", "rerank", "query", "keyword", "semantic"),
    "nearest": ("similar", "neighbors", "knn"),
    "feature": ("examples", "show", "get", "page", "scores"),
    "info": ("stats", "status", "coverage", "describe", "ls"),
    "sql": ("select", "features", "vectors", "tables"),
    "label vote": ("vote",),
    "label set": ("set-label", "annotate"),
    "label rule": ("label-rule",),
    "graph": ("graphs",),
    "list": ("lists", "collection", "collections"),
    "remove": ("rm", "delete", "del"),
    "check": ("verify", "validate", "fsck"),
    "serve": ("start", "run", "server", "web", "ui"),
    "import": ("load", "convert", "ingest"),
    "export": ("dump", "save"),
    "--help": ("help",),
}
# And inside groups.
_OTHER_SUBCOMMANDS = {
    "add": ("import", "load", "upload"),
    "create": ("save", "new", "make", "add"),
    "remove": ("rm", "delete", "del"),
    "show": ("get", "view"),
    "list": ("ls", "all"),
    "all": ("ls", "list"),
    "set": ("add", "create"),
    "edit": ("pin", "name", "view"),
}


def explain(error: click.UsageError) -> click.UsageError:
    """Return the error with what was probably meant, what there is, and an example of the command."""
    ctx = error.ctx
    if ctx is None:
        return error
    message = error.message
    if isinstance(error, click.NoSuchOption):
        message = f"no option {error.option_name}{_propose_option(error.option_name, ctx.command)}"
    elif isinstance(error, click.exceptions.NoSuchCommand):
        message = f"no command {error.command_name}{_propose_command(error.command_name, ctx)}"
    elif message.startswith("Got unexpected extra argument"):
        message = f"{message.rstrip('.')}: {_say_arguments(ctx.command, message)}"
    else:
        message = error.format_message()
    example = _find_example(ctx.command)
    return click.UsageError(message + (f"\nExample: {example}" if example else ""), ctx)


def _propose_option(given: str, command: click.Command) -> str:
    names = [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
    options = [name for name in names if name.startswith("-")]
    by_word = {option.lstrip("-"): option for option in options}
    alike = nearest_name(given.lstrip("-"), by_word)
    meant = _find_other(given, _OTHER_OPTIONS, options) or (by_word[alike] if alike else None)
    question = f", did you mean {meant}?" if meant else ";"
    return f"{question} there are: {', '.join(options)}"


def _propose_command(given: str, ctx: click.Context) -> str:
    group = ctx.command
    names = group.list_commands(ctx) if isinstance(group, click.Group) else []
    if ctx.parent is None:
        firsts = [*names, "--help", *(name for name in _OTHER_COMMANDS if name.partition(" ")[0] in names)]
        meant = _find_other(given, _OTHER_COMMANDS, firsts) or nearest_name(given, names)
    else:
        by_id = "set" if "set" in names and given.count("/") == 2 else None  # label ID TEXT
        meant = by_id or _find_other(given, _OTHER_SUBCOMMANDS, names) or nearest_name(given, names)
        meant = f"{ctx.info_name} {meant}" if by_id else meant
    question = f", did you mean {meant}?" if meant else ";"
    return f"{question} there are: {', '.join(names)}"


def _find_other(given: str, others: dict[str, tuple[str, ...]], there: Iterable[str]) -> str | None:
    return next((name for name in there if given.lower() in others.get(name, ())), None)


def _say_arguments(command: click.Command, message: str) -> str:
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    if not arguments:
        return f"{command.name} takes options alone"
    names = " ".join(argument.make_metavar(click.Context(command)) for argument in arguments)
    extra = re.search(r"\((\d+)\)", message)
    if extra and names == "ID":
        return f"{command.name} takes one id, which ends in its index: model/source/{extra[1]}"
    if names == "ID":
        return f"{command.name} takes one {names}"
    return f"{command.name} takes {names}; put a text of several words into quotes"


def _find_example(command: click.Command) -> str | None:
    """Return the first example in the help of a command, on one line."""
    one = r"Examples?:[\s\x08]*(featurestore .*?)(?:\n\s*\n|\n\s*featurestore |\Z)"
    found = re.search(one, command.help or "", re.DOTALL)
    return " ".join(found[1].split()) if found else None
