"""Examples of features: tuples of values, and tables."""

import pickle

import msgspec
import pytest

from featurestore import BadRequest, Example, Examples, Feature, FeatureExample, NotFound
from tests.support import tiny

ID = "tiny/0-res/8"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("examples") / "s", index=False) as opened:
        yield opened


def test_those_of_a_feature_are_a_tuple_and_a_table(door):
    examples = door.feature(ID).examples
    assert isinstance(examples, tuple)
    frame = examples.to_pandas()
    assert list(frame.columns) == ["id", "text", *Example.__struct_fields__]
    assert frame["id"].unique().tolist() == [ID]
    assert frame["text"].tolist() == [example.marked() for example in examples]
    assert frame["activation"].tolist() == pytest.approx([example.activation for example in examples])
    assert [tuple(row) for row in frame["tokens"]] == [example.tokens for example in examples]
    assert isinstance(examples[:2], Examples)
    assert examples[:2].to_arrow().equals(examples.to_arrow().slice(0, 2))
    assert examples[1] == tuple(examples)[1]
    assert "example" in examples._repr_html_()


def test_those_of_many_features_are_one_table(door):
    ids = [ID, "tiny/1-res/3"]
    examples = door.examples(ids)
    pages = door.features(ids)
    assert [example.id for example in examples] == [page.id for page in pages for _ in page.examples]
    assert [msgspec.structs.astuple(example)[:-1] for example in examples] == [
        msgspec.structs.astuple(example) for page in pages for example in page.examples
    ]
    assert examples.to_arrow().num_rows == len(examples) > 2
    assert door.examples(ID).to_arrow().equals(pages[0].examples.to_arrow())
    few = door.examples(ids, examples=1, band="top")
    assert [(example.id, example.band, example.rank) for example in few] == [(id, "top", 0) for id in ids]
    assert isinstance(few[0], FeatureExample)
    assert door.examples([]).to_arrow().schema == examples.to_arrow().schema
    assert door.examples([]) == ()


def test_mistakes(door):
    with pytest.raises(NotFound, match="no feature 99"):
        door.examples([ID, "tiny/0-res/99"])
    with pytest.raises(BadRequest, match="examples: -1 is not a number of examples"):
        door.examples(ID, examples=-1)
    for band in ("[7,8)", "Top", "", "x" * 500):
        with pytest.raises(BadRequest, match=r"band: .* is none of this store; there are: top") as refused:
            door.examples(ID, band=band)
        assert len(str(refused.value)) < 1000
        with pytest.raises(BadRequest, match="band: "):
            door.examples([], band=band) if door.location.startswith("/") else door.examples(ID, band=band)


def test_a_feature_stays_what_it_was(store):
    page = store.feature(ID)
    again = msgspec.json.decode(msgspec.json.encode(page), type=Feature)
    assert (again, hash(again)) == (page, hash(page))
    assert pickle.loads(pickle.dumps(page)).examples.to_arrow().equals(page.examples.to_arrow())
    assert msgspec.structs.replace(page, examples=()).examples.to_arrow().num_rows == 0
