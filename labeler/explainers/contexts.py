"""Where in a text a token stands, judged from the text around it: contexts of code and of prose, as phrases.

Pure: knows nothing of features.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

PROSE, DOCSTRING, COMMENT, STRING = "in prose", "in documentation", "in a comment", "in a string"
LINE_START = "at the start of a line"
FIRST_SENTENCE = "in the first sentence of a docstring"
LINE_END, SENTENCE_END = "at the end of a line", "at the end of a sentence"
DEEP, NOT_INDENTED = "in deeply indented lines", "in lines without indentation"
# Said only where nothing else can be, and of features whose label names what they fire on only in part.
WEAK_OF_NAMED = frozenset({LINE_END, SENTENCE_END})
WEAK = WEAK_OF_NAMED | {DEEP, NOT_INDENTED}
_POSITIONS = WEAK | {LINE_START, "at the start of a docstring", "at the start of a sentence"}
MIN_DEEP = 16  # spaces of indentation
# In these the words of a programming language are ordinary words.
READ_AS_PROSE = frozenset({PROSE, DOCSTRING, COMMENT, STRING})
_PROSE = re.compile(r"\b[a-z]{2,}[,.]? [a-z]+[,.]? [a-z]{2,}\b[^(=]*$")
_STRING_START = re.compile(r"\b([rRbBfFuU]{1,2})['\"]")
_ASSIGNED = re.compile(r"[\w.\])'\"]*\s*(?:[-+*/|&^%@]|//|\*\*|>>|<<)?=(?!=)")
# By the first word of a line: the statement that a position in it belongs to
_STATEMENTS = {
    "def": "in a function signature",
    "async": "in a function signature",
    "class": "in a class definition",
    "import": "in an import statement",
    "from": "in an import statement",
    "if": "in a condition",
    "elif": "in a condition",
    "while": "in a condition",
    "for": "in a for loop",
    "with": "in a with statement",
    "raise": "in a raise statement",
    "except": "in an except clause",
    "return": "in a return statement",
    "yield": "in a yield statement",
    "assert": "in an assertion",
    "del": "in a delete statement",
    ">>>": "in an interactive example",
}
_PREFIXES = {
    "b": "as the prefix of a bytes literal",
    "r": "as the prefix of a raw string",
    "br": "as the prefix of a raw bytes literal",
    "f": "as the prefix of a formatted string",
    "u": "as the prefix of a string",
}
SORTS = ("role", "position", "text", "brackets", "statement")  # in the order in which a label says them
BRACKETS = "in brackets"  # says little beside another context
_BRACKETS = frozenset({"in call arguments", "in nested parentheses", BRACKETS, "in square brackets", "in braces"})
# What a context says of the word before or after, which then need not be named.
IMPLIED_BEFORE = {
    "as an attribute after a dot": frozenset({"."}),
    "as an attribute of self": frozenset({".", "self."}),
    "as the name of a function that is defined": frozenset({"def"}),
    "as the name of a class that is defined": frozenset({"class"}),
    "in a raise statement": frozenset({"raise"}),
    "in an except clause": frozenset({"except"}),
    "in an import statement": frozenset({"import", "from"}),
    "in a function signature": frozenset({"def"}),
    "in a return statement": frozenset({"return"}),
    "in a decorator": frozenset({"@"}),
    "in a condition": frozenset({"if", "elif"}),
}
IMPLIED_AFTER = {
    "as the name of a keyword argument": frozenset({"="}),
    "as a variable that is assigned": frozenset({"="}),
    "as a function or class that is called": frozenset({"(", "()"}),
    "as the name of a function that is defined": frozenset({"(", "(self"}),
}


def find_contexts(before: str, token: str = "", after: str = "") -> list[str]:
    """Return the contexts of a token, judged from the text before and after it (which begin and end somewhere)."""
    line = before[before.rfind("\n") + 1 :]
    stripped = line.lstrip()
    contexts = [LINE_START] if not stripped and "\n" not in token else []
    around = _find_quoted(before, line)
    contexts += around
    in_code = not around
    if in_code or around == [STRING]:
        contexts += _find_statement(stripped, token)
    if in_code:
        contexts += _find_brackets(line)
        contexts += _find_role(before, stripped, token, after)
    contexts += _find_sentence_start(before, token)
    contexts += _find_position(before, line, token, after)
    return contexts


def _find_position(before: str, line: str, token: str, after: str) -> list[str]:
    """Where in its line, its sentence and its docstring the token is, as far as the text around it shows."""
    positions = []
    if "\n" not in token:
        if re.match(r"[ \t]*\n", after):
            positions.append(LINE_END)
        if re.match(r"[.!?](?:\s|$)", after):
            positions.append(SENTENCE_END)
        if "\n" in before and (line.strip() or token.strip()):
            indentation = len(line) - len(line.lstrip()) if line.strip() else len(line)
            positions += [DEEP] if indentation >= MIN_DEEP else []
            positions += [NOT_INDENTED] if not indentation else []
    quotes = max(before.rfind('"""'), before.rfind("'''"))
    if quotes >= 0 and (before.count('"""') % 2 or before.count("'''") % 2):
        text = before[quotes + 3 :]
        if not text.strip():
            positions.append("at the start of a docstring")
        if not re.search(r"[.!?]\s|\n\s*\n", text):
            positions.append(FIRST_SENTENCE)
    return positions


def _find_quoted(before: str, line: str) -> list[str]:
    """A docstring, prose, a comment or a string, where the position is in one."""
    if before.count('"""') % 2 or before.count("'''") % 2:
        return [DOCSTRING]
    if "#" in line and not _has_open_string(line[: line.index("#")]):
        return [COMMENT]
    if line.lstrip().startswith(("//", "/*", "* ")):
        return [COMMENT]
    if not any(sign in line for sign in "=(#") and _PROSE.search(line):
        return [PROSE]
    return [STRING] if _has_open_string(line) else []


def _has_open_string(line: str) -> bool:
    quotes = re.sub(r"\\.|(?<=[a-z])'(?=[a-z])", "", line)
    return quotes.count('"') % 2 == 1 or quotes.count("'") % 2 == 1


def _find_statement(stripped: str, token: str) -> list[str]:
    if stripped.startswith("@"):
        return ["in a decorator"]
    word = re.match(r"(?:>>>|\w+)(?=[\s(])", stripped + token[:1])
    statement = _STATEMENTS.get(word[0]) if word else None
    return [statement] if statement else []


def _find_brackets(line: str) -> list[str]:
    """The innermost bracket that is open."""
    depths = {"(": 0, "[": 0, "{": 0}
    for at in range(len(line) - 1, -1, -1):
        character = line[at]
        if character in ")]}":
            depths["([{"[")]}".index(character)]] -= 1
        elif character in depths:
            depths[character] += 1
            if depths[character] > 0:
                if character == "(":
                    called = bool(re.search(r"[\w\])]$", line[:at])) and not line.lstrip().startswith("def ")
                    nested = ["in nested parentheses"] if line.count("(", 0, at) > line.count(")", 0, at) else []
                    return ["in call arguments" if called else BRACKETS, *nested]
                return ["in square brackets"] if character == "[" else ["in braces"]
    return []


def _find_role(before: str, stripped: str, token: str, after: str) -> list[str]:
    """What the token is in an expression: an attribute, an argument's name, what is called, assigned or defined."""
    roles = []
    bare = token.strip()
    if before.endswith("self.") and not token.startswith(" "):
        roles.append("as an attribute of self")
    elif before.endswith(".") and not token.startswith(" "):
        roles.append("as an attribute after a dot")
    if not bare or not bare[-1].isalnum():
        return roles
    if bare.lower() in _PREFIXES and after[:1] in ("'", '"') and not re.search(r"\w$", before if token == bare else ""):
        return [*roles, _PREFIXES[bare.lower()]]
    defined = re.search(r"\b(def|class)\s+\w*$", before)
    if defined:
        kind = "function" if defined[1] == "def" else "class"
        roles.append(f"as the name of a {kind} that is defined")
    elif re.match(r"\w*\(", after):
        roles.append("as a function or class that is called")
    elif re.match(r"\w*=(?!=)", after) and "(" in stripped:
        roles.append("as the name of a keyword argument")
    elif re.match(r"\w*\s", after) and _ASSIGNED.match(after) and re.fullmatch(r"[\w.\[\]'\"]*\s*", stripped):
        roles.append("as a variable that is assigned")
    return roles


def _find_sentence_start(before: str, token: str) -> list[str]:
    bare = token.strip()
    ends = re.search(r"[.!?。！？]['\")\]]*\s+$|[。！？]$", before + ("" if token.strip() == token else " "))
    return ["at the start of a sentence"] if ends and bare[:1].isalpha() and bare[:1] == bare[:1].upper() else []


def find_sort(context: str) -> str:
    """Return what a context is about; of two contexts of one sort a label says one."""
    if context in _POSITIONS:
        return "position"
    if context in READ_AS_PROSE or context == FIRST_SENTENCE:
        return "text"
    if context.startswith("as "):
        return "role"
    return "brackets" if context in _BRACKETS else "statement"


def is_prose(contexts: Iterable[str]) -> bool:
    """Whether words of a programming language are ordinary words in these contexts."""
    return not READ_AS_PROSE.isdisjoint(contexts)
