"""A label in a reply without JSON, and what stands around a label: quotation marks, Markdown, a preamble. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from featurestore.extension.text import find_problem
from labeler.llm.completions import UnreadableReply
from labeler.replies.refusals import is_refusal

MAX_LABEL = 300  # characters; a longer reply is no label
MAX_BLOCK = 50  # lines of a block of YAML
MAX_LINE = 2000  # of a line that may name the label
EMPTY_LABEL, PLACEHOLDER, SEVERAL_LINES = "empty label", "the form without an answer", "several lines without a label"
_BLANKS = re.compile("[ \t\n\r\v\f\x1c-\x1f\x85\u2028\u2029]+")  # no-break and ideographic spaces are text
_PAIRS = {
    '"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "„": "“”", "「": "」", "『": "』", "《": "》", "‹": "›",
    "”": "”", "»": "«", "›": "‹", "‚": "‘’",
}  # fmt: skip
_LABEL_NAMES = (
    "label|标签|標籤|标记|ラベル|라벨|레이블|étiquette|etiqueta|etichetta|etikett?e?|rótulo|метка|ярлык|мітка|etykieta|"
    "العلامة|التسمية|برچسب|לייבל|תווית|लेबल|nhãn|ป้ายกำกับ"
)
FOREIGN_NAMES = tuple(name for name in _LABEL_NAMES.split("|")[1:] if "?" not in name)
_ANSWER_NAMES = "answer|output|response|result|réponse|respuesta|antwort|risposta|resposta|ответ|答案|回答|답"
# What stands before the name: marks of lists, emphasis, emoji; never an opening quotation mark or bracket.
_NAMED_LINE = re.compile(
    r"^[^\w\"'“”‘’`<({\[«「『]*+(?:\d+[.)][\s*_]*+)?_*+(?:(?:final|short|best|my|the|your|feature|suggested|proposed|new|revised)\s)*"
    rf"(?P<name>{_LABEL_NAMES}|{_ANSWER_NAMES}|final|explanation|description)[\s*_`\"]*"
    r"(?P<separator>:|：|=(?!=)|→|⇒|->|\s[-–—]\s)(?:[*_]{1,3}(?=\s))?\s*(?:[*_]{1,3}(?!.*[*_]\s*$))?(?P<value>.*)$",
    re.IGNORECASE,
)
_LABEL, _ANSWER, _FINAL, _EXPLANATION = (
    re.compile(names, re.IGNORECASE) for names in (_LABEL_NAMES, _ANSWER_NAMES, "final", "explanation|description")
)
_PREAMBLE = re.compile(
    r"^(?:(?:sure|certainly|of course|okay|ok|great)\b[!,.:]*\s*)?(?:here(?:['’]s| is| are)\b\s*)?"
    r"(?:(?:the|a|my|your)\s+)?(?:[\w-]+\s+){0,3}?(?:label|explanation|description|phrase|answer|json)\b[^:：]{0,60}[:：]\s*",
    re.IGNORECASE,
)
_AGREEMENT = re.compile(r"^(?:sure|certainly|of course|okay|ok|great)(?:\s*[:!]\s+)(?=\S)", re.IGNORECASE)
_LABEL_IS = re.compile(
    r"^(?:(?:the|my) (?:\w+ )?(?:label|answer) (?:is|would be)|i(?:['’]d| would)(?: \w+)? (?:label|call|describe|name)"
    r" (?:it|this)(?: \w+)?(?: as)?)(?:\s+(?=[\"'`“‘«*])|\s*:\s+)",
    re.IGNORECASE,
)
_FENCE = re.compile(r"```[\w+-]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_TAGGED = re.compile(
    r"<(label|answer|final_answer|response|output|result|explanation|final|json)>"
    # Without its end it is the name of a tag in a sentence, where a space follows.
    r"(?=(?! )|.{0,2000}</\1\s*>)(.*?)(?:</\1\s*>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_SOLUTION = re.compile(r"<\|begin_of_(?:solution|box)\|>(.*?)(?:<\|end_of_(?:solution|box)\|>|\Z)", re.DOTALL)
_RESPONSE = re.compile(r"<\|START_(?:RESPONSE|TEXT|ACTION)\|>(.*?)(?:<\|END_\w+\|>|\Z)", re.DOTALL)
_BOXED = re.compile(r"\\boxed\{(?:\\(?:text|math)\w*\{)?(.*?)\}?\}\$*\s*\Z", re.DOTALL)
# A sign that a sentence goes on about is no mark of a list: "- as a minus sign".
_LIST_MARK = re.compile(
    r"^(?:[-*•–>👉✅🔑🏷]|➡️?|🏷️|#{1,6}|1[.)])\s+(?=\S)(?!(?:in|at|as|before|after|and|or|for|of|to|with|within|between|inside|used|"
    r"from|on|when|where|that|which|by|signs?|marks?|emojis?|symbols?|pictographs?|arrows?)\b)"
)
_ELEMENT = re.compile(
    r"<(b|i|u|em|strong|p|code|span|div|mark|pre|h[1-6])(?:\s[^<>]*)?>\s*([^<>]+?)\s*</\1\s*>", re.IGNORECASE
)
_EMPHASIS_TAG = re.compile(r"</?(?:b|i|u|em|strong)>", re.IGNORECASE)
_BLOCK_MARK = re.compile(r"[>|][-+]?")  # of YAML: the value is on the next lines, which are indented
_PARAMETER = re.compile(
    r"<parameter(?:\s+name)?\s*=\s*[\"']?label[\"']?\s*>(.*?)(?:(?P<end></parameter\s*>)|\Z)", re.DOTALL | re.IGNORECASE
)
_ATTRIBUTE = re.compile(r"<label\s+(?:value|text|name)\s*=\s*([\"'])([^\"'<>]+)\1\s*/?>(?:</label>)?", re.IGNORECASE)
# What a table has beside a label
_COLUMN = re.compile(
    r"(?:short |my |the |brief )?(?:explanations?|descriptions?|scores?|confidence(?: score| level)?|reason(?:ing|s)?|"
    r"rationale|values?|notes?|evidence|examples?|justification|certainty|rating|probability|comments?|details?|"
    r"features?|answer)",
    re.IGNORECASE,
)
_FORM = re.compile(r"[<\[{(]+\s*(?:[\w'’.,-]+\s+){0,6}[\w'’.,-]+\s*[>\]})]+")
_SIGNS = frozenset(["", "_", "<", ">", "[", "]", "[]", "<>", ".", "<<", ">>", "__", "..", "[[", "]]"])
EMPTY_STRINGS = frozenset(["''", '""', "``", "“”", "‘’", "«»", "「」"])
_FORM_WORDS = re.compile(r"\b(label|phrase|text|description|your|here|string|explanation|answer|placeholder|insert)\b")
_FORM_NAMES = frozenset(
    [
        "label",
        "your label",
        "your label here",
        "label here",
        "the label",
        "your answer",
        "your phrase",
        "a label",
        "short phrase",
        "your short phrase",
        "insert label here",
        "one short phrase",
        "your explanation",
        "insert your label",
        "a short phrase",
        "one phrase",
        "the label of the feature",
        "your label goes here",
        "$label",
        "%s",
        "<string>",
        "<str>",
    ]
)


def unwrap(text: str) -> str:
    """Return the answer of a reply that wraps it in tags, in a box or in a fence; else the text."""
    attribute = _ATTRIBUTE.fullmatch(text)
    text = attribute[2] if attribute else text
    for pattern, group in ((_RESPONSE, 1), (_SOLUTION, 1), (_TAGGED, 2), (_TAGGED, 2), (_PARAMETER, 1)):
        # A search for an end that is not there would begin anew at each parameter.
        matches = [match for match in pattern.finditer(text) if pattern is not _PARAMETER or match["end"]]
        if matches and matches[-1][group].strip():
            text = matches[-1][group].strip()
    boxed = _BOXED.search(text) if text.rstrip().rstrip("$").endswith("}") else None
    text = boxed[1].strip() if boxed else text
    fenced = [match[1].strip() for match in _FENCE.finditer(text)]
    return next((body for body in reversed(fenced) if body), _FENCE.sub("", text)) if fenced else text


def read_plain_label(text: str) -> str:
    """Return the label in a reply that holds no JSON: its only line, or the line that is called label.

    Raises UnreadableReply.
    """
    text = unwrap(text)
    if is_refusal(text):
        raise UnreadableReply("refusal")
    if len(_BLANKS.sub(" ", text)) > MAX_LABEL and not _find_named(text, _LABEL):
        raise UnreadableReply("reply too long for a label")
    return finish_label(_choose_line(text))


def _choose_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip().strip("*_#-`=")]
    named = _find_named(text, _LABEL) or _find_named(text, _ANSWER)[-1:]
    named = named or (_find_named(text, _FINAL)[-1:] if len(lines) > 1 else [])
    named = named or (_find_named(text, _EXPLANATION) if len(lines) <= 2 else [])
    named = named or _find_in_table(lines)
    if named:
        if len({finish_label(value) for value in named}) > 1:
            raise UnreadableReply("answers that differ")
        return named[-1]
    if len(lines) == 2 and (re.search("[:：][*_]*$", lines[0]) or _LABEL.fullmatch(lines[0].strip("#*_ "))):
        return lines[1]
    if len(lines) > 1:
        raise UnreadableReply(SEVERAL_LINES)
    if not lines:
        raise UnreadableReply(EMPTY_LABEL)
    line = _LABEL_IS.sub("", _AGREEMENT.sub("", lines[0]))
    shortened = _PREAMBLE.sub("", line, count=1)
    return (shortened or line) if shortened != line and line.lower().startswith(_PREAMBLE_WORDS) else line


_PREAMBLE_WORDS = (
    "sure",
    "certainly",
    "of course",
    "ok",
    "great",
    "here",
    "the ",
    "a ",
    "my ",
    "your ",
    "label",
    "json",
)


def _find_named(text: str, names: re.Pattern[str]) -> list[str]:
    """Return what stands on the lines that are called one of `names`, or below them where they are headings."""
    lines = [line for line in text.splitlines() if line.strip() and len(line) <= MAX_LINE]
    values = []
    for number, line in enumerate(lines):
        match = _NAMED_LINE.match(_strip_emphasis(_EMPHASIS_TAG.sub("", line).strip()))
        if match and names.fullmatch(match["name"]) and _may_follow(match, names):
            value = match["value"].strip().removesuffix("<br>")
            if _BLOCK_MARK.fullmatch(value):
                value = _join_block(line, lines[number + 1 : number + 1 + MAX_BLOCK]) or value
            value = value or (lines[number + 1].strip() if number + 1 < len(lines) else "")
            values += [value] if value else []
    return values


def _join_block(line: str, below: Sequence[str]) -> str:
    """Return the lines below a line that are indented by more than it is, as one line; "" where the next one is not."""
    block = itertools.takewhile(lambda other: _count_indent(other) > _count_indent(line), below)
    return " ".join(other.strip() for other in block)


def _count_indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _may_follow(match: re.Match[str], names: re.Pattern[str]) -> bool:
    """Whether what stands after a name is its value: after an equals sign a word of code, where it has no quotes."""
    quoted = match["separator"] == "=" and strip_pair(match["value"].strip()) != match["value"].strip()
    return names is _LABEL or match["separator"] in ":：" or quoted


def _find_in_table(lines: Sequence[str]) -> list[str]:
    """What a table of Markdown has in its column, or in its row, that is called label."""
    rows = [[cell.strip(" *_`") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    rows = [row for row in rows if any(cell.strip("-: ") for cell in row)]
    heads = len(lines) > 1 and _is_column_head(rows)
    values = [row[1] for row in rows[heads:] if len(row) == 2 and _LABEL.fullmatch(row[0])]
    columns = [number for number, name in enumerate(rows[0]) if _LABEL.fullmatch(name)] if rows else []
    return values or [row[columns[0]] for row in rows[1:] if columns and len(row) == len(rows[0])]


def _is_column_head(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of a table's rows names its columns: `| Label | Score |`, but not `| Label | names |`."""
    if not rows or len(rows[0]) != 2:
        return False
    return bool(_COLUMN.fullmatch(rows[0][1])) or any(not _COLUMN.fullmatch(row[0]) for row in rows[1:])


def find_answers(text: str) -> list[str]:
    """Return the labels that lines of a text give by name, as below an object that was not the last word."""
    values = _find_named(text, _LABEL) or _find_named(text, _ANSWER)
    return [finish_label(value) for value in values if not is_placeholder(value)]


def finish_label(text: str, *, of_json: bool = False) -> str:
    """Return the label without what stands around it; a string of JSON has no marks of lists around it.

    Raises UnreadableReply when none is left that can be shown.
    """
    text = _BLANKS.sub(" ", text).strip()
    while True:
        bare = _strip_element(_strip_emphasis(text) if of_json else _LIST_MARK.sub("", _strip_emphasis(text)))
        # Two quotes in a string of JSON are the empty string of code: an empty label has nothing in it.
        bare = bare if of_json and bare in EMPTY_STRINGS else strip_pair(bare)
        match = re.match(r"(?:label|explanation)\s*[:：]\s*(?=\S)", bare, re.IGNORECASE)
        bare = bare[match.end() :] if match else bare
        if bare == text:
            break
        text = bare
    if is_placeholder(text):
        raise UnreadableReply(PLACEHOLDER)
    if len(text) > MAX_LABEL:
        raise UnreadableReply("reply too long for a label")
    problem = find_problem(text)
    if problem:
        raise UnreadableReply(EMPTY_LABEL if problem == "it is empty" else "a label that cannot be shown")
    return text


def strip_pair(text: str) -> str:
    """Return the text without quotation marks, where one pair of them encloses the whole of it."""
    if len(text) > 2 and text[-1] == "." and text[-2] in _PAIRS.get(text[0], "") and text[0] not in text[1:-2]:
        text = text[:-1]
    if len(text) < 2 or text[-1] not in _PAIRS.get(text[0], ""):
        return text
    for width in (3, 2):  # of marks that are doubled
        if len(text) > 2 * width and set(text[:width] + text[-width:]) in ({'"'}, {"'"}, {"`"}):
            return text if text[0] in text[width:-width] else text[width:-width].strip(" ")
    inner = text[1:-1]
    # An apostrophe within a word is no quotation mark.
    quotes = re.sub(r"(?<=\w)['’](?=\w)", "", inner)
    encloses = text[0] not in quotes and text[-1] not in quotes
    return inner.strip(" ") if encloses else text


def _strip_element(text: str) -> str:
    """Return the text of an element of HTML that encloses the whole of it."""
    match = _ELEMENT.fullmatch(text)
    return match[2] if match else text


def _strip_emphasis(text: str) -> str:
    """Return the text without Markdown's emphasis, where it encloses the whole of it. `__init__` is a name."""
    match = re.fullmatch(r"(\*{1,3}|_{1,3})(?=[^\s*_])(.+?)(?<=[^\s*_])\1[.:]?(?:\s*[✅✔☑✓🎯✨]️?)?", text)
    if not match or match[1] in match[2] or (match[1][0] == "_" and " " not in match[2]):
        return text
    return match[2]


def is_placeholder(text: str) -> bool:
    """Whether a label is that of the form that was shown: "...", "<your label>"."""
    bare = text.strip().strip("\"'` ")
    if not bare or not bare.strip(". …<>[]") or not bare.strip("_ "):
        return bare not in _SIGNS
    lowered = bare.lower()
    return lowered in _FORM_NAMES or bool(_FORM.fullmatch(lowered) and _FORM_WORDS.search(lowered))
