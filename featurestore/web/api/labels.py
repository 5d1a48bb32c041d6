"""/v1/labels and /v1/votes: what features were said to mean, saying it, and votes on it, where the service takes that (`serve --allow-writes`)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from flask import g
from msgspec import Meta

import featurestore
from featurestore.errors import Unavailable
from featurestore.interface import FeatureStore
from featurestore.store.labels import MOST_LABEL, MOST_NAME
from featurestore.values.feature import GivenLabel, Label
from featurestore.web.api.models import Asked, Nothing, told
from featurestore.web.api.routes import Routes

MOST = 1000  # labels of one request

_Text = Annotated[str, told("What the feature means: one line.", minLength=1, maxLength=MOST_LABEL)]
_Explainer = Annotated[
    str, told("Who says so: human, or the name of a model. It replaces what they said before.", maxLength=MOST_NAME)
]
_Prompt = Annotated[str | None, Meta(description="Name and version of the prompt or method, as in pairs/1.")]
_Examples = Annotated[
    Annotated[int, Meta(ge=0, le=2**31 - 1)] | None, Meta(description="How many examples were looked at.")
]


class LabelAsked(Asked, frozen=True):
    """A label of the feature in the path."""

    label: _Text
    explainer: _Explainer = "human"
    prompt: _Prompt = None
    examples: _Examples = None


class LabelOf(Asked, frozen=True):
    """A label of a feature."""

    id: Annotated[str, Meta(description="The feature: model/source/index.")]
    label: _Text
    explainer: _Explainer = "human"
    prompt: _Prompt = None
    examples: _Examples = None


class LabelsAsked(Asked, frozen=True):
    """Labels of several features."""

    labels: Annotated[tuple[LabelOf, ...], Meta(description="All are written, or none.", min_length=1, max_length=MOST)]


class VoteAsked(Asked, frozen=True):
    """A vote on one of the labels of the feature in the path."""

    label: _Text
    vote: Annotated[int, told("1 for it, -1 against it, 0 to take the vote back.", minimum=-1, maximum=1)]
    voter: Annotated[str, told("Who votes; a voter's newest vote counts.", maxLength=MOST_NAME)] = "human"


class Labels(msgspec.Struct, frozen=True):
    """The newest label of each explainer, the one that is shown first."""

    labels: tuple[Label, ...]


class Written(msgspec.Struct, frozen=True):
    """How many labels were written, and the number of the commit that has them."""

    written: int
    commit: int


def routes(store: FeatureStore) -> Routes:
    """The routes over `store`."""
    api = Routes("labels")

    @api.add("/labels/<model>/<source>/<index>", gives=Labels, tagged=True)
    def labels(asked: Nothing, model: str, source: str, index: str) -> Labels:
        """The newest label of each explainer, the best first."""
        return Labels(store.feature(f"{model}/{source}/{index}", 0).labels)

    @api.add(
        "/labels/<model>/<source>/<index>",
        gives=Labels,
        takes=LabelAsked,
        methods=("PUT",),
        scope="write",
        lane="write",
    )
    def label(asked: LabelAsked, model: str, source: str, index: str) -> Labels:
        """Say what a feature means, in place of what the same explainer said before; the feature's labels then."""
        id = f"{model}/{source}/{index}"
        store.add_labels([GivenLabel(id=id, **msgspec.structs.asdict(asked))], who(store))
        return Labels(store.feature(id, 0).labels)

    @api.add("/labels", gives=Written, takes=LabelsAsked, methods=("POST",), scope="write", lane="write")
    def label_many(asked: LabelsAsked) -> Written:
        """Say what up to 1,000 features mean, in one commit."""
        given = [GivenLabel(**msgspec.structs.asdict(one)) for one in asked.labels]
        commit = store.add_labels(given, who(store))
        return Written(len(asked.labels), commit)

    @api.add(
        "/votes/<model>/<source>/<index>",
        gives=Labels,
        takes=VoteAsked,
        methods=("POST",),
        scope="write",
        lane="write",
    )
    def vote(asked: VoteAsked, model: str, source: str, index: str) -> Labels:
        """Vote on one of a feature's labels; the feature's labels then."""
        id = f"{model}/{source}/{index}"
        store.vote(id, asked.label, asked.vote, asked.voter, tool=who(store))
        return Labels(store.feature(id, 0).labels)

    return api


def who(store: FeatureStore) -> str:
    """What is recorded as having written. Raises Unavailable over a remote store, which would not learn who asks."""
    if store.location.startswith(("http://", "https://")):
        raise Unavailable("this service passes questions on to another one: write to that")
    return f"featurestore {featurestore.__version__} serve{f', key {g.key}' if 'key' in g else ''}"
