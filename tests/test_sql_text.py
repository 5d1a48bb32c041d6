"""SQL is never put together from values: what varies goes beside the statement, as a parameter.

The source is read: wherever a text that looks like SQL is formatted, what goes into it must be in the list below, which
holds parts of statements only. A new entry needs a reason of the same kind.
"""

import ast
import re

import pytest

from tests.support import ROOT

PACKAGES = ("featurestore", "ingest", "labeler", "featurestore_demo", "bench", "docs")
SQL = re.compile(
    r"\b(SELECT|FROM|WHERE|JOIN|INSERT INTO|DELETE|CREATE|ORDER BY|GROUP BY|LIMIT|OFFSET|SET) +[\w*({$'\"]"
    r"|^ *(SELECT|FROM|WHERE)\b"
)
CONDITION = "a condition that its caller writes in SQL, checked to be one"
OURS = "a name or an order of the schema's own"
ALLOWED = {
    "featurestore/maintenance/compact.py": {"LAYOUTS[table].order": OURS, "schema.OPTIONS": OURS},
    "featurestore/interface/feature_store.py": {
        "listed": "names of columns, of letters and underscores alone",
        "where": "a condition that its caller writes in SQL",
    },
    "featurestore/sql/conditions.py": {
        "check_condition(selection.where, selection.subqueries)": CONDITION,
        "statement": "the SELECT of the line above",
        "where": CONDITION,
    },
    "featurestore/sql/rules.py": {"rule": "an expression that its caller writes, to be checked"},
    "featurestore/web/pages/one_feature/facts.py": {
        "dictionary": "it is shown to be copied, and not run",
        "page.feature": "it is shown to be copied, and not run",
    },
    "featurestore/sql/statements.py": {"count": "it is in a message"},
    "featurestore/tables/schema.py": {
        "table": OURS,
        "name": OURS,
        "names": OURS,
        "by": OURS,
        "order": OURS,
        "listed": "files, quoted by the one function there: CREATE VIEW takes no parameters",
        "OPTIONS if held is None else OPTIONS_BY_NAME": OURS,
        "_reading(name, files)": "a SELECT of the line above",
        "_reading(name, files, names)": "the same",
    },
    "featurestore/web/pages/dictionary.py": {"FEATURES": OURS, "ONE_PAGE": OURS},
    "labeler/explainers/agreement.py": {"source": "one of two constant texts"},
    "labeler/runs/row_buffer.py": {"table": OURS},
    "labeler/scorers/sample.py": {
        "source": "one of two constant texts",
        "condition": "a condition that its caller writes in SQL",
        "first": "an order that its caller writes in SQL",
    },
    "labeler/selection.py": {
        "'AND coalesce(active_tokens, density) > 0' if live else ''": "one of two constant texts",
        "condition": "a condition that its caller writes in SQL",
        "first": "an order that its caller writes in SQL",
    },
    "bench/store.py": {"COLUMNS": OURS},
}


def text_of(node):
    """The constant parts of a text, a mark where something is put in; None for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def formatted(tree):
    """Every (text, expression put into it), by f-strings, %, .format, + and +=."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    yield text_of(node), part.value
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
            for text, other in ((node.left, node.right), (node.right, node.left)):
                if text_of(text) is not None and text_of(other) is None:
                    yield text_of(text), other
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            for value in [*node.args, *(word.value for word in node.keywords)]:
                yield text_of(node.func.value) or "", value


def values_in(tree):
    return [ast.unparse(value) for text, value in formatted(tree) if SQL.search(text)]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_value_is_formatted_into_sql(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        for value in values_in(ast.parse(path.read_text())):
            assert value in ALLOWED.get(place, {}), f"{place} puts {value} into SQL: give it as a parameter"


def test_what_is_allowed_is_still_there():
    for place, values in ALLOWED.items():
        assert set(values) <= set(values_in(ast.parse((ROOT / place).read_text()))), place


@pytest.mark.parametrize(
    "code",
    [
        "store.sql(f'SELECT label FROM features WHERE feature = {n}')",
        "store.sql('FROM features WHERE dictionary = ' + name)",
        "store.sql('FROM features WHERE dictionary = \\'%s\\'' % name)",
        "store.sql('SELECT * FROM features LIMIT {}'.format(k))",
        "some = f'WHERE dictionary = {name}'",
    ],
)
def test_the_reader_finds_them(code):
    assert values_in(ast.parse(code))
