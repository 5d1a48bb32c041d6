"""What assistants are told of a feature."""

from types import SimpleNamespace
from unittest.mock import MagicMock

from featurestore.mcp.descriptions import describe_feature


def test_nearest_features_with_a_label_are_told_as_a_proxy():
    near = SimpleNamespace(id="tiny/0-res/4", label="names of rivers", explainer="human", cosine=0.5)
    page = MagicMock(label=None, labelled_neighbours=(near,), labels=(), scores=(), coactive=())
    page.top_logits = page.bottom_logits = ()
    told = describe_feature(page)
    assert told["label"] is None
    assert told["labelled_neighbours_as_proxy"] == [
        {"id": "tiny/0-res/4", "label": "names of rivers", "explainer": "human", "cosine": 0.5}
    ]
    page.labelled_neighbours = ()
    assert "labelled_neighbours_as_proxy" not in describe_feature(page)
