"""Shapes of replies by kind, written for the tests: what an endpoint sends, and the right label or reason.

Every line stands for replies of models or servers that do this: thinking in each known form, drafts, echoes of the
form, fences, blocks, broken JSON, decorations, refusals, other languages.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

CUT, EMPTY, NO_LABEL, REFUSAL = "reply was cut off", "empty reply", "JSON without a label", "refusal"
DIFFER, FORM, LINES = "answers that differ", "the form without an answer", "several lines without a label"
EMPTY_LABEL, BROKEN, HIDDEN = "empty label", "broken JSON", "a label that cannot be shown"
LONG = "reply too long for a label"


class Shape(NamedTuple):
    """A message of an endpoint, its finish reason, and the label in it, or the reason why there is none."""

    kind: str
    content: Any
    label: str | None = None
    reason: str | None = None
    finish: str = "stop"
    beside: dict[str, Any] = {}  # noqa: RUF012 - further fields of the message, never changed


B = "closing brackets"
J = '{"label": "closing brackets"}'
DRAFT = '{"label": "brackets"}'


def _of(kind: str, *pairs: tuple[Any, str]) -> list[Shape]:
    return [Shape(kind, content, label) for content, label in pairs]


def _none(kind: str, *pairs: tuple[Any, str]) -> list[Shape]:
    return [Shape(kind, content, reason=reason) for content, reason in pairs]


THINKING = _of(
    "thinking",
    (f"<think>It could be {DRAFT}</think>{J}", B),
    (f"It could be {DRAFT} no.</think>{J}", B),
    (f"<think>\n\n</think>\n\n{J}", B),
    (f"<think>a <think>b</think> {DRAFT} c</think>{J}", B),
    (f"<think>a</think> {DRAFT} </think> {J}", B),
    (f"{J}<think>Was that right?</think>", B),
    (f"<THINK>{DRAFT}</THINK>{J}", B),
    (f"<thinking>{DRAFT}</thinking>\n{J}", B),
    (f"{DRAFT}</thinking>{J}", B),
    (f"<thought>{DRAFT}</thought>{J}", B),
    (f"<thoughts>{DRAFT}</thoughts>{J}", B),
    (f"<reasoning>{DRAFT}</reasoning>{J}", B),
    (f"<reflection>{DRAFT}</reflection>{J}", B),
    (f"<scratchpad>{DRAFT}</scratchpad>{J}", B),
    (f"<analysis>{DRAFT}</analysis>{J}", B),
    (f"<seed:think>{DRAFT}</seed:think>{J}", B),
    (f"<longcat_think>{DRAFT}</longcat_think>{J}", B),
    (f"[THINK]{DRAFT}[/THINK]{J}", B),
    (f"{DRAFT}[/THINK]{J}", B),
    (f"◁think▷{DRAFT}◁/think▷{J}", B),
    (f"<|begin_of_thought|>{DRAFT}<|end_of_thought|><|begin_of_solution|>{J}<|end_of_solution|>", B),
    (f"<|START_THINKING|>{DRAFT}<|END_THINKING|><|START_RESPONSE|>{J}<|END_RESPONSE|>", B),
    (f"<|inner_prefix|>{DRAFT}<|inner_suffix|>{J}", B),
    (f"<unused94>thought\n{DRAFT}<unused95>{J}", B),
    (f"<|channel>thought\n{DRAFT}<channel|>{J}", B),
    (f"<|think|>{DRAFT}<|/think|>{J}", B),
    (f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{J}", B),
    (
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final "
        f"<|constrain|>json<|message|>{J}<|return|>",
        B,
    ),
    (f"<|channel|>commentary<|message|>{DRAFT}<|end|><|channel|>final<|message|>{J}<|end|>", B),
    (f"<|channel|>analysis<|message|>{DRAFT}<|channel|>final{J}", B),
    (f"analysisThe marks stand on {DRAFT}.assistantfinal{J}", B),
    (f"analysis We need a label. {DRAFT} assistant final json{J}", B),
    (f"Here is my thought process: {DRAFT}\nHere is my response: {J}", B),
    ("<think>short</think>closing brackets", B),
    ("<think>short</think>\n**Label:** closing brackets", B),
    ('{"label": "the closing tag </think> in prompts"}', "the closing tag </think> in prompts"),
    ('<think>tags</think>{"label": "<think> and </think> tags"}', "<think> and </think> tags"),
    ('{"label": "channel marks, as in <|channel|>final"}', "channel marks, as in <|channel|>final"),
    ('{"thinking": "maybe brackets", "label": "closing brackets"}', B),
    ('{"reasoning": {"draft": "brackets"}, "label": "closing brackets"}', B),
    (f"<answer>{J}</answer>", B),
    ("<think>x</think><answer>closing brackets</answer>", B),
    ("<label>closing brackets</label>", B),
    (f"{J}<|im_end|>", B),
    ("closing brackets<|im_end|>", B),
    ("closing brackets<|eot_id|>", B),
    ("closing brackets</s>", B),
    ("closing brackets<end_of_turn>\n", B),
    (r"The label is $\boxed{\text{closing brackets}}$", B),
)
UNFINISHED = [
    Shape("thinking", f"<think>and so on {DRAFT} and", reason=CUT, finish="length"),
    Shape("thinking", f"<think>and so on {DRAFT}", reason=EMPTY),
    Shape("thinking", f"{DRAFT} it is.</think>", reason=EMPTY),
    Shape("thinking", f"<|channel|>analysis<|message|>{DRAFT} and so", reason=CUT, finish="length"),
    Shape("thinking", f"<|channel|>analysis<|message|>{DRAFT}<|end|>", reason=EMPTY),
    Shape("thinking", "[THINK]and so on", reason=CUT, finish="length"),
    Shape("thinking", "Okay, the marked tokens are", reason=CUT, finish="length"),
    Shape("thinking", '{"label": "closing bra', reason=CUT, finish="length"),
    Shape("thinking", '{"label": "closing brackets"', reason=CUT, finish="length"),
    Shape("thinking", f"{J} because the marked tokens are", B, finish="length"),
    Shape("thinking", f"{J}", B, finish="max_tokens"),
    Shape("thinking", "closing", reason=CUT, finish="MAX_TOKENS"),
]
BESIDE = [
    Shape("beside", J, B, beside={"reasoning_content": DRAFT}),
    Shape("beside", J, B, beside={"reasoning": DRAFT, "reasoning_details": [{"text": DRAFT}]}),
    Shape("beside", None, reason=EMPTY, beside={"reasoning_content": J}),
    Shape("beside", "", reason=CUT, finish="length", beside={"reasoning_content": DRAFT}),
    Shape("beside", None, reason=REFUSAL, beside={"refusal": "I will not label this."}),
    Shape("beside", None, reason=REFUSAL, finish="content_filter"),
    Shape("beside", J, B, beside={"refusal": None, "annotations": []}),
    Shape(
        "beside",
        None,
        B,
        finish="tool_calls",
        beside={"tool_calls": [{"id": "1", "type": "function", "function": {"name": "label", "arguments": J}}]},
    ),
]
BLOCKS = _of(
    "blocks",
    ([{"type": "text", "text": J}], B),
    ([{"type": "output_text", "text": J, "annotations": []}], B),
    ([{"type": "thinking", "thinking": [{"type": "text", "text": DRAFT}]}, {"type": "text", "text": J}], B),
    ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": DRAFT}]}, {"type": "text", "text": J}], B),
    ([{"type": "redacted_thinking", "data": "abc"}, {"type": "text", "text": J}], B),
    ([{"type": "text", "text": '{"label": '}, {"type": "text", "text": '"closing brackets"}'}], B),
    (['{"label": "closing ', 'brackets"}'], B),
    ([{"type": "message", "content": [{"type": "output_text", "text": J}]}], B),
    ({"label": "closing brackets"}, B),
    ({"type": "text", "text": J}, B),
) + _none(
    "blocks",
    ([], EMPTY),
    (None, EMPTY),
    ("", EMPTY),
    (" \n\t", EMPTY),
    ([{"type": "thinking", "thinking": J}], EMPTY),
    ([{"type": "image_url", "image_url": {"url": "data:"}}], EMPTY),
    ([None, 3, {}], EMPTY),
    (42, NO_LABEL),
    (True, NO_LABEL),
    ([{"type": "refusal", "refusal": "No."}], REFUSAL),
)
CHARACTERS = _of(
    "characters",
    ('{"label": "closing\x00 brackets"}', B),
    ("\x00\x1b[1mclosing brackets\x07".replace("\x1b[1m", ""), B),
    ('{"label": "a half \ud83d of a pair"}', "a half \ufffd of a pair"),
    ('{"label": "a whole \ud83d\ude00 pair"}', "a whole 😀 pair"),
    (r'{"label": "escaped \ud83d\ude00 pair"}', "escaped 😀 pair"),
    (r'{"label": "escaped \ud83d half"}', "escaped \ufffd half"),
    ('{"label": "closing\\n brackets"}', B),
    ('{"label": "closing\n  brackets"}', B),
    ('{"label": "closing\\tbrackets"}', B),
    ('{"label": "12\u00a0km with a no-break space"}', "12\u00a0km with a no-break space"),
    ("\ufeff" + J, B),
) + _none(
    "characters",
    (r'{"label": "nul \u0000 in it"}', HIDDEN),
    (r'{"label": "red \u001b[31m text"}', HIDDEN),
    ('{"label": "turned \u202eround"}', HIDDEN),
    ('{"label": "\u200b"}', EMPTY_LABEL),
)
DRAFTS = _of(
    "drafts",
    (f"{J}\n{J}", B),
    (f"Final answer: {J}", B),
    (f"{J}\n\nThe brackets {{ and }} close blocks.", B),
    (f'Other features: {{"a": 1}}. {J}', B),
    (f"Here: {{not json}} {J}", B),
    (f'{{"label": "..."}} becomes {J}', B),
    (f'{J} in the form {{"label": "..."}}', B),
    (f"[{J}]", B),
    ('{"answer": {"label": "closing brackets"}}', B),
    ('{"result": [{"label": "closing brackets"}], "n": 1}', B),
    ('{"name": "label", "arguments": {"label": "closing brackets"}}', B),
    ('{"Label": "closing brackets"}', B),
    ('{"label": "closing brackets", "confidence": 0.9}', B),
    ('{"label": "a {brace} in it"} and more', "a {brace} in it"),
) + _none(
    "drafts",
    (f"{DRAFT} or rather {J}", DIFFER),
    (f"{J} Shorter: {DRAFT}", DIFFER),
    ('{"labels": [{"label": "closing"}, {"label": "brackets"}]}', DIFFER),
    ("Label: brackets\nLabel: closing brackets", DIFFER),
)
ECHOES = _none(
    "echoes",
    ('{"label": "..."}', FORM),
    ('{"label": "…"}', FORM),
    ('Answer with JSON only: {"label": "..."}', FORM),
    ('{"label": "<your label>"}', FORM),
    ('{"label": "[label here]"}', FORM),
    ('{"label": "your label here"}', FORM),
    ('{"label": "label"}', FORM),
    ('{"label": "{label}"}', FORM),
    ("...", FORM),
    ('{"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}', NO_LABEL),
)
FENCES = _of(
    "fences",
    (f"```json\n{J}\n```", B),
    (f"```\n{J}\n```", B),
    (f"```JSON\n{J}```", B),
    (f"Here is the label:\n\n```json\n{J}\n```\n\nIt fits all texts.", B),
    (f"````json\n{J}\n````", B),
    (f"```json\n{J}", B),
    (f"`{J}`", B),
    (f"~~~json\n{J}\n~~~", B),
    ("```\nclosing brackets\n```", B),
    ("```text\nclosing brackets\n```", B),
    ('```json\n"closing brackets"\n```', B),
) + _none(
    "fences",
    ("```json\nnull\n```", NO_LABEL),
    ("null", NO_LABEL),
    ("```json\n{}\n```", NO_LABEL),
    ("```json\n[]\n```", NO_LABEL),
    ("```json\n```", EMPTY_LABEL),
)
BROKEN_JSON = _of(
    "broken",
    ("{'label': 'closing brackets'}", B),
    ("{'label': \"it's a bracket\"}", "it's a bracket"),
    (r"{'label': 'it\'s a bracket'}", "it's a bracket"),
    ("{'label': 'it's a bracket'}", "it's a bracket"),
    ('{"label": "closing brackets",}', B),
    ('{"label": "closing brackets", }', B),
    ("{label: 'closing brackets'}", B),
    ('{label: "closing brackets"}', B),
    ("{“label”: “closing brackets”}", B),
    ('{"label": “closing brackets”}', B),
    ('{"label": "the word "the" in titles"}', 'the word "the" in titles'),
    ('{"label": "the words "a", "the" and others"}', 'the words "a", "the" and others'),
    ('{"label": "closing brackets"', B),
    ('```json\n{"label": "closing brackets"\n```', B),
    ('{"label" : "closing brackets" // of blocks\n}', B),
    ('{{"label": "closing brackets"}}', B),
    ('{"label": """closing brackets"""}', B),
    ('"{\\"label\\": \\"closing brackets\\"}"', B),
    (r'{"label": "fractions, as in \frac{1}{2}"}', r"fractions, as in \frac{1}{2}"),
    (r'{"label": "fractions, as in \\frac{1}{2}"}', r"fractions, as in \frac{1}{2}"),
    (r'{"label": "\begin and \beta"}', r"\begin and \beta"),
    (r'{"label": "\theta, \nabla and \rho"}', r"\theta, \nabla and \rho"),
    (r'{"label": "\alpha in \(math\)"}', r"\alpha in \(math\)"),
    (r'{"label": "\underline{x}"}', r"\underline{x}"),
    (r'{"label": "snake\_case names"}', "snake_case names"),
    (r'{"label": "paths, as in C:\Users"}', r"paths, as in C:\Users"),
    (r'{"label": "the token \"(\""}', 'the token "("'),
    ('{"flag": True, "none": None, "label": "closing brackets"}', B),
) + _none(
    "broken",
    ('{"lab', CUT),
    ('{"label": "closing bra', CUT),
    ('{"label": closing brackets}', BROKEN),
    ('{"label"; "closing brackets"}', BROKEN),
    ('{"label": null}', NO_LABEL),
    ('{"label": ["closing", "brackets"]}', NO_LABEL),
    ('{"label": {"text": "x"}}', NO_LABEL),
    ('{"label": 7}', NO_LABEL),
    ('{"answer": "closing brackets"}', NO_LABEL),
    ('{"label": ""}', EMPTY_LABEL),
    ('{"label": "  "}', EMPTY_LABEL),
    ('["closing brackets"]', NO_LABEL),
)
DECORATIONS = _of(
    "decorations",
    ("closing brackets", B),
    ('"closing brackets"', B),
    ("“closing brackets”", B),
    ("`closing brackets`", B),
    ('Label: "closing brackets"', B),
    ("**Label:** closing brackets", B),
    ("**Label**: closing brackets", B),
    ("**Label: closing brackets**", B),
    ("### Label\n: closing brackets".replace("\n", ""), B),
    ("### Label:\nclosing brackets", B),
    ("- closing brackets", B),
    ("* **closing brackets**", B),
    ("1. closing brackets", B),
    ("> closing brackets", B),
    ("**closing brackets**", B),
    ('{"label": "**closing brackets**"}', B),
    ('{"label": "\\"closing brackets\\""}', B),
    ('{"label": "Label: closing brackets"}', B),
    ("Sure! Here is the label: closing brackets", B),
    ("Here's a short label for the feature:\nclosing brackets", B),
    ("The label is: closing brackets", B),
    ('The label is "closing brackets"', B),
    ("Explanation: the texts are code.\nLabel: closing brackets", B),
    ("**Label:** closing brackets\n\n**Explanation:** They stand at the ends of calls.", B),
    ("Explanation: closing brackets", B),
    ('{"label": "\'er\' at the end of words"}', "'er' at the end of words"),
    ("'er' at the end of words like 'river'", "'er' at the end of words like 'river'"),
    ('"if" before "else"', '"if" before "else"'),
    ("'it's' and other contractions", "'it's' and other contractions"),
    ("opening brace { of blocks", "opening brace { of blocks"),
    ("{ and } around blocks of code", "{ and } around blocks of code"),
    ('dict literals such as {"a": 1}', 'dict literals such as {"a": 1}'),
    ("[CLS] at the start of a text", "[CLS] at the start of a text"),
    ('{"label": "<<"}', "<<"),
    ('{"label": ":"}', ":"),
    ("def, class: keywords before a name", "def, class: keywords before a name"),
) + _none(
    "decorations",
    ("The marked tokens are brackets.\nThey close calls.", LINES),
    ("word " * 100, LONG),
    ('{"label": "' + "word " * 100 + '"}', LONG),
    ('""', EMPTY_LABEL),
)
REFUSALS = _none(
    "refusals",
    ("I'm sorry, I cannot help with that.", REFUSAL),
    ("I’m sorry, but I can’t assist.", REFUSAL),
    ("Sorry, no.", REFUSAL),
    ("I cannot label this.", REFUSAL),
    ("Unfortunately, I cannot tell.", REFUSAL),
    ("As an AI language model, I have no opinion.", REFUSAL),
    ("Es tut mir leid, das kann ich nicht.", REFUSAL),
    ("Lo siento, no puedo ayudar.", REFUSAL),
    ("Je suis désolé, je ne peux pas.", REFUSAL),
    ("抱歉，我无法回答。", REFUSAL),
    ("申し訳ありませんが、できません。", REFUSAL),
    ("죄송합니다.", REFUSAL),
    ("Извините, я не могу.", REFUSAL),
) + _of(
    "refusals",
    ('{"label": "I cannot and other phrases of refusal"}', "I cannot and other phrases of refusal"),
    ('{"label": "I\'m sorry, at the start of an answer"}', "I'm sorry, at the start of an answer"),
    ('{"label": "As an AI"}', "As an AI"),
    ("phrases of refusal, such as I cannot", "phrases of refusal, such as I cannot"),
    ("**Label:** I'm sorry and other apologies", "I'm sorry and other apologies"),
)
LANGUAGES = _of(
    "languages",
    ('{"label": "Namen von Flüssen"}', "Namen von Flüssen"),
    ('{"label": "closing brackets 👨\u200d👩\u200d👧"}', "closing brackets 👨\u200d👩\u200d👧"),
    ('{"label": "می\u200cخواهم in Persian"}', "می\u200cخواهم in Persian"),
    ('{"label": "words of Hindi, as in क्\u200dष"}', "words of Hindi, as in क्\u200dष"),
    ('{"label": "the Arabic article ال"}', "the Arabic article ال"),
    ('{"label": "the Hebrew word \u200fשלום"}', "the Hebrew word \u200fשלום"),
    ('{"label": "full-width\u3000spaces"}', "full-width\u3000spaces"),
    ('{"label": "the character 的 after a noun"}', "the character 的 after a noun"),
    ("Label： closing brackets", B),
    ("「closing brackets」", B),
    ("names of rivers in Κρήτη", "names of rivers in Κρήτη"),
)
SHAPES = [
    *THINKING,
    *UNFINISHED,
    *BESIDE,
    *BLOCKS,
    *CHARACTERS,
    *DRAFTS,
    *ECHOES,
    *FENCES,
    *BROKEN_JSON,
    *DECORATIONS,
    *REFUSALS,
    *LANGUAGES,
]


def message(shape: Shape) -> dict[str, Any]:
    """The choice of a completion with this shape, as the endpoint sends it."""
    body = {"role": "assistant", "content": shape.content, **shape.beside}
    return {"index": 0, "message": body, "finish_reason": shape.finish, "logprobs": None}


def find_feature(asked: Mapping[str, Any]) -> int:
    """The number of the feature of a store of tests.support.label_store that a request is about."""
    return int(re.findall(r"word(\d+)", asked["messages"][1]["content"])[-1])


def answer_in_shapes(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Feature i is answered in the i-th shape, however often a question is put about it."""
    return message(SHAPES[find_feature(asked) % len(SHAPES)])
