"""What is refused names the field, the value and the remedy."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from featurestore.refusals import describe_invalid, describe_unknown

Short = Annotated[str, Meta(min_length=1, max_length=10_000)]


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    """An object in a list."""

    id: str
    label: Short = "x"


class Asked(msgspec.Struct):
    """A request."""

    text: Short | None = None
    texts: Annotated[tuple[Short, ...], Meta(min_length=1, max_length=3)] = ("x",)
    labels: tuple[Inner, ...] = ()
    k: Annotated[int, Meta(ge=1, le=100)] = 10
    mode: Literal["hybrid", "keyword"] | None = None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"text": "x" * 12_345}, "text: it has 12,345 characters; 10,000 are taken at most: shorten it"),
        ({"text": ""}, "text: it is empty; give at least one"),
        ({"texts": ["x"] * 4}, "texts: it has 4 values; 3 are taken at most: ask for them in several requests"),
        ({"texts": []}, "texts: it is empty; give at least one"),
        (
            {"texts": ["x", "y" * 10_001]},
            "texts[1]: it has 10,001 characters; 10,000 are taken at most: shorten it",
        ),
        (
            {"labels": [{"id": "a"}, {"id": "b", "label": "y" * 20_000}]},
            "labels[1].label: it has 20,000 characters; 10,000 are taken at most: shorten it",
        ),
        ({"labels": [{"feature": "a"}]}, "labels: unknown field 'feature', did you mean id? there are: id, label"),
        ({"k": 0}, "k: 0 is not a whole number of at least 1"),
        ({"k": "many"}, "k: 'many' is not a whole number"),
        ({"mode": "fuzzy"}, "mode: 'fuzzy' is not one of hybrid, keyword"),
        ({"mode": "keywrd"}, "mode: 'keywrd' is not one of hybrid, keyword, did you mean keyword?"),
    ],
)
def test_a_refused_value_is_named_with_what_it_takes(values, words):
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(values, Asked)
    assert describe_invalid(Asked, values, refused.value) == words


def test_an_unknown_field_is_named_with_the_nearest():
    assert describe_unknown("limit", ["k", "text"], {"limit": "k"}) == (
        "unknown field 'limit', did you mean k? there are: k, text"
    )
    assert describe_unknown("zzz", ["k", "text"]) == "unknown field 'zzz'; there are: k, text"
