"""Marks around the tokens of a text, as prompts show them: << and >>. Pure: knows nothing of features."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_BEGIN, _END = "\ue000", "\ue001"  # of a private area: no text that anybody reads has them
_DOUBLED = re.compile(r"<(?=<)|>(?=>)")


def mark_tokens(tokens: Sequence[str], marked: Collection[int]) -> str:
    """Return the text of the tokens, those at the positions in `marked` between << and >>.

    Where the text has << or >> of its own, also over several tokens, a space parts the two characters, so that only
    marks look like marks.
    """
    clean = [token.replace(_BEGIN, "").replace(_END, "") for token in tokens]
    text = "".join(f"{_BEGIN}{token}{_END}" if at in marked else token for at, token in enumerate(clean))
    # Marks between two characters keep these from being one pair: "<" marked and then "<" is <<<>>< otherwise.
    text = _DOUBLED.sub(lambda match: f"{match[0]} ", text)
    text = re.sub(f"<(?=[{_BEGIN}{_END}])|(?<=[{_BEGIN}{_END}])<", _part_from_mark, text)
    text = re.sub(f">(?=[{_BEGIN}{_END}])|(?<=[{_BEGIN}{_END}])>", _part_from_mark, text)
    return text.replace(_BEGIN, "<<").replace(_END, ">>")


def _part_from_mark(match: re.Match[str]) -> str:
    """An angle bracket beside a mark, with a space on the mark's side."""
    before = match.start() > 0 and match.string[match.start() - 1] in (_BEGIN, _END)
    after = match.end() < len(match.string) and match.string[match.end()] in (_BEGIN, _END)
    return f"{' ' if before else ''}{match[0]}{' ' if after else ''}"
