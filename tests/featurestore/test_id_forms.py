"""Every method takes a feature in every form of an id, from a store and from a service."""

import pytest

from featurestore import FeatureId, GivenLabel, Query
from tests.support import tiny

ID = "tiny/0-res/8"
FORMS = {
    "text": lambda store: ID,
    "pair": lambda store: ("tiny/0-res", 8),
    "neuronpedia": lambda store: "tiny@0-res:8",
    "parsed": lambda store: FeatureId("tiny/0-res", 8),
    "hit": lambda store: next(hit for hit in store.nearest(store.vector(ID), k=48, all=True) if hit.id == ID),
    "feature": lambda store: store.feature(ID),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("ids") / "s") as opened:
        yield opened


def _ids(answer):
    return [each.id for each in answer]


QUESTIONS = {
    "feature": lambda s, given: s.feature(given).id,
    "features": lambda s, given: _ids(s.features([given, "tiny/1-res/3"])),
    "features of one": lambda s, given: _ids(s.features(given)),
    "examples": lambda s, given: _ids(s.examples([given, "tiny/1-res/3"], examples=1)),
    "examples of one": lambda s, given: _ids(s.examples(given)),
    "vector": lambda s, given: s.vector(given).tolist(),
    "vectors": lambda s, given: s.vectors([given, "tiny/1-res/3"]).tolist(),
    "vectors of one": lambda s, given: s.vectors(given).tolist(),
    "scores": lambda s, given: list(s.scores(given)),
    "nearest": lambda s, given: _ids(s.nearest(given)),
    "nearest to two": lambda s, given: _ids(s.nearest([given, "tiny/1-res/3"])),
    "unlike": lambda s, given: _ids(s.nearest("tiny/1-res/3", unlike=given)),
    "unlike two": lambda s, given: _ids(s.nearest("tiny/1-res/3", unlike=[given, "tiny/0-res/5"])),
    "among": lambda s, given: _ids(s.search("self", among=given)),
    "among two": lambda s, given: _ids(s.search("self", among=[given, "tiny/1-res/3"])),
    "rerank": lambda s, given: _ids(s.rerank("self", [given, "tiny/1-res/3"])),
    "pages": lambda s, given: [_ids(page) for page in s.pages(near=given, k=20)],
    "query": lambda s, given: _ids(s.run(Query.of({"near": [given]}))),
    "neighbourhood": lambda s, given: _ids(s.neighbourhood(given, k=3).nodes),
    "label_history": lambda s, given: len(s.label_history(given)),
    "vote": lambda s, given: s.vote(given, s.feature(ID).labels[-1].label, 0),
    "set_label": lambda s, given: s.set_label(given, "said here"),
    "add_labels": lambda s, given: s.add_labels([GivenLabel(id=given, label="said here")]) > 0,
    "remove_label": lambda s, given: (s.set_label(ID, "said here"), s.remove_label(given)),
    "save_list": lambda s, given: _ids(s.save_list("some", [given, "tiny/1-res/3"], replace=True).features),
    "save_list of one": lambda s, given: _ids(s.save_list("some", given, replace=True).features),
    "change_list": lambda s, given: _ids(s.change_list("some", remove=given, add=["tiny/1-res/3", given]).features),
}


def test_every_method_takes_every_form(door):
    """A form that is not understood is an error, and one that is misunderstood another answer."""
    for name, ask in QUESTIONS.items():
        if name == "label_history":
            continue
        answers = {form: repr(ask(door, give(door))) for form, give in FORMS.items()}
        assert set(answers.values()) == {answers["text"]}, (name, answers)
    assert {door.label_history(give(door)) for give in FORMS.values()} == {door.label_history(ID)}
