"""Prompts as files: those of the package are in this folder, and a user may copy and change them. Knows no model.

A file begins with `name` and `version` between two lines of `---`; a changed text is a new version. The sections
`# System` and `# User` hold the conversation. Words in double braces stand for what is known of a feature.
"""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from featurestore import BadRequest, NotFound

FOLDER = Path(__file__).parent
DEFAULT = "pairs"
JUDGES = FOLDER / "judges"
# What may stand between double braces, and what replaces it, in a prompt that asks for a label
PLACES = {
    "pairs": "texts with active tokens between << and >>, and a list of those tokens with activations from 1 to 10",
    "windows": "texts with active tokens between << and >>",
    "others": "texts on which neighbours of the feature are active and it is not",
    "promoted": "the tokens whose logits the feature raises most",
    "suppressed": "the tokens whose logits it lowers most",
    "density": "the share of tokens it is active on",
}


# and in a prompt that asks to judge a label.
JUDGE_PLACES = {
    "label": "the label",
    "count": "how many texts, or tokens, there are",
    "texts": "the texts, numbered; for fuzzing with tokens between << and >>",
    "tokens": "the tokens of one text, numbered, one a line",
}


class Prompt(NamedTuple):
    """A conversation to fill in. `id` is noted with each label: pairs/1, and of a user's file also its hash."""

    id: str
    name: str
    system: str
    user: str
    about: str
    path: Path

    @property
    def places(self) -> frozenset[str]:
        """The names in its double braces."""
        return frozenset(re.findall(r"\{\{(\w+)\}\}", self.system + self.user))

    def fill(self, values: dict[str, str]) -> list[dict[str, str]]:
        """Return the conversation, with a value for each of its places."""

        def replace(text: str) -> str:
            """Return the text with its places filled in."""
            return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], text)

        return [{"role": "system", "content": replace(self.system)}, {"role": "user", "content": replace(self.user)}]


def list_prompts() -> list[Prompt]:
    """Return the prompts of the package, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.md"))]


def list_judge_prompts() -> list[Prompt]:
    """Return the prompts for judges of the package, one for each method, by name."""
    return [_read(path, judge=True) for path in sorted(JUDGES.glob("*.md"))]


def load(name: str | Path = DEFAULT, judge: bool = False) -> Prompt:
    """Return the prompt of that name or in that file; with `judge` one that asks to judge a label.

    Raises NotFound, or BadRequest for a file that is no prompt.
    """
    known = list_judge_prompts() if judge else list_prompts()
    for prompt in known:
        if name in (prompt.name, prompt.id):
            return prompt
    path = Path(name)
    if not path.is_file():
        names = ", ".join(prompt.name for prompt in known)
        raise NotFound(f"no prompt '{name}': it is neither a file nor one of {names}")
    return _read(path, judge)


@functools.cache
def _read(path: Path, judge: bool = False) -> Prompt:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise BadRequest(f"cannot read the prompt {path}: {exc}") from None
    parts = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text.replace("\r\n", "\n"), re.DOTALL)
    head = dict(re.findall(r"^(\w+):\s*(.*?)\s*$", parts[1], re.MULTILINE)) if parts else {}
    if not parts or not re.fullmatch(r"[\w-]+", head.get("name", "")) or not head.get("version", "").isdigit():
        raise BadRequest(f"{path} is no prompt: it begins with ---, `name: word`, `version: number` and ---")
    sections = re.fullmatch(r"\s*# System\n(.*?)\n# User\n(.*)", parts[2], re.DOTALL)
    if not sections:
        raise BadRequest(f"{path} is no prompt: it has the sections `# System` and `# User`, in this order")
    id = f"{head['name']}/{head['version']}"
    if path.parent not in (FOLDER, JUDGES):
        id += "@" + hashlib.sha256(text.encode()).hexdigest()[:8]
    prompt = Prompt(id, head["name"], sections[1].strip(), sections[2].strip("\n"), head.get("about", ""), path)
    _check_places(prompt, judge)
    return prompt


def _check_places(prompt: Prompt, judge: bool) -> None:
    """Raises BadRequest when a prompt has unknown places, or not those that it needs."""
    path, known = prompt.path, JUDGE_PLACES if judge else PLACES
    unknown = sorted(prompt.places - known.keys())
    if unknown:
        raise BadRequest(f"{path}: {{{{{unknown[0]}}}}} is nothing we know of a feature; there are: {', '.join(known)}")
    if judge and ("label" not in prompt.places or not prompt.places & {"texts", "tokens"}):
        raise BadRequest(
            f"{path} judges nothing: use {{{{label}}}} and {{{{texts}}}}, or {{{{tokens}}}} for simulation"
        )
    if not prompt.places:
        raise BadRequest(f"{path} asks about no feature: use at least one of {', '.join(PLACES)} in double braces")
