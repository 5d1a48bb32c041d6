"""What a model thought aloud before its reply, in the marks of known models, and the reply without it. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from labeler.replies.loose_json import find_objects

_NAMES = (
    "think|thinks|thinking|thought|thoughts|reason|reasoning|reflection|scratchpad|analysis|rationale|monologue|"
    "inner_monologue|internal_monologue|internal_thoughts?|cot|chain_of_thought|deliberation|thinking_process|"
    "thought_process|brainstorm|brainstorming|思考"
)
# What stands for the angle brackets of a mark: themselves, with blanks, or as HTML escapes them.
_LEFT, _RIGHT = r"(?:<|&lt;)\s*", r"\s*(?:>|&gt;)"
_SPECIAL_NAMES = "think|thinking|thought|reasoning"
# Marks that begin and end thinking. A reply may have only the last one: the first one is often part of the prompt.
_MARK = re.compile(
    rf"(?P<open>{_LEFT}(?:\w+[:_-])?(?:{_NAMES})(?:\s[^<>/\\&]*+)?{_RIGHT}|\[(?:THINK|THINKING|REASONING|THOUGHTS?)\]"
    rf"|◁think▷|<\|inner_prefix\|>|<unused94>|<\|START_THINKING\|>|<\|channel>\s*thought\b"
    rf"|<[|｜](?:(?:begin|start)[_▁](?:of[_▁])?)?(?:{_SPECIAL_NAMES})(?:_start)?[|｜]>)"
    rf"|(?P<close>{_LEFT}[/\\]+\s*(?:\w+[:_-])?(?:{_NAMES}){_RIGHT}|<(?:think|thinking)\s*/>"
    rf"|\[/(?:THINK|THINKING|REASONING|THOUGHTS?)\]|◁/think▷|<\|inner_suffix\|>|<unused95>"
    rf"|<[|｜](?:end[_▁](?:of[_▁])?|/)(?:{_SPECIAL_NAMES})[|｜]>|<\|(?:{_SPECIAL_NAMES})_end\|>"
    r"|<\|END_THINKING\|>|<channel\|>)",
    re.IGNORECASE,
)
# Names that marks of other texts have too: thinking only where a reply begins with them, and goes on after them.
_SECTION_AT_START = re.compile(
    rf"\A{_LEFT}(?P<name>plan|planning|drafts?|steps?|notes|internal)(?:\s[^<>/\\&]*+)?{_RIGHT}"
    rf".*?{_LEFT}/\s*(?P=name){_RIGHT}(?=\s*\S)",
    re.DOTALL | re.IGNORECASE,
)
# Thinking in a fence of its own, or folded away in a page.
_FENCED_THOUGHT = re.compile(
    r"```(?:think|thinking|thoughts?|reasoning|analysis|scratchpad)[ \t]*\n.*?(?:```|\Z)"
    r"|<details[^<>]*>\s*<summary>[^<>]{0,200}(?:think|thought|reason)[^<>]{0,200}</summary>.*?(?:</details>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
# Channels of open-weights chat formats: <|channel|>final<|constrain|>json<|message|>, with or without its last marks.
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(?P<name>analysis|commentary|critic|final)\b(?:\s*to=\S+)?"
    r"(?:\s*<\|constrain\|>\s*\w+|\s+json\b)?\s*(?:<\|message\|>)?"
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start)\|>.*", re.DOTALL)
# The same format after a server has removed its special tokens
_BARE_CHANNELS = re.compile(
    r"\A(?:assistant)?\s*(?:analysis|commentary)(?=\W|[A-Z]).*(?:assistant\s*final|\n[^\S\n]*final(?=\s*\n))(?:\s*json\b)?",
    re.DOTALL,
)
# The same where it never came to an answer: no label begins so.
_BARE_ANALYSIS = re.compile(r"\A(?:assistant)?analysis(?=[A-Z]|\s*\{)")
_CALL = re.compile(r"\s*to=\S")
_SPOKEN_THOUGHT = re.compile(
    r"\A\W*Here is my thought process\b.*\bHere is my response:?\W*?", re.DOTALL | re.IGNORECASE
)
# Thinking whose beginning is a heading; an end of it has a mark, or it was cut off.
THOUGHT_HEADING = re.compile(r"\A\W*(?:(?:my )?thinking process|thought process|thinking)\W*:", re.IGNORECASE)
# What wraps the answer itself
_SPECIAL_AT_START = re.compile(
    r"\A(?:\s*(?:<\|(?:im_start|assistant|start|begin_of_text|start_header_id)\|>|<s>|<bos>|<｜begin▁of▁sentence｜>"
    r"|<start_of_turn>|<\|turn>)\s*(?:(?:assistant|model)(?:\s*<\|end_header_id\|>|\s*\n|\s*:))?"
    r"|\s*(?:#{1,6}\s*)?(?:assistant|response)\s*(?:\n|:\n|:\s(?!\s*(?:in|at|as|before|after|and|or|for|of|to|with|within|used|from|on|when|where"
    r"|that|which|by|turns?|roles?|marks?|messages?|replies|names?)\b))|\s*model\s*\n|\[INST\].*?\[/INST\])\s*",
    re.IGNORECASE | re.DOTALL,
)
_END_MARKS = (
    *(
        f"<|{name}|>"
        for name in (
            *("im_end", "eot_id", "eom_id", "end", "return", "endoftext", "end_of_text", "end_of_turn", "eot", "EOT"),
            *("END_RESPONSE", "END_OF_TURN_TOKEN", "end_of_solution", "end_of_box", "assistant_end", "user"),
        )
    ),
    *("<end_of_turn>", "<eos>", "</s>", "[/INST]", "<｜end▁of▁sentence｜>", "<turn|>"),
)
# Of a turn that the model began after its own
_NEXT_TURN = tuple(f"<|im_start|>{role}" for role in ("", "user", "system", "assistant"))


def strip_thinking(text: str) -> str:
    """Return the reply without what the model thought aloud, and without marks of the end of its turn.

    Marks within the strings of a JSON object are the object's own text. Thinking that does not end leaves nothing.
    """
    text = _FENCED_THOUGHT.sub("", _strip_channels(text.strip())).strip()
    text = _SECTION_AT_START.sub("", text).strip()
    marks = list(_MARK.finditer(text))
    if marks:
        marks = _keep_outside_objects(marks, text)
    kept, at, opened, thinking = "", 0, 0, False
    for mark in marks:
        if mark.lastgroup == "open":
            if not thinking:
                kept += text[at : mark.start()]
            thinking, opened = True, mark.start()
        else:
            # Without its beginning all that stands before the mark is thinking.
            kept, thinking = kept if thinking else "", False
        at = mark.end()
    if not thinking:
        opened = at
    elif not kept.strip():
        return ""
    # A beginning in the middle of a reply that never ends is a word of the reply.
    text = kept + text[opened:]
    text = _SPECIAL_AT_START.sub("", _strip_end_marks(text)).strip()
    return "" if _BARE_ANALYSIS.match(text) else text


def _strip_end_marks(text: str) -> str:
    """Return the text without the run of marks at its end; a mark after a blank is a word of the text."""
    end = kept = len(text.rstrip())
    while True:
        mark = _find_end_mark(text, end)
        begin = before = end - len(mark)
        while before and text[before - 1].isspace():
            before -= 1
        if not mark or not before:
            return text[:kept]
        gap, starts, follows = text[before:begin], mark in _NEXT_TURN, bool(_find_end_mark(text, before))
        if gap and not ("\n" in gap and (starts or follows)):
            return text[:kept]
        end = before
        # The beginning of a turn that stands behind another mark goes with it, or stays with it.
        if not starts or gap or (not follows and (text[end - 1].isalnum() or text[end - 1] in '}".')):
            kept = end


def _find_end_mark(text: str, end: int) -> str:
    """Return the mark that ends at `end`; "" where none does."""
    return next((mark for mark in (*_END_MARKS, *_NEXT_TURN) if text.endswith(mark, 0, end)), "")


def _keep_outside_objects(marks: Sequence[re.Match[str]], text: str) -> list[re.Match[str]]:
    """Return the marks that do not begin within an object of JSON."""
    objects = find_objects(text, repair=False)
    starts = [found.start for found in objects]
    places = [bisect_left(starts, mark.start()) for mark in marks]
    return [
        mark for mark, place in zip(marks, places, strict=True) if not place or mark.start() >= objects[place - 1].end
    ]


def _strip_channels(text: str) -> str:
    """Return the last final channel of a reply in channels, or its last call of a tool; else nothing."""
    headers = list(_CHANNEL.finditer(text))
    if headers:
        headers = _keep_outside_objects(headers, text)
    if headers:
        calls = [head for head in headers if _CALL.match(text, head.end("name"))]
        finals = [head for head in headers if head["name"] == "final"] or calls
        if not finals:
            return ""
        ends = [head.start() for head in headers if head.start() > finals[-1].start()]
        return _CHANNEL_END.sub("", text[finals[-1].end() : min(ends, default=len(text))])
    text = _BARE_CHANNELS.sub("", text, count=1)
    return _SPOKEN_THOUGHT.sub("", text, count=1)
