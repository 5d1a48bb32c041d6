"""Prompts as files: the ones that come with the package lie beside this module, and a user may copy and change them.

A file begins with `name` and `version` between two lines of `---`; a changed text is a new version. The sections
`# System` and `# User` hold the conversation, in which {{words}} stand for what is known of a feature:
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
# What may stand between double braces, and what is put there: in a prompt that asks for a label,
PLACES = {
    "pairs": "texts with active tokens between << and >>, and a list of those tokens with activations from 1 to 10",
    "windows": "texts with active tokens between << and >>",
    "others": "texts on which neighbours of the feature are active and it is not",
    "promoted": "the tokens whose logits the feature raises most",
    "suppressed": "the tokens whose logits it lowers most",
    "density": "the share of tokens it is active on",
}


# and in one that asks to judge a label.
JUDGED = {
    "label": "the label",
    "count": "how many texts, or tokens, there are",
    "texts": "the texts, numbered; for fuzzing with tokens between << and >>",
    "tokens": "the tokens of one text, numbered, one a line",
}


class Prompt(NamedTuple):
    """A conversation to fill in. `id` is what a label says it was made with: pairs/1; of a user's file also its hash."""

    id: str
    name: str
    system: str
    user: str
    about: str
    path: Path

    @property
    def places(self) -> frozenset[str]:
        """What it wants to know of a feature, of PLACES."""
        return frozenset(re.findall(r"\{\{(\w+)\}\}", self.system + self.user))

    def fill(self, values: dict[str, str]) -> list[dict[str, str]]:
        """The conversation, with a value for each of its places."""

        def fill(text: str) -> str:
            return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], text)

        return [{"role": "system", "content": fill(self.system)}, {"role": "user", "content": fill(self.user)}]


def shipped() -> list[Prompt]:
    """The prompts that come with the package, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.md"))]


def judges() -> list[Prompt]:
    """The prompts for judges that come with the package, one for each method, by name."""
    return [_read(path, judge=True) for path in sorted(JUDGES.glob("*.md"))]


def load(name: str | Path = DEFAULT, judge: bool = False) -> Prompt:
    """The prompt of that name, or in that file; `judge`: one that asks to judge a label. Raises NotFound or BadRequest."""
    known = judges() if judge else shipped()
    for one in known:
        if name in (one.name, one.id):
            return one
    path = Path(name)
    if not path.is_file():
        names = ", ".join(one.name for one in known)
        raise NotFound(f"no prompt '{name}': it is neither a file nor one of {names}")
    return _read(path, judge)


@functools.cache
def _read(path: Path, judge: bool = False) -> Prompt:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise BadRequest(f"cannot read the prompt {path}: {exc}") from None
    found = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text.replace("\r\n", "\n"), re.DOTALL)
    head = dict(re.findall(r"^(\w+):\s*(.*?)\s*$", found[1], re.MULTILINE)) if found else {}
    if not found or not re.fullmatch(r"[\w-]+", head.get("name", "")) or not head.get("version", "").isdigit():
        raise BadRequest(f"{path} is no prompt: it begins with ---, `name: word`, `version: number` and ---")
    sections = re.fullmatch(r"\s*# System\n(.*?)\n# User\n(.*)", found[2], re.DOTALL)
    if not sections:
        raise BadRequest(f"{path} is no prompt: it has the sections `# System` and `# User`, in this order")
    id = f"{head['name']}/{head['version']}"
    if path.parent not in (FOLDER, JUDGES):
        id += "@" + hashlib.sha256(text.encode()).hexdigest()[:8]
    made = Prompt(id, head["name"], sections[1].strip(), sections[2].strip("\n"), head.get("about", ""), path)
    known = JUDGED if judge else PLACES
    unknown = sorted(made.places - known.keys())
    if unknown:
        raise BadRequest(f"{path}: {{{{{unknown[0]}}}}} is nothing we know of a feature; there are: {', '.join(known)}")
    if judge and ("label" not in made.places or not made.places & {"texts", "tokens"}):
        raise BadRequest(
            f"{path} judges nothing: use {{{{label}}}} and {{{{texts}}}}, or {{{{tokens}}}} for simulation"
        )
    if not made.places:
        raise BadRequest(f"{path} asks about no feature: use at least one of {', '.join(PLACES)} in double braces")
    return made
