"""`featurestore label remove` and `label history`, also after labels have been gathered for pages."""

import json

import pytest

import featurestore
from featurestore.cli.main import main
from tests.support import tiny

ID = "tiny/0-res/3"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Path of a store with labels of a person and of token statistics on one feature."""
    location = str(tmp_path_factory.mktemp("history") / "s")
    with tiny.write_tiny_store(location, index=False) as store:
        store.add_labels(
            [
                featurestore.GivenLabel(id=ID, label="variable names", explainer="tokens"),
                featurestore.GivenLabel(id=ID, label="names of bridges", explainer="human:ann"),
            ]
        )
        store.compact()
    return location


def test_a_label_is_taken_back_and_the_history_tells(path, invoke):
    done = invoke(main, ["label", "remove", ID, "--as", "ann", "--store", path])
    assert (done.exit_code, done.stdout) == (0, f"{ID}: variable names\n")
    with featurestore.connect(path) as store:
        assert store.feature(ID).label == "variable names"
        store.compact()
        assert (store.feature(ID).label, store.check().problems) == ("variable names", ())
    told = [
        json.loads(line)
        for line in invoke(main, ["label", "history", ID, "--store", path, "--json"]).stdout.splitlines()
    ]
    assert [(change["label"], change["removed"]) for change in told[:2]] == [
        ("names of bridges", True),
        ("names of bridges", False),
    ]
    table = invoke(main, ["label", "history", ID, "--store", path]).stdout
    assert "taken back" in table.splitlines()[1]
    done = invoke(main, ["label", "remove", ID, "--explainer", "tokens", "--store", path])
    assert done.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([ID, "--as", "ben"], 3, "no label by 'human:ben'"),
        (["tiny/0-res/999"], 3, "no feature 999"),
        (["nonsense"], 2, "is not a feature id"),
        ([ID, "--as", "ann", "--explainer", "x"], 2, "--as and --explainer: name one of the two"),
    ],
)
def test_what_cannot_be_taken_back(path, invoke, arguments, code, words):
    done = invoke(main, ["label", "remove", *arguments, "--store", path])
    assert (done.exit_code, words in done.stderr) == (code, True), done.output
