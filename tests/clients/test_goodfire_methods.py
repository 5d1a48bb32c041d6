"""Every method of the package goodfire, called at a service: it does what the documentation's table says."""

import re

import pytest

import featurestore
from tests.clients.service import run, serving
from tests.support import ROOT

pytestmark = pytest.mark.clients
DOCUMENT = ROOT / "docs" / "howto" / "neuronpedia.md"
OUTCOMES = {"same", "more", "501", "no request"}
# What a client offers, and the public methods of the values that it takes and returns.
LIST_METHODS = """
import inspect, json
import goodfire
client, later = goodfire.Client("any"), goodfire.AsyncClient("any")
def list_of(value):
    kinds = (staticmethod, classmethod, type(lambda: None))
    own = {name: inspect.getattr_static(value, name) for name in vars(value)}
    return {name for name, member in own.items() if isinstance(member, kinds)
            and not name.startswith("__") and name not in ("_get_headers",)}
names = set()
for each in (client, later):
    for part in ("features", "chat", "chat.completions"):
        api = each
        for step in part.split("."):
            api = getattr(api, step)
        names |= {f"{part}.{name}" for name in list_of(type(api))}
for name in goodfire.__all__:
    value = getattr(goodfire, name)
    if value not in (goodfire.Client, goodfire.AsyncClient):
        names |= {f"{name}.{method}" for method in list_of(value)}
print(json.dumps(sorted(names)))
"""
CALL_METHODS = """
import asyncio, json, os
import goodfire, httpx
from goodfire import Conditional, ConditionalGroup, Feature, FeatureEdits, FeatureGroup, NestedScope, Variant

asked = []
send = httpx.AsyncClient.send
async def note(self, request, **options):
    asked.append(str(request.url))
    return await send(self, request, **options)
httpx.AsyncClient.send = note
send_now = httpx.Client.send
def note_now(self, request, **options):
    asked.append(str(request.url))
    return send_now(self, request, **options)
httpx.Client.send = note_now

MODEL = "tiny/0-res"
client = goodfire.Client(api_key="any", base_url=os.environ["URL"])
later = goodfire.AsyncClient(api_key="any", base_url=os.environ["URL"])
group = client.features.search("brackets", model=MODEL, top_k=4)
feature, second = group[0], group[1]
chat = [{"role": "user", "content": "x"}]
holds = feature > 0.5
both = holds & (second > 0.1)
edits = FeatureEdits([(feature, 0.5), (second, -0.2)])
variant = Variant(MODEL)
scope = NestedScope(both, variant)

CALLS = {
    "features.search": lambda f: f.search("brackets", MODEL, top_k=3),
    "features.neighbors": lambda f: f.neighbors(group, MODEL, top_k=3),
    "features.rerank": lambda f: f.rerank(group, "exceptions", MODEL, top_k=3),
    "features.semantic_similarity": lambda f: f.semantic_similarity(group, "exceptions", MODEL),
    "features.lookup": lambda f: f.lookup([3, 8], MODEL),
    "features._list": lambda f: f._list([str(feature.uuid)]),
    "features._tokenize": lambda f: f._tokenize(chat, MODEL),
    "features.activations": lambda f: f.activations(chat, MODEL, features=group),
    "features.inspect": lambda f: f.inspect(chat, MODEL),
    "features.contrast": lambda f: f.contrast([chat], [chat], MODEL),
    "features.attribute": lambda f: f.attribute(chat, 1, MODEL),
    "features.generate_contrastive_stimulus": lambda f: f.generate_contrastive_stimulus("brackets"),
    "features.AutoSteer": lambda f: f.AutoSteer("brackets", MODEL),
    "features.AutoConditional": lambda f: f.AutoConditional("brackets", MODEL),
    "chat.logits": lambda f: f.logits(chat, MODEL),
    "chat.completions.create": lambda f: f.create(chat, MODEL),
    "Feature.json": feature.json,
    "Feature.from_json": lambda: Feature.from_json(feature.json()),
    "FeatureGroup.pick": lambda: group.pick([0]),
    "FeatureGroup.json": group.json,
    "FeatureGroup.from_json": lambda: FeatureGroup.from_json(group.json()),
    "FeatureGroup.add": lambda: FeatureGroup([feature]).add(second),
    "FeatureGroup.pop": lambda: FeatureGroup([feature]).pop(0),
    "FeatureGroup.union": lambda: group.union(FeatureGroup([feature])),
    "FeatureGroup.intersection": lambda: group.intersection(FeatureGroup([feature])),
    "Conditional.json": holds.json,
    "Conditional.from_json": lambda: Conditional.from_json(holds.json()),
    "ConditionalGroup.json": both.json,
    "ConditionalGroup.from_json": lambda: ConditionalGroup.from_json(both.json()),
    "FeatureEdits.set": lambda: edits.set(feature, 0.4),
    "FeatureEdits.remove": lambda: FeatureEdits([(feature, 0.5)]).remove(feature),
    "FeatureEdits.rescale": edits.rescale,
    "FeatureEdits.reset": lambda: FeatureEdits([(feature, 0.5)]).reset(),
    "FeatureEdits.pop": lambda: FeatureEdits([(feature, 0.5)]).pop(feature),
    "FeatureEdits.as_dict": edits.as_dict,
    "Variant.set": lambda: variant.set(feature, 0.3),
    "Variant.clear": lambda: variant.clear(feature),
    "Variant.reset": variant.reset,
    "Variant.json": variant.json,
    "Variant.from_json": lambda: Variant.from_json(Variant(MODEL).json()),
    "Variant.set_when": lambda: variant.set_when(both, {feature: 0.1}),
    "Variant.abort_when": lambda: variant.abort_when(both),
    "Variant.handle_when": lambda: variant.handle_when(both, lambda context: None),
    "NestedScope.json": scope.json,
    "NestedScope.from_json": lambda: NestedScope.from_json(
        {"condition": both.json(), "base_model": MODEL, "nested_variant": Variant(MODEL).json()}
    ),
}

def find(root, path):
    for step in path.split("."):
        root = getattr(root, step)
    return root

def outcome_of(call):
    asked.clear()
    try:
        answer = call()
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"
    return "answered" if asked else "no request"

outcomes = {}
loop = asyncio.new_event_loop()
for name, call in CALLS.items():
    part, _, method = name.rpartition(".")
    if part not in ("features", "chat", "chat.completions"):
        outcomes[name] = [outcome_of(call)]
        continue
    now, soon = find(client, part), find(later, part)
    outcomes[name] = [outcome_of(lambda: loop.run_until_complete(call(soon)))]
    if hasattr(now, method):
        outcomes[name].append(outcome_of(lambda: call(now)))
outcomes["chat.completions.create"] += [
    outcome_of(lambda: list(client.chat.completions.create(chat, MODEL, stream=True))),
]
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def documented():
    """What the table of the documentation says of each method."""
    section = DOCUMENT.read_text().partition("## Goodfire's client too")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \| ([a-z0-9 ]+) \|", section, re.MULTILINE)
    return {name: outcome for names, outcome in rows for name in re.findall(r"`([\w.]+)`", names)}


@pytest.fixture(scope="module")
def outcomes(tiny_store):
    """What came of a call of each method: of the client's, and of the asynchronous client's."""
    with featurestore.connect(tiny_store) as store, serving(store, compat=frozenset({"goodfire"})) as url:
        return run(CALL_METHODS, url)


def test_every_method_is_in_the_table_and_was_called(documented, outcomes):
    methods = run(LIST_METHODS, "")
    assert len(methods) > 40
    assert sorted(documented) == methods
    assert sorted(outcomes) == methods
    assert set(documented.values()) == OUTCOMES


def test_every_method_does_what_the_table_says(documented, outcomes):
    for name, outcome in documented.items():
        for answer in outcomes[name]:
            if outcome in ("same", "more"):
                assert answer == "answered", name
            elif outcome == "no request":
                assert answer == "no request", (name, answer)
            else:
                assert answer.startswith("RequestFailedException") and "a store answers about features" in answer, (
                    name,
                    answer,
                )
