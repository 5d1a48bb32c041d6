"""The label in a text that was meant as one JSON object and is none: its quotes, its colon or its braces are wrong.

Pure. Reads what can be meant in one way only: a text of one member, or whose first member stands in whole quotes.
"""

from __future__ import annotations

import re

_OPEN, _CLOSE = "[{(\\[｛]", "[})\\]｝]"
_QUOTE = "[\"'“”„‘’«»`]"
_NAME = rf"(?:{_OPEN}|dict\()?\s*(?P<before>{_QUOTE}*)\s*label\s*(?P<after>{_QUOTE}*+)"
_SEPARATOR = r"\s*(?P<separator>=>|[:：=]{1,2})?\s*"
# {label: closing brackets}, ("label": "closing brackets"), {"label": "closing brackets]
_ALONE = re.compile(
    rf"\s*{_NAME}{_SEPARATOR}(?P<open>(?:[urfb]{{1,2}}(?=[\"']))?{_QUOTE}*+)(?P<label>[^\"“”„«»{{}}\n\\]+?)"
    rf"(?P<close>{_QUOTE}*)\s*[,;]?\s*(?P<end>{_CLOSE}*)[,;.]?\s*",
    re.IGNORECASE,
)
# {"label": "closing brackets", ...}
_FIRST = re.compile(
    rf"\s*[{{｛]\s*{_QUOTE}?label{_QUOTE}?\s*[:：=]\s*(?P<quote>[\"'])(?P<label>[^\"'{{}}\n\\]+)(?P=quote)"
    rf"\s*(?:[,，;]|(?=[\"']\w)).*[}}｝]\s*",
    re.IGNORECASE | re.DOTALL,
)
_LABEL_KEY = re.compile(rf"label{_QUOTE}\s*[:：=]", re.IGNORECASE)
MAX_LENGTH = 2000  # characters of a text that is read so


def find_broken_label(text: str) -> str | None:
    """Return the label of a broken object; None where the text is no such object, or may be an unfinished one."""
    if len(text) > MAX_LENGTH:
        return None
    if '\\"' in text and '"' not in text.replace('\\"', ""):
        text = text.replace('\\"', '"').replace("\\n", "\n")
    # Blanks may belong to each part of the pattern, and long runs of them would be tried in every way.
    text = re.sub(r"[^\S\n]+", " ", re.sub(r"\s*\n\s*", "\n", text))
    match = _ALONE.fullmatch(text)
    if match:
        begun, named = text.lstrip()[0] in "{([｛", bool(match["before"] or match["after"])
        quoted = bool(match["open"] and match["close"])
        ended = bool(match["end"])
        whole = (begun or named or text.lstrip().lower().startswith("dict(")) and (quoted or (begun and ended))
        if whole and (match["separator"] or quoted) and not _runs_on(match["label"], quoted):
            return match["label"].strip()
    match = _FIRST.fullmatch(text)
    if match and len(_LABEL_KEY.findall(text)) == 1:
        return match["label"]
    return None


def _runs_on(label: str, quoted: bool) -> bool:
    """Whether a label without quotes goes on with another member."""
    return not quoted and bool(re.search(r",\s*\w+\s*[:：=]", label))
