"""A call of each question, for the documentation: what is asked, as a line for curl and as one of Python.

The calls are about the demo's dictionaries. `docs/record_answers.py` asks a store of the demo and keeps the answers.
"""

from __future__ import annotations

import json
import shlex
from typing import Any, NamedTuple
from urllib.parse import urlencode

from featurestore.wire.question import Question

SERVICE = "http://127.0.0.1:8000"
FEATURE = "pystdlib/4-res-2k/115"
OTHER = "pystdlib/4-res-2k/10"
DICTIONARY = "pystdlib/4-res-2k"
JOB = "check-0123456789ab"
GRAPH: dict[str, Any] = {
    "metadata": {"scan": "pystdlib", "prompt": "try:", "prompt_tokens": ["try", ":"]},
    "nodes": [
        {"node_id": "4_115_1", "feature": 115, "layer": "4", "ctx_idx": 1, "feature_type": "transcoder"},
        {"node_id": "5_8_1", "feature": 8, "layer": "5", "ctx_idx": 1, "feature_type": "logit"},
    ],
    "links": [{"source": "4_115_1", "target": "5_8_1", "weight": 0.5}],
}


class CallExample(NamedTuple):
    """A call: the fields of its request, the id in its path, and what follows `store.` in Python."""

    fields: dict[str, Any]
    python: str = ""
    id: str | None = None


def _write_label(id: str, label: str) -> str:
    return f"add_labels([featurestore.GivenLabel(id={id!r}, label={label!r})])"


# By the name of the question, in an order in which a store can answer them one after the other.
EXAMPLES: dict[str, CallExample] = {
    "info": CallExample({}, "info()"),
    "coverage": CallExample({}, "coverage()"),
    "dictionaries": CallExample({}, "dictionaries()"),
    "dictionary": CallExample({}, f"dictionary({DICTIONARY!r})", DICTIONARY),
    "feature": CallExample({"examples": 1}, f"feature({FEATURE!r}, examples=1)", FEATURE),
    "scores": CallExample({}, f"scores({FEATURE!r})", FEATURE),
    "vector": CallExample({}, f"vector({FEATURE!r})", FEATURE),
    "search": CallExample(
        {"text": "exception handling", "where": "density < 0.01", "k": 2},
        "search('exception handling', where='density < 0.01', k=2)",
    ),
    "nearest": CallExample({"near": [FEATURE], "k": 2}, f"nearest({FEATURE!r}, k=2)"),
    "rerank": CallExample(
        {"text": "raising an error", "features": [FEATURE, OTHER]}, f"rerank('raising an error', {[FEATURE, OTHER]})"
    ),
    "activating": CallExample({"text": "try: pass", "k": 2}, "activating('try: pass', k=2)"),
    "contrast": CallExample(
        {"texts": ["try: pass"], "against": ["if x: pass"], "k": 2}, "contrast(['try: pass'], ['if x: pass'], k=2)"
    ),
    "neighbourhood": CallExample({"k": 2}, f"neighbourhood({FEATURE!r}, k=2)", FEATURE),
    "duplicates": CallExample(
        {"dictionary": DICTIONARY, "cosine": 0.8, "k": 2}, f"duplicates({DICTIONARY!r}, cosine=0.8, k=2)"
    ),
    "sql": CallExample(
        {"sql": "SELECT state, count(*) AS n FROM features GROUP BY ALL ORDER BY ALL"},
        "sql('SELECT state, count(*) AS n FROM features GROUP BY ALL ORDER BY ALL')",
    ),
    "features": CallExample({"ids": [FEATURE, OTHER], "examples": 0}, f"features({[FEATURE, OTHER]}, examples=0)"),
    "examples": CallExample(
        {"ids": [FEATURE], "band": "top", "examples": 1}, f"examples([{FEATURE!r}], examples=1, band='top')"
    ),
    "vectors": CallExample({"ids": [FEATURE, OTHER]}, f"vectors({[FEATURE, OTHER]})"),
    "matrix": CallExample({}, f"vectors(dictionary={DICTIONARY!r})", DICTIONARY),
    "compare": CallExample({"id": [FEATURE, OTHER], "examples": 1}, f"compare({FEATURE!r}, {OTHER!r}, examples=1)"),
    "label": CallExample({"label": "opens a try block"}, _write_label(FEATURE, "opens a try block"), FEATURE),
    "label_many": CallExample(
        {"labels": [{"id": OTHER, "label": "a note on errors", "explainer": "human"}]},
        _write_label(OTHER, "a note on errors"),
    ),
    "vote": CallExample(
        {"label": "opens a try block", "vote": 1}, f"vote({FEATURE!r}, 'opens a try block', 1)", FEATURE
    ),
    "labels": CallExample({}, f"feature({FEATURE!r}).labels", FEATURE),
    "remove_label": CallExample({}, f"remove_label({FEATURE!r})", FEATURE),
    "label_history": CallExample({}, f"label_history({FEATURE!r})", FEATURE),
    "put_graph": CallExample(
        {"graph": GRAPH, "map": ["4=pystdlib/4-res-2k"]},
        "add_graph('try.json', slug='try', map=['4=pystdlib/4-res-2k'])",
        "try",
    ),
    "graphs": CallExample({}, "graphs()"),
    "graph": CallExample({}, "graph('try')", "try"),
    "graph_file": CallExample({}, "graph_file('try')", "try"),
    "save_graph": CallExample(
        {"view": {"pinnedIds": ["4_115_1"]}}, "save_graph('try', {'pinnedIds': ['4_115_1']})", "try"
    ),
    "edit_graph": CallExample(
        {"group": {"errors": ["4_115_1"]}}, "edit_graph('try', group={'errors': ['4_115_1']})", "try"
    ),
    "remove_graph": CallExample({}, "remove_graph('try')", "try"),
    "save_list": CallExample(
        {"features": [FEATURE], "note": "for the talk"},
        f"save_list('errors', {[FEATURE]}, note='for the talk')",
        "errors",
    ),
    "change_list": CallExample({"add": [OTHER]}, f"change_list('errors', add={[OTHER]})", "errors"),
    "lists": CallExample({}, "lists()"),
    "feature_list": CallExample({}, "feature_list('errors')", "errors"),
    "remove_list": CallExample({}, "remove_list('errors')", "errors"),
    "start_job": CallExample({"kind": "check"}, "start_job('check')"),
    "jobs": CallExample({}, "jobs()"),
    "job": CallExample({}, f"job({JOB!r})", JOB),
    "cancel_job": CallExample({}, f"cancel_job({JOB!r})", JOB),
    "healthz": CallExample({}),
    "readyz": CallExample({}),
}


def write_curl(question: Question[Any, Any], example: CallExample, service: str = SERVICE) -> str:
    """Return the call as a line for a shell: in the URL where the question takes GET, else as JSON in its body."""
    url = f"{service}{question.prefix}/{question.url(example.id)}"
    method = question.methods[0]
    if method in ("GET", "DELETE"):
        query = urlencode(example.fields, doseq=True, safe="/")
        line = ["curl", *(["-X", method] if method != "GET" else []), url + (f"?{query}" if query else "")]
    else:
        body = json.dumps(example.fields, ensure_ascii=False)
        line = ["curl", *(["-X", method] if method != "POST" else []), url, "--json", body]
    return shlex.join(line)
