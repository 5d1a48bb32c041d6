"""Command lines that people type: the answer names what was meant, what there is, and an example."""

import re

import pytest

from featurestore.cli.main import main
from featurestore.extension import mistakes

MISTAKES = {
    "serch x": "no command serch, did you mean search? there are: activating, attach-weights, check,",
    "search x --limit 3": "no option --limit, did you mean -k? there are: ",
    "search x -n 3": "no option -n, did you mean -k?",
    "search x --top-k 3": "no option --top-k, did you mean -k?",
    "search x --filter a": "no option --filter, did you mean --where?",
    "search x --dictionary a": "no option --dictionary, did you mean --within?",
    "search x --format csv": "no option --format, did you mean --json?",
    "search x --jsno": "no option --jsno, did you mean --json?",
    "search raise extra": "search takes TEXT; put a text of several words into quotes",
    "feature tiny/0-res 17": "feature takes one id, which ends in its index: model/source/17",
    "label tiny/0-res/17 text": "no command tiny/0-res/17, did you mean label set? there are: ",
    "search": "Missing argument 'TEXT'.\nExample: featurestore search ",
    "sql x --limit 3": "no option --limit, did you mean --max-rows?",
    "activating x --within a": "no option --within, did you mean --dictionary?",
    "check --fix": "no option --fix, did you mean --repair?",
    "score --method x": "no option --method, did you mean --methods?",
    "label --explainer x": "no option --explainer, did you mean --as?",
    "contrast a b": "contrast takes options alone\nExample: featurestore contrast --text",
    "vote a b 1": "no command vote, did you mean label vote?",
    "rerank x": "no command rerank, did you mean search?",
    "examples a": "no command examples, did you mean feature?",
    "stats": "no command stats, did you mean info?",
    "rm a": "no command rm, did you mean remove?",
    "help": "no command help, did you mean --help?",
    "graph import x": "no command import, did you mean add?",
    "graph lst": "no command lst, did you mean list?",
    "list save x": "no command save, did you mean create?",
    "list rm x": "no command rm, did you mean remove?",
    "harvest": "Missing option '--weights'.\nExample: featurestore harvest ",
    "compact --force": "no option --force; there are: ",
    "serve --port 99999": "99999 is not in the range 0<=x<=65535.",
    "mcp --transport tcp": "'tcp' is not one of 'stdio', 'http'.",
    "export parquet x": "'parquet' is not one of 'labels', 'neuronpedia',",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_natural_mistake_is_told_what_was_meant(invoke, line):
    result = invoke(main, line.split())
    assert result.exit_code == 2
    assert MISTAKES[line] in result.output


def test_every_name_that_is_proposed_is_there():
    commands = {name: main.get_command(None, name) for name in main.list_commands(None)}
    for name in set(mistakes._OTHER_COMMANDS) - {"--help"}:
        first, _, second = name.partition(" ")
        assert first in commands and (not second or second in commands[first].commands)
    every = [*commands.values()]
    every += [each for command in commands.values() for each in getattr(command, "commands", {}).values()]
    options = {option for command in every for parameter in command.params for option in parameter.opts} | {"--help"}
    assert set(mistakes._OTHER_OPTIONS) <= options
    inside = {name for command in commands.values() for name in getattr(command, "commands", {})}
    assert set(mistakes._OTHER_SUBCOMMANDS) <= inside


def test_examples_are_taken_from_the_help():
    for name in ("search", "nearest", "sql", "feature", "harvest", "label", "import"):
        example = mistakes._find_example(main.get_command(None, name))
        assert example and re.fullmatch(r"featurestore \S.*", example) and example.count("featurestore ") == 1
