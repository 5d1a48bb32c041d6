"""The five feature routes of the package goodfire, pointed at a service."""

import uuid

import pytest

import featurestore
from featurestore.web.compat.goodfire import make_uuid
from tests.clients.service import run, serving

pytestmark = pytest.mark.clients


def test_the_sdk_works_unchanged(tiny_store):
    script = """
import asyncio, json, os
import goodfire
client = goodfire.Client(api_key="any", base_url=os.environ["URL"])
def show(group): return [[str(f.uuid), f.label, f.index_in_sae] for f in group]
later = goodfire.AsyncClient(api_key="any", base_url=os.environ["URL"]).features
model = "tiny/0-res"
found = client.features.search("brackets", model=model, top_k=4)
table = client.features.lookup([3, 8], model=model)
near = client.features.neighbors(table[3], model=model, top_k=2)
group = client.features.neighbors(found, model=model, top_k=3)
print(json.dumps({
    "found": show(found), "near": show(near), "group": len(group),
    "reranked": show(client.features.rerank(found, "exceptions", model=model, top_k=3)),
    "similarity": asyncio.run(later.semantic_similarity(found, "exceptions", model=model)),
    "lookup": {index: f.label for index, f in table.items()},
    "list": show(asyncio.run(later._list([str(f.uuid) for f in found]))),
}))
"""
    with (
        featurestore.connect(tiny_store) as store,
        serving(store, compat=frozenset({"goodfire", "neuronpedia"})) as url,
    ):
        told = run(script, url)
        hits = store.search("brackets", mode="semantic", within="tiny/0-res", k=4, group=False)
        near = store.nearest("tiny/0-res/3", within="tiny/0-res", k=2)
        ranked = store.rerank("exceptions", [hit.id for hit in hits], mode="semantic")
        labels = {str(n): store.feature(f"tiny/0-res/{n}").label for n in (3, 8)}
    assert (
        told["found"] == told["list"] == [[str(make_uuid("tiny/0-res", h.feature)), h.label, h.feature] for h in hits]
    )
    assert [index for _, _, index in told["near"]] == [hit.feature for hit in near] and told["group"] == 3
    assert [index for _, _, index in told["reranked"]] == [hit.feature for hit in ranked][:3]
    assert told["similarity"] == pytest.approx([hit.score for hit in ranked])
    assert told["lookup"] == labels


def test_what_it_cannot_answer(tiny_store):
    from featurestore.web import Settings, create_app

    with featurestore.connect(tiny_store) as store:
        http = create_app(store, Settings(compat=frozenset({"goodfire"}))).test_client()
        begin = "/api/inference/v1"
        assert http.post(f"{begin}/chat-attribution/contrast", json={}).status_code == 501
        several = http.get(f"{begin}/features/search?query=x&model=tiny")
        assert several.status_code == 400 and "tiny/0-res, tiny/1-res" in several.json["detail"]
        assert http.get(f"{begin}/features/search?query=x&model=other").status_code == 404
        assert http.get(f"{begin}/features/?feature_id={uuid.uuid4()}").status_code == 404
        assert http.get(f"{begin}/features/?feature_id=x").status_code == 400
        assert http.get(f"{begin}/features/").json == {"features": []}
        assert http.post(f"{begin}/features/lookup", json={"indices": [99], "model": "tiny/0-res"}).status_code == 404
