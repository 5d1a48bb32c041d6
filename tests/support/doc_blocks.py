"""The code blocks of the documentation, and what runs them as their reader would."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from werkzeug.serving import make_server

from tests.support import ROOT

FENCE = re.compile(r"^```(\w*)(?: not-run: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What a block may be; text is nothing to run.
LANGUAGES = {"python", "sh", "console", "sql", "text"}
# Where the documentation's service and model are; ours are elsewhere.
SERVICE = re.compile(r"http://(?:127\.0\.0\.1|localhost):8000")
ENDPOINT = "http://localhost:8080/v1"


class Block(NamedTuple):
    """A fenced block: where it begins, its language, its text, and why it is not run, if so."""

    line: int
    language: str
    text: str
    reason: str | None


def files() -> list[Path]:
    """The files whose blocks are run."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a file, in order."""
    text = path.read_text("utf-8")
    return [
        Block(text[: found.start()].count("\n") + 1, found[1], found[3], found[2]) for found in FENCE.finditer(text)
    ]


class Reader:
    """Runs the blocks of one page in order, in the current directory: Python in one namespace, commands in this
    process."""

    def __init__(self, invoke: Callable[..., Any], setenv: Callable[[str, str], None], endpoint: str):
        """`invoke` runs a click command; `endpoint` is the URL of a language model."""
        self._invoke = invoke
        self._setenv = setenv
        self._endpoint = endpoint
        self._names: dict[str, Any] = {}
        self._served: list[tuple[Any, threading.Thread, Any]] = []
        self._url = ""

    def run(self, block: Block, where: str) -> None:
        """Run a block; what goes wrong in it is an AssertionError or its own error."""
        if block.language == "python":
            # As many lines in front as the file has: a traceback then shows the place.
            exec(compile("\n" * block.line + self._here(block.text), where, "exec"), self._names)
        elif block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                self._command(line)
        elif block.language == "console":
            self._console(block.text)
        elif block.language == "sql":
            self._sql(block.text)

    def close(self) -> None:
        """End what was started."""
        for server, thread, store in self._served:
            server.shutdown()
            thread.join(10)
            server.server_close()
            store.close()

    def _here(self, text: str) -> str:
        return (
            SERVICE.sub(self._url, text).replace(ENDPOINT, self._endpoint)
            if self._url
            else text.replace(ENDPOINT, self._endpoint)
        )

    def _command(self, line: str) -> str:
        line = self._here(line).strip()
        words = shlex.split(line, comments=True)
        if not words:
            return ""
        assigned = re.fullmatch(r"(?:export )?(\w+)=(\$\((.*)\)|\S*)", line)
        if assigned:
            # Where our object store is, its fixture has said already.
            if not assigned[1].startswith("AWS_"):
                self._setenv(assigned[1], self._command(assigned[3]).strip() if assigned[3] else assigned[2])
            return ""
        if words[:2] == ["featurestore", "serve"]:
            return self._serve(words[2:])
        if words[0] == "featurestore" and not {">", "|", "<"} & set(words):
            return self._featurestore([os.path.expandvars(word) for word in words[1:]])
        line = re.sub(r"^curl ", "curl --silent --show-error --fail-with-body ", line)
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, timeout=300, env=self._environment()
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _featurestore(self, arguments: list[str]) -> str:
        from featurestore.cli.main import main

        done = self._invoke(main, arguments, input="y\n")  # to what a command asks before it removes something
        assert done.exit_code == 0, f"featurestore {arguments}\n{done.output}\n{done.exception!r}"
        return done.stdout

    def _serve(self, arguments: list[str]) -> str:
        """What the command would serve, by its own options, from a thread and at a port that is free."""
        import featurestore
        from featurestore import web
        from featurestore.cli import serve

        options = serve.serve.make_context("serve", arguments).params
        store = featurestore.connect(options["store"])
        settings = web.Settings(
            keys=web.keys_of(options["keys"]),
            hosts=web.trusted_hosts(options["host"], options["allow_host"]),
            writes=options["allow_writes"],
            compat=frozenset(options["compat"]),
        )
        server = make_server(options["host"], 0, web.create_app(store, settings), threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self._served.append((server, thread, store))
        self._url = f"http://{options['host']}:{server.server_port}"
        return ""

    def _environment(self) -> dict[str, str]:
        return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def _console(self, text: str) -> None:
        """Commands after `$`; their output begins as it is shown: a table with these headings.

        The demo of the tests is harvested from fewer tokens, so its rows are others.
        `python -m tests.docs.record_blocks demo.features` writes what the whole demo prints.
        """
        for shown, printed in zip(_split_commands(text), _split_commands(self.record(text)), strict=True):
            assert shown[1][:1] == printed[1][:1], shown[0]

    def record(self, text: str) -> str:
        """A block of commands after `$`, with what they print now."""
        pieces = []
        for command, output in _split_commands(text):
            lines = [line.rstrip() for line in self._command(command).rstrip().split("\n")]
            pieces.append("\n".join([f"$ {command}", *(lines if output else [])]) + "\n")
        return "\n".join(pieces)

    def _sql(self, text: str) -> None:
        import featurestore

        with featurestore.connect("demo.features") as store:
            assert store.sql(text).num_columns > 0


def _split_commands(text: str) -> list[tuple[str, list[str]]]:
    """The commands after `$` of a block, each with the lines of its output, in which spaces are one."""
    pieces = [shown.partition("\n") for shown in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]
    return [
        (command, [" ".join(line.split()) for line in output.strip().splitlines()]) for command, _, output in pieces
    ]
