"""Plain words for tokens whose role a reader knows better by name: keywords, library words, grammar of English.

A key is a token or a whole word; the text says what it is for. So labels are readable, and a search for "exception
handling" finds `except`. Knows nothing of features.
"""

from __future__ import annotations

import re

ROLES: dict[str, str] = {
    # exceptions
    "except": "exception handling",
    "try": "exception handling",
    "finally": "exception handling clean-up",
    "raise": "raising an exception",
    "raised": "exceptions",
    "raises": "exceptions",
    "exception": "exceptions",
    "exceptions": "exceptions",
    "error": "errors",
    "errors": "errors",
    "warning": "warnings",
    "warnings": "warnings",
    "warn": "warnings",
    "assert": "assertion",
    # definitions and imports
    "def": "function definition",
    "class": "class definition",
    "lambda": "anonymous function",
    "return": "return statement",
    "returns": "return value",
    "yield": "generator",
    "import": "import statement",
    "from": "import statement",
    "self": "method's self argument",
    "cls": "class method argument",
    "super": "call to the parent class",
    "property": "property decorator",
    "staticmethod": "static method decorator",
    "classmethod": "class method decorator",
    "init": "constructor",
    "__init__": "constructor",
    "args": "function arguments",
    "argument": "function arguments",
    "arguments": "function arguments",
    "kwargs": "keyword arguments",
    "global": "global variable statement",
    "del": "delete statement",
    "pass": "empty block",
    # control flow and logic
    "if": "conditional",
    "elif": "conditional",
    "else": "conditional, else branch",
    "for": "loop",
    "while": "loop",
    "break": "loop exit",
    "continue": "loop control",
    "in": "membership or iteration",
    "is": "identity test",
    "not": "negation",
    "and": "boolean logic",
    "or": "boolean logic",
    "with": "context manager",
    "as": "alias",
    "async": "asynchronous code",
    "await": "asynchronous code",
    "asyncio": "asynchronous code",
    "coroutine": "asynchronous code",
    "none": "null value",
    "true": "boolean value",
    "false": "boolean value",
    "isinstance": "type check",
    "type": "types",
    "hasattr": "attribute check",
    "getattr": "attribute lookup",
    # everyday library words
    "len": "length",
    "range": "number range",
    "str": "strings",
    "string": "strings",
    "strings": "strings",
    "int": "integers",
    "integer": "integers",
    "float": "floating-point numbers",
    "bool": "booleans",
    "list": "lists",
    "dict": "dictionaries",
    "dictionary": "dictionaries",
    "tuple": "tuples",
    "set": "sets",
    "append": "list operations",
    "pop": "list operations",
    "sort": "sorting",
    "sorted": "sorting",
    "key": "mapping keys",
    "keys": "mapping keys",
    "value": "values",
    "values": "values",
    "items": "mapping items",
    "index": "positions and indices",
    "iter": "iteration",
    "next": "iteration",
    "bytes": "bytes",
    "encode": "text encoding",
    "decode": "text decoding",
    "encoding": "text encoding",
    "utf": "text encoding",
    "unicode": "text encoding",
    "format": "formatting",
    "join": "joining strings",
    "split": "splitting strings",
    "strip": "stripping strings",
    "re": "regular expressions",
    "regex": "regular expressions",
    "match": "pattern matching",
    "pattern": "patterns",
    "parse": "parsing",
    "parser": "parsing",
    "open": "opening files",
    "close": "closing files",
    "read": "reading files or data",
    "write": "writing files or data",
    "file": "files",
    "files": "files",
    "filename": "file names",
    "path": "file paths",
    "dir": "directories",
    "directory": "directories",
    "os": "operating system",
    "sys": "interpreter internals",
    "environ": "environment variables",
    "process": "processes",
    "subprocess": "processes",
    "thread": "threads",
    "threading": "threads",
    "lock": "locks",
    "socket": "network sockets",
    "sock": "network sockets",
    "host": "network hosts",
    "port": "network ports",
    "server": "network servers",
    "http": "web protocol",
    "url": "web addresses",
    "urllib": "web addresses",
    "email": "e-mail messages",
    "message": "messages",
    "msg": "messages",
    "time": "time",
    "date": "dates",
    "datetime": "dates and times",
    "year": "dates",
    "day": "dates",
    "json": "JSON data",
    "xml": "XML markup",
    "html": "HTML markup",
    "tag": "markup tags",
    "print": "printing",
    "log": "logging",
    "logging": "logging",
    "test": "tests",
    "version": "versions",
    "deprecated": "deprecation",
    "copyright": "licence text",
    "license": "licence text",
    "memory": "memory",
    "buffer": "buffers",
    "cache": "caches",
    "xxx": "note to programmers",
    "todo": "note to programmers",
    "fixme": "note to programmers",
    "repr": "string representation",
    "stdin": "standard input",
    "stdout": "standard output",
    "stderr": "standard error stream",
    "widget": "GUI widgets",
    "tk": "Tk, the GUI toolkit",
    "child": "child processes",
    "fork": "child processes",
    "pid": "process ids",
    "fd": "file descriptors",
    "max": "maximum",
    "min": "minimum",
    "sep": "separators",
    "default": "default values",
    "option": "options",
    "options": "options",
    "getopt": "command line options",
    "argv": "command line arguments",
    "callback": "callbacks",
    "event": "events",
    "timeout": "time limits",
    "stringio": "in-memory text streams",
    "bytesio": "in-memory byte streams",
    "random": "random numbers",
    "math": "mathematics",
    "decimal": "decimal arithmetic",
}

# Words of a programming language that mean something else, or nothing of the kind, in prose
_CODE_ONLY_WORDS = """
    try finally raise def class lambda return import from self cls super pass if elif else for while break continue in
    is not and or with as async await del set list next
"""
_CODE_ONLY = frozenset(_CODE_ONLY_WORDS.split())
_GRAMMAR = {
    "definite article": "the",
    "indefinite article": "a an",
    "conjunction": "and or but nor",
    "preposition": "of in on at by with from into onto over under about between through for as without within",
    "infinitive or preposition": "to",
    "modal verb": "may might can could cannot must should shall will would",
    "form of the verb to be": "is are was were be been being isn't aren't wasn't",
    "auxiliary verb": "has have had do does did doesn't don't didn't",
    "negation": "not no never",
    "demonstrative": "this that these those",
    "pronoun": "it they he she we you i them us me him its their his her our your my itself themselves",
    "question or relative word": "who whom whose what when where why how which",
    "condition": "if unless whether otherwise",
    "quantifier": "all any each every some both many few most several none",
    "number word": "one two three four five six seven eight nine ten first second third",
    "comparison": "than",
    "existence": "there",
    "reason": "because so therefore since thus hence",
    "time relation": "before after until during while then",
}
_WITHOUT_PLURAL = frozenset(
    {"form of the verb to be", "infinitive or preposition", "existence", "comparison", "reason"}
)
_GRAMMAR_OF = {word: role for role, words in _GRAMMAR.items() for word in words.split()}
_CLASSES = {
    "exception class names": "exception class",
    "numbers": "number",
    "hexadecimal numbers": "hexadecimal number",
    "upper-case constant names": "upper-case constant",
}
_EXCEPTION = re.compile(r"\w*(Error|Exception|Warning|Interrupt)$")
_NUMBER = re.compile(r"\d+$")
_HEX = re.compile(r"0x[0-9a-fA-F]*$")
_UPPER = re.compile(r"[A-Z][A-Z0-9_]+$")


def describe_role(word: str, *, prose: bool = False) -> str | None:
    """Return what a token or word is for, in plain words; None when the glossary does not know it.

    In `prose` a word of a programming language is an ordinary one: `in` is a preposition.
    """
    bare = word.strip()
    lowered = bare.lower()
    if prose and lowered in _GRAMMAR_OF:
        return _GRAMMAR_OF[lowered]
    text = ROLES.get(bare) or ROLES.get(lowered)
    if text and not (prose and lowered in _CODE_ONLY):
        return text
    return describe_class(bare)


def is_function_word(word: str) -> bool:
    """Whether a word in lower case says nothing about a text that it is in: grammar, of English or of a language."""
    return word in _GRAMMAR_OF or word in _CODE_ONLY or word in ("none", "true", "false", "except", "assert", "global")


def find_plural(role: str) -> str | None:
    """Return a role as a kind of words: "modal verbs"; None where it has no plural, such as "exception handling"."""
    if role.endswith("s"):
        return role
    return f"{role}s" if role in _GRAMMAR and role not in _WITHOUT_PLURAL else None


def find_singular(role: str) -> str:
    """Return what one word of a class of names is called; other roles as they are."""
    return _CLASSES.get(role, role)


def describe_class(word: str) -> str | None:
    """Return the class of names that a word belongs to by its form, in the plural; None for other words."""
    if _EXCEPTION.match(word):
        return "exception class names"
    if _NUMBER.match(word):
        return "numbers"
    if _HEX.match(word):
        return "hexadecimal numbers"
    return "upper-case constant names" if _UPPER.match(word) else None
