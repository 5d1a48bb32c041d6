"""/v1/labels and /v1/votes: what features mean, as people say, and votes on it (`serve --allow-writes`)."""

from __future__ import annotations

import msgspec
from flask import g

import featurestore
from featurestore.errors import Unavailable
from featurestore.interface import FeatureStore
from featurestore.values.feature import GivenLabel
from featurestore.web.api.routes import answers
from featurestore.wire import questions
from featurestore.wire.answers import LabelsAnswer, Written
from featurestore.wire.requests import LabelRequest, LabelsRequest, Nothing, RemoveLabelRequest, VoteRequest


@answers(questions.LABELS)
def labels(store: FeatureStore, request: Nothing, id: str) -> LabelsAnswer:
    """Returns the feature's labels, the best first."""
    return _read_labels(store, id)


@answers(questions.LABEL)
def label(store: FeatureStore, request: LabelRequest, id: str) -> LabelsAnswer:
    """Write a label; returns the feature's labels after that."""
    store.add_labels([GivenLabel(id=id, **msgspec.structs.asdict(request))], name_writer(store))
    return _read_labels(store, id)


@answers(questions.REMOVE_LABEL)
def remove_label(store: FeatureStore, request: RemoveLabelRequest, id: str) -> LabelsAnswer:
    """Take a label back; returns the feature's labels after that."""
    store.remove_label(id, request.explainer, name_writer(store))
    return _read_labels(store, id)


@answers(questions.LABEL_MANY)
def label_many(store: FeatureStore, request: LabelsRequest) -> Written:
    """Write several labels in one commit; returns their number and the commit's."""
    values = [GivenLabel(**msgspec.structs.asdict(label)) for label in request.labels]
    return Written(len(values), store.add_labels(values, name_writer(store)))


@answers(questions.VOTE)
def vote(store: FeatureStore, request: VoteRequest, id: str) -> LabelsAnswer:
    """Write a vote on a label; returns the feature's labels after that."""
    store.vote(id, request.label, request.vote, request.voter, tool=name_writer(store))
    return _read_labels(store, id)


def name_writer(store: FeatureStore) -> str:
    """Returns the name that is recorded with what a request writes.

    Raises Unavailable over a remote store, which would not learn whose key it is.
    """
    if store.location.startswith(("http://", "https://")):
        raise Unavailable("this service passes questions on to another one: write to that")
    return f"featurestore {featurestore.__version__} serve{f', key {g.key}' if 'key' in g else ''}"


def _read_labels(store: FeatureStore, id: str) -> LabelsAnswer:
    return LabelsAnswer(store.feature(id, 0).labels)
