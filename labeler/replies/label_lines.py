"""A label in a reply without JSON, and what stands around a label: quotation marks, Markdown, a preamble. Pure."""

from __future__ import annotations

import re

from featurestore.extension.text import find_problem
from labeler.llm.completions import UnreadableReply

MAX_LABEL = 300  # characters; a longer reply is no label
EMPTY_LABEL, PLACEHOLDER, SEVERAL_LINES = "empty label", "the form without an answer", "several lines without a label"
_BLANKS = re.compile("[ \t\n\r\v\f\x1c-\x1f\x85\u2028\u2029]+")  # no-break and ideographic spaces are text
_PAIRS = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "„": "“", "「": "」", "『": "』", "《": "》"}
_REFUSAL = re.compile(
    r"^\W*(i['’]?m (really |very )?sorry|i am (really |very )?sorry|sorry\b[,.!]|i apologi[sz]e|apologies\b|"
    r"(unfortunately,? )?i (cannot|can['’]?t|can not|am unable|['’]?m unable|won['’]?t|will not|must decline)\b|"
    r"i['’]m (unable|not able)\b|i am not able\b|as an ai\b|as a (large )?language model\b|"
    r"es tut mir (sehr )?leid|tut mir leid|entschuldigung,|ich kann (leider )?(nicht|keine)|leider kann ich|"
    r"lo siento|disculpa|no puedo ayudar|je suis désolée?|désolée?[, ]|je ne peux pas|mi dispiace|non posso aiutar|"
    r"desculpe|sinto muito|não posso|извините|простите|к сожалению, я не|я не могу|"
    r"抱歉|很抱歉|对不起|對不起|我无法|我不能|"
    r"申し訳|すみません|ごめんなさい|죄송|미안|عذر|آسف|متاسف|متأسف|क्षमा करें|माफ़ कीजिए)",
    re.IGNORECASE,
)
_NAMED_LINE = re.compile(
    r"^[\s>#*_\-•–\d.)]*(?P<name>(?:final |short |best |my |the )*(?:label|explanation|description))[\s*_`\"]*"
    r"(?::|：|=(?!=))[\s*_]*(?P<value>.*)$",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"^(?:(?:sure|certainly|of course|okay|ok|great)\b[!,.]*\s*)?(?:here(?:['’]s| is| are)\b\s*)?"
    r"(?:(?:the|a|my|your)\s+)?(?:[\w-]+\s+){0,3}?(?:label|explanation|description|phrase|answer|json)\b[^:：]{0,60}[:：]\s*",
    re.IGNORECASE,
)
_LABEL_IS = re.compile(r"^(?:the|my) (?:\w+ )?label (?:is|would be)\s+(?=[\"'`“‘«*])", re.IGNORECASE)
_FENCE = re.compile(r"```[\w+-]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_TAGGED = re.compile(
    r"<(label|answer|final_answer|response|output|result|explanation|final)>(.*?)(?:</\1\s*>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_SOLUTION = re.compile(r"<\|begin_of_(?:solution|box)\|>(.*?)(?:<\|end_of_(?:solution|box)\|>|\Z)", re.DOTALL)
_RESPONSE = re.compile(r"<\|START_(?:RESPONSE|TEXT|ACTION)\|>(.*?)(?:<\|END_\w+\|>|\Z)", re.DOTALL)
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?(.*?)\}?\}\$*\s*\Z", re.DOTALL)
_LIST_MARK = re.compile(r"^(?:[-*•–>]|#{1,6}|1[.)])\s+(?=\S)")
_FORM = re.compile(r"[<\[{(]+\s*(?:[\w'’.,-]+\s+){0,6}[\w'’.,-]+\s*[>\]})]+")
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
    ]
)


def unwrap(text: str) -> str:
    """Return the answer of a reply that wraps it in tags, in a box or in a fence; else the text."""
    for pattern, group in ((_RESPONSE, 1), (_SOLUTION, 1), (_TAGGED, 2)):
        matches = list(pattern.finditer(text))
        if matches and matches[-1][group].strip():
            text = matches[-1][group].strip()
    boxed = _BOXED.search(text)
    text = boxed[1].strip() if boxed else text
    fenced = [match[1].strip() for match in _FENCE.finditer(text)]
    return next((body for body in reversed(fenced) if body), _FENCE.sub("", text)) if fenced else text


def read_plain_label(text: str) -> str:
    """Return the label in a reply that holds no JSON: its only line, or the line that is called label.

    Raises UnreadableReply.
    """
    text = unwrap(text)
    if _REFUSAL.match(text):
        raise UnreadableReply("refusal")
    if len(_BLANKS.sub(" ", text)) > MAX_LABEL and not _find_named(text, frozenset({"label"})):
        raise UnreadableReply("reply too long for a label")
    return finish_label(_choose_line(text))


def _choose_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip().strip("*_#-`=")]
    named = _find_named(text, frozenset({"label"})) or (
        _find_named(text, frozenset({"explanation", "description"})) if len(lines) <= 2 else []
    )
    if named:
        if len({finish_label(value) for value in named}) > 1:
            raise UnreadableReply("answers that differ")
        return named[-1]
    if len(lines) == 2 and re.search("[:：][*_]*$", lines[0]):
        return lines[1]
    if len(lines) > 1:
        raise UnreadableReply(SEVERAL_LINES)
    if not lines:
        raise UnreadableReply(EMPTY_LABEL)
    line = _LABEL_IS.sub("", lines[0])
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


def _find_named(text: str, kinds: frozenset[str]) -> list[str]:
    """Return what stands on the lines that are called one of `kinds`, or below them where they are headings."""
    lines = [line for line in text.splitlines() if line.strip()]
    values = []
    for number, line in enumerate(lines):
        match = _NAMED_LINE.match(_strip_emphasis(line.strip()))
        if match and match["name"].split()[-1].lower() in kinds:
            value = match["value"].strip() or (lines[number + 1].strip() if number + 1 < len(lines) else "")
            values += [value] if value else []
    return values


def finish_label(text: str) -> str:
    """Return the label without what stands around it. Raises UnreadableReply when none is left that can be shown."""
    text = _BLANKS.sub(" ", text).strip()
    while True:
        bare = strip_pair(_LIST_MARK.sub("", _strip_emphasis(text)))
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
    if len(text) < 2 or _PAIRS.get(text[0]) != text[-1]:
        return text
    inner = text[1:-1]
    # An apostrophe within a word is no quotation mark.
    quotes = re.sub(r"(?<=\w)['’](?=\w)", "", inner)
    encloses = text[0] not in quotes and text[-1] not in quotes
    return inner.strip(" ") if encloses else text


def _strip_emphasis(text: str) -> str:
    """Return the text without Markdown's emphasis, where it encloses the whole of it."""
    match = re.fullmatch(r"(\*{1,3}|_{2,3})(?=\S)(.+?)(?<=\S)\1[.:]?", text)
    return match[2] if match and match[1] not in match[2] else text


def is_placeholder(text: str) -> bool:
    """Whether a label is that of the form that was shown: "...", "<your label>"."""
    bare = text.strip().strip("\"'` ")
    if not bare or not bare.strip(". …"):
        return bool(bare)
    lowered = bare.lower()
    return lowered in _FORM_NAMES or bool(_FORM.fullmatch(lowered) and _FORM_WORDS.search(lowered))
