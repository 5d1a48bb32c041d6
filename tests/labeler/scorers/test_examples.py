"""The texts a label is scored on: none that its explainer saw, each of its kind."""

import pytest

from labeler.explainers import llm_explainer
from labeler.scorers import examples
from tests.support import ruled_store

COUNT = len(ruled_store.FEATURES)


@pytest.mark.parametrize("contexts", [False, True])
def test_texts_are_fair_and_of_their_kind(tmp_path, contexts):
    """Nothing an explainer saw; positives fire by the rule and negatives do not; no text twice."""
    with ruled_store.write(tmp_path / "s", contexts=contexts) as store:
        store.index()
        found = examples.ExampleSource(store, ruled_store.NAME)
        for page in store.evidence([f"{ruled_store.NAME}/{n}" for n in range(COUNT)]):
            material = found.collect_material(page, 12)
            assert material.examples == "held-out"
            rule = ruled_store.FEATURES[page.feature][1]
            seen = {one.document for one in llm_explainer.select_examples(page)}
            for kind in (material.positives, material.random, material.hard):
                assert len(kind) >= 8
                assert len({text.document for text in kind}) == len(kind)
                assert not {text.document for text in kind} & seen
                assert all(text.held_out and any(rule(text.tokens)) == (kind is material.positives) for text in kind)
            partner = ruled_store.FEATURES[page.feature ^ 1][1]
            assert all(any(partner(text.tokens)) for text in material.hard), "the neighbour fires on hard negatives"
            assert found.collect_material(page, 12) == material, "chance has a fixed seed"


def test_without_held_out_documents_texts_are_those_the_explainer_was_not_shown(tmp_path):
    with ruled_store.write(tmp_path / "s", seen=26, held=0) as store:
        page = next(iter(store.evidence([f"{ruled_store.NAME}/2"])))
        material = examples.ExampleSource(store, ruled_store.NAME).collect_material(page, 12)
        assert material.examples == "unseen"
        assert not {one.document for one in llm_explainer.select_examples(page)} & {
            text.document for text in material.positives
        }
        few = page.__class__(
            **{name: getattr(page, name) for name in page.__struct_fields__} | {"examples": page.examples[:4]}
        )
        with pytest.raises(llm_explainer.MissingEvidence, match="too few examples"):
            examples.ExampleSource(store, ruled_store.NAME).collect_material(few, 12)
