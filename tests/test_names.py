"""Names: functions are verbs, and no two classes of a package share a name."""

import ast
import collections
import functools

import pytest

from tests.support import ROOT

PACKAGES = ["featurestore", "ingest", "labeler", "featurestore_demo", "bench"]
# Irregular participles; what ends in -ed is told by its ending.
PARTICIPLES = {
    *(
        "begun",
        "bound",
        "broken",
        "built",
        "chosen",
        "done",
        "drawn",
        "found",
        "given",
        "gone",
        "held",
        "hidden",
        "kept",
    ),
    *(
        "known",
        "left",
        "lost",
        "made",
        "meant",
        "paid",
        "said",
        "seen",
        "sent",
        "shown",
        "spent",
        "spoken",
        "taken",
        "told",
    ),
    *("torn", "understood", "written"),
}
VERBS = {
    "add",
    "bleed",
    "breed",
    "embed",
    "exceed",
    "expand",
    "feed",
    "need",
    "proceed",
    "read",
    "seed",
    "shed",
    "speed",
    "spread",
}
# Names that users import or that a protocol of Python gives.
KEPT = {"held_out", "marked", "trusted_hosts", "bound_tokens", "balanced_accuracy", "grouped", "modified"}


@functools.cache
def parse(path):
    return ast.parse(path.read_text("utf-8"))


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def is_participle(name):
    first = name.strip("_").split("_")[0]
    return first not in VERBS and (first in PARTICIPLES or (len(first) > 3 and first.endswith("ed")))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_is_called_by_a_participle(package):
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in modules(package)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef) and is_participle(node.name) and node.name not in KEPT
    ]
    assert found == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_classes_of_a_package_share_a_name(package):
    places = collections.defaultdict(list)
    for path in modules(package):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize("package", PACKAGES[:4])
def test_every_folder_says_what_lives_there(package):
    for path in (ROOT / package).rglob("__init__.py"):
        assert ast.get_docstring(parse(path)), f"{path.relative_to(ROOT)} has no docstring"
