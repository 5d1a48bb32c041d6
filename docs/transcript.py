"""Makes the transcript in docs/howto/assistants.md anew: `python docs/transcript.py demo.features`.

Each call of the page's transcript is asked of `featurestore mcp` by the client of the package mcp; the answers are
written as they came, but for the ends of lines, and for what is longer than SHOWN characters.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters

PAGE = Path(__file__).parent / "howto" / "assistants.md"
BLOCK = re.compile(r"^```text\n(> .*?)^```$", re.MULTILINE | re.DOTALL)
COLUMNS = 118
SHOWN = 1000  # characters of an answer; more than that is cut with an ellipsis


class Call(NamedTuple):
    """A call of a tool, and the answer that the page shows."""

    tool: str
    arguments: dict[str, Any]
    answer: str


def read_calls(text: str) -> list[Call]:
    """Return the calls of a page's transcript, each with its answer in one line."""
    (block,) = BLOCK.findall(text)
    calls = []
    for part in re.split(r"^> ", block, flags=re.MULTILINE)[1:]:
        lines = part.rstrip("\n").split("\n")
        first = next(number for number, line in enumerate(lines) if line.startswith("{"))
        tool, _, arguments = _join(lines[:first]).partition(" ")
        calls.append(Call(tool, json.loads(arguments), _join(lines[first:])))
    return calls


def _join(lines: Sequence[str]) -> str:
    """Return lines as one; each but the first begins with a space that is not its own."""
    return lines[0] + "".join(line[1:] for line in lines[1:])


def ask(calls: Sequence[Call], server: Any) -> list[str]:
    """Return the text of each call's answer, asked in one session. Raises ValueError for a call that is refused."""

    async def _ask() -> list[Any]:
        async with Client(server) as client:
            return [await client.call_tool(call.tool, call.arguments) for call in calls]

    texts = []
    for call, result in zip(calls, anyio.run(_ask), strict=True):
        text = result.content[0].text
        if result.is_error:
            raise ValueError(f"{call.tool} {call.arguments}: {text}")
        texts.append(text)
    return texts


def write_transcript(text: str, answers: Sequence[str]) -> str:
    """Return a page's text with new answers to the calls of its transcript."""
    parts = []
    for call, answer in zip(read_calls(text), answers, strict=True):
        asked = f"> {call.tool} {json.dumps(call.arguments, ensure_ascii=False)}"
        shown = answer if len(answer) <= SHOWN else answer[:SHOWN] + "…"
        parts.append(_fold(asked) + "\n" + _fold(shown) + "\n")
    block = "```text\n" + "\n".join(parts) + "```"
    return BLOCK.sub(lambda _: block, text)


def _fold(text: str) -> str:
    """Return a text in lines of at most COLUMNS, broken behind commas or spaces; each but the first begins with one."""
    lines = []
    while len(text) > COLUMNS:
        end = 1 + max(text.rfind(mark, 0, COLUMNS) for mark in (",", " "))
        while text[end - 1] == " ":  # no line ends with a space
            end -= 1
        lines.append(text[:end])
        text = " " + text[end:]
    return "\n".join([*lines, text])


def main() -> None:
    """Write the page's transcript, of the store that the command line names."""
    text = PAGE.read_text("utf-8")
    command = ["-m", "featurestore.cli", "mcp", "--store", sys.argv[1]]
    answers = ask(read_calls(text), StdioServerParameters(command=sys.executable, args=command))
    PAGE.write_text(write_transcript(text, answers), "utf-8")


if __name__ == "__main__":
    main()
