"""Shapes of replies of judges: three answers of 0 or 1, one text of four, or the reason why a reply has none."""

from typing import Any, NamedTuple

from labeler.llm.completions import Answer

ANOTHER, NONE, DIFFER = "another number of answers than was asked for", "no list of answers", "answers that differ"
NO_NUMBERS, NO_TEXT = "answers that are no numbers", "names no text"
CUT, EMPTY, REFUSAL = "reply was cut off", "empty reply", "refusal"
RIGHT = [1.0, 0.0, 1.0]


class JudgeShape(NamedTuple):
    """A reply, and what is in it, or the reason why nothing is."""

    text: str
    value: Any = None
    reason: str | None = None
    finish: str = "stop"


def read_all(value: Any, *texts: str) -> list[JudgeShape]:
    """Shapes that say the same."""
    return [JudgeShape(text, value) for text in texts]


ANSWERS = [
    *read_all(
        RIGHT,
        '{"answers": [1, 0, 1]}',
        '```json\n{"answers": [1, 0, 1]}\n```',
        "{'answers': [1, 0, 1]}",
        '{"answers": [1, 0, 1,]}',
        '{"answers": ["1", "0", "1"]}',
        '{"answers": [true, false, true]}',
        '{"answers": [True, False, True]}',
        '{"answers": ["yes", "no", "yes"]}',
        '{"answers": ["Yes", "No", "Yes"]}',
        '{"answers": ["Yes.", "No.", "Yes."]}',
        '{"answers": ["YES", "NO", "YES"]}',
        '{"answers": ["y", "n", "y"]}',
        '{"answers": [yes, no, yes]}',
        '{"answers": [1.0, 0.0, 1.0]}',
        '{"answers": {"1": 1, "2": 0, "3": 1}}',
        '{"answers": {"Text 1": 1, "Text 2": 0, "Text 3": 1}}',
        '{"answers": {"text1": "yes", "text2": "no", "text3": "yes"}}',
        '{"answers": [{"text": 1, "answer": 1}, {"text": 2, "answer": 0}, {"text": 3, "answer": 1}]}',
        '{"answers": [{"id": 1, "fits": true}, {"id": 2, "fits": false}, {"id": 3, "fits": true}]}',
        '{"answers": [[1], [0], [1]]}',
        '{"answers": "1, 0, 1"}',
        '{"answers": "[1, 0, 1]"}',
        '{"answers": "101"}',
        '{"Answers": [1, 0, 1]}',
        '{"answer": [1, 0, 1]}',
        '{"result": {"answers": [1, 0, 1]}}',
        '{"reasoning": "the second has none", "answers": [1, 0, 1]}',
        "[1, 0, 1]",
        "Answers: [1, 0, 1]",
        "**Answers:** [1, 0, 1]",
        "[1,0,1]<|im_end|>",
        "1, 0, 1",
        "1,0,1",
        "1 0 1",
        "1\n0\n1",
        "yes, no, yes",
        "Yes, No, Yes.",
        "yes\nno\nyes",
        "Text 1: 1\nText 2: 0\nText 3: 1",
        "Text 1: yes\nText 2: no\nText 3: yes",
        "1. Yes\n2. No\n3. Yes",
        "1: 1\n2: 0\n3: 1",
        "1) yes\n2) no\n3) yes",
        "- Text 1: Yes\n- Text 2: No\n- Text 3: Yes",
        "**Text 1:** yes\n**Text 2:** no\n**Text 3:** yes",
        "| Text | Answer |\n|---|---|\n| 1 | 1 |\n| 2 | 0 |\n| 3 | 1 |",
        '<think>{"answers": [0, 0, 0]}</think>{"answers": [1, 0, 1]}',
        '<|channel|>analysis<|message|>[0, 0, 0]<|end|><|channel|>final<|message|>{"answers": [1, 0, 1]}',
        'The form is {"answers": [1, 0]}. {"answers": [1, 0, 1]}',
        "1.0\n0.0\n1.0",
        "1.0, 0.0, 1.0",
        "1.yes\n2.no\n3.yes",
        "1. **Yes**\n2. No.\n3. *yes*",
        '{"answers": [1, 0, 1]}\n\n[1] shows a bracket.',
        "answers: [1, 0, 1]",
        "answers:\n- 1\n- 0\n- 1",
        "<answer>[1, 0, 1]</answer>",
        '<answers>{"answers": [1, 0, 1]}</answers>',
        "\\boxed{[1, 0, 1]}",
        "Да, нет, да",
        "是, 否, 是",
        "sí, no, sí",
        "✅ ❌ ✅",
    ),
    JudgeShape('{"answers": [1, 0]}', reason=ANOTHER),
    JudgeShape('{"answers": [1, 0, 1, 1]}', reason=ANOTHER),
    JudgeShape('{"answers": []}', reason=NONE),
    JudgeShape('{"answers": [1, null, 1]}', reason=NO_NUMBERS),
    JudgeShape('{"answers": ["maybe", 0, 1]}', reason=NO_NUMBERS),
    JudgeShape('{"answers": [1, 0, 1]}\n{"answers": [1, 1, 1]}', reason=DIFFER),
    JudgeShape('{"answers": [1, 0, 1]}\nShorter: {"answers": [1, 0]}', reason=ANOTHER),
    JudgeShape("1, 0", reason=ANOTHER),
    JudgeShape("yes, no, yes, no", reason=ANOTHER),
    JudgeShape("Text 1: yes\nText 2: no", reason=ANOTHER),
    JudgeShape("Text 1: yes\nText 3: no\nText 2: yes", reason=NONE),
    JudgeShape("yes", reason=ANOTHER),
    JudgeShape("All texts fit the description.", reason=NONE),
    JudgeShape("Texts 1 and 3 fit.", reason=NONE),
    JudgeShape("I see 1 text of 3 that fits.", reason=NONE),
    JudgeShape('{"answers": [1, 0', reason=CUT, finish="length"),
    JudgeShape("<think>so", reason=CUT, finish="length"),
    JudgeShape("1, 0, 1", reason=CUT, finish="length"),
    JudgeShape("", reason=EMPTY),
    JudgeShape("I'm sorry, I cannot help with that.", reason=REFUSAL),
    JudgeShape("", reason=REFUSAL, finish="content_filter"),
    JudgeShape("[" * 5000, reason=NONE),
    JudgeShape("1," * 5000, reason=ANOTHER),
    JudgeShape("null", reason=NONE),
    JudgeShape("1.0", reason=ANOTHER),
    JudgeShape('{"answers": [1, 0, ' + "9" * 400 + "]}", reason=NO_NUMBERS),
    JudgeShape("[" + "9" * 400 + ", 0, 1]", reason=NO_NUMBERS),
]
INTRUDERS = [
    *read_all(
        2,
        '{"intruder": 2}',
        '{"intruder": "2"}',
        '{"intruder": "Text 2"}',
        '{"intruder": "text #2"}',
        '{"intruder": 2.0}',
        '{"intruder": [2]}',
        '{"intruder": {"text": 2}}',
        '{"Intruder": 2, "why": "no bracket"}',
        '{"answer": 2}',
        "2",
        "2.",
        "Text 2",
        "**Text 2**",
        "Intruder: 2",
        "The intruder is text 2.",
        "Text 2 is the intruder: texts 1, 3 and 4 have brackets.\nIntruder: 2",
        "```\n2\n```",
        "<answer>2</answer>",
        "\\boxed{2}",
        '<think>1 or 3? {"intruder": 1}</think>{"intruder": 2}',
        "[2]",
        "two",
        "The second text",
        "#2",
        "Text two.",
        "Number two",
        "The second one",
        "The odd one out is the second text.",
        "The second text is the intruder.",
        "It's the second text.",
        "Answer: two",
        "No. 2",
        "(2)",
        "**2** because it has no bracket",
        "Text 2: it has no bracket",
        "The intruder is text 2, since it has no bracket.",
        "Texts 1, 3 and 4 have brackets.\n\n## Intruder:\n\n**2**",
        "Texts 1, 3 and 4 have brackets.\nThe odd one out: the second text",
    ),
    *(
        JudgeShape(text, reason=NO_TEXT)
        for text in (
            "There is no odd one out.",
            "The odd one out cannot be determined.",
            "The odd one out is not the third text.",
            "The odd one out is not text 2.",
            "Text 2 is not the intruder.",
            "None of them is the odd one out",
            "None of the 4 texts is the odd one out.",
            "No one",
            "The one",
            "One of them",
            "I need more than one example",
            "I need more than 1 example",
            "First, let me look at the texts.",
            "two of the texts are about cats",
            "2 of the texts are about cats",
            "4 texts look alike",
        )
    ),
    JudgeShape("I can't pick one.", reason=REFUSAL),
    JudgeShape("Sorry, I can't help with this one.", reason=REFUSAL),
    JudgeShape('{"intruder": ' + "9" * 400 + "}", reason=NO_TEXT),
    JudgeShape('{"intruder": 5}', reason=NO_TEXT),
    JudgeShape('{"intruder": 0}', reason=NO_TEXT),
    JudgeShape('{"intruder": null}', reason=NO_TEXT),
    JudgeShape('{"intruder": [1, 2]}', reason=NO_TEXT),
    JudgeShape('{"intruder": "none"}', reason=NO_TEXT),
    JudgeShape('{"intruder": 1} no, {"intruder": 2}', reason=DIFFER),
    JudgeShape("1 or 2", reason=NO_TEXT),
    JudgeShape("None of them", reason=NO_TEXT),
    JudgeShape("I'm sorry, I can't.", reason=REFUSAL),
    JudgeShape('{"intruder": ', reason=CUT, finish="length"),
    JudgeShape("2", reason=CUT, finish="length"),
    JudgeShape("", reason=EMPTY),
]


def answer_of(shape: JudgeShape) -> Answer:
    """The answer of an endpoint in this shape."""
    return Answer(shape.text, finish=shape.finish)
