"""Labels by hand, votes, scores and the rule for the best label: written, read through every door, and kept in
copies."""

import datetime

import httpx2
import pyarrow
import pytest

import featurestore
from featurestore import BadRequest, NotFound
from featurestore.cli.main import main
from featurestore.client import Client
from featurestore.web import create_app
from tests.support import tiny

ID = "tiny/0-res/8"  # labelled by tokens and by a model
BY_TOKENS, BY_MODEL = "exception handling: raise and except 8", "exception handling: raise and except, said a model"


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as made:
        yield made


def best(store):
    """The best label as a page, the view and a card of a search have it, which must agree."""
    (row,) = store.sql("SELECT label FROM features WHERE dictionary = 'tiny/0-res' AND feature = 8").to_pylist()
    page = store.feature(ID)
    assert page.label == row["label"] == page.labels[0].label
    assert store.nearest([1.0, *[0.0] * 7], space="tiny", among=(ID,), k=1, all=True)[0].label == page.label
    return page.label


def score_rows(**changed):
    row = {"dictionary": "tiny/0-res", "feature": 8, "label": BY_TOKENS, "explainer": "tokens", "method": "detection"}
    row |= {"negatives": "random", "value": 0.75, "low": 0.6, "high": 0.9, "baseline": 0.5, "auc": None, "n": 20}
    row |= {"failures": 3, "judge": "m", "prompt": "detection/1", "examples": "held-out", "sampled": True}
    row |= {"stopped": False, "tokens_in": 10, "tokens_out": 2, "money": None, "tool": "tests", "created_at": tiny.WHEN}
    return [row | changed]


def write_scores(store, *rows):
    schema = pyarrow.schema([("auc", pyarrow.float64()), ("money", pyarrow.float64())])
    table = tiny.table([row for some in rows for row in some])
    for field in schema:
        table = table.set_column(table.column_names.index(field.name), field, table[field.name].cast(field.type))
    with store.writer("tests") as writer:
        writer.add("scores", table, key="tiny/0-res")


def test_a_label_by_hand_comes_first_and_replaces_the_one_before(store):
    store.index()
    assert best(store) == BY_MODEL
    store.set_label(ID, "  errors that are raised ")
    assert best(store) == "errors that are raised"
    store.set_label(ID, "errors")
    assert store.feature(ID).labels[0].explainer == "human"
    assert sum(one.explainer == "human" for one in store.feature(ID).labels) == 1
    for wrong in ("", "  "):
        with pytest.raises(BadRequest, match="label: it is empty"):
            store.set_label(ID, wrong)
    with pytest.raises(BadRequest, match="explainer: it is empty"):
        store.set_label(ID, "x", " ")
    with pytest.raises(NotFound, match="no feature 99"):
        store.set_label("tiny/0-res/99", "x")


def test_votes_count_once_a_voter_and_those_against_push_a_label_down(store):
    store.index()
    store.vote(ID, BY_MODEL, -1, "ann")
    assert best(store) == BY_TOKENS
    store.vote(ID, BY_MODEL, 1, "ben")
    assert best(store) == BY_MODEL, "one for and one against"
    store.vote(ID, BY_MODEL, 1, "ann")
    assert {one.label: one.votes for one in store.feature(ID).labels} == {BY_MODEL: 2, BY_TOKENS: 0}
    store.vote(ID, BY_MODEL, 0, "ann")
    rows = store.sql("SELECT label, votes FROM label_votes").to_pylist()
    assert rows == [{"label": BY_MODEL, "votes": 1}]
    with pytest.raises(NotFound, match=f"has no label 'x'; its labels: '{BY_MODEL}'; '{BY_TOKENS}'"):
        store.vote(ID, "x", 1)
    for wrong in (2, -3):
        with pytest.raises(BadRequest, match=f"vote: {wrong} is not 1"):
            store.vote(ID, BY_MODEL, wrong)


def test_the_rule_for_the_best_label_can_be_set_and_seen(store):
    store.index()
    assert "coalesce(score, 0.5)" in store.info().label_rule
    store.set_label_rule("explainer = 'tokens'")
    assert (best(store), store.info().label_rule) == (BY_TOKENS, "explainer = 'tokens'")
    store.set_label_rule("CASE WHEN explainer = 'tokens' THEN NULL ELSE 1 END")
    assert best(store) == BY_MODEL, "a rank that is not known comes last"
    store.set_label_rule("length(label)")
    assert best(store) == max(BY_TOKENS, BY_MODEL, key=len)
    assert store.check().problems == ()
    store.set_label_rule(None)
    assert best(store) == BY_MODEL
    store.set_label_rule(None)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("vots", "rule: vots is no column of a label"),
        ("(SELECT 1)", "is not one expression"),
        ("1) FROM read_csv('/etc/passwd') --", "closes nothing"),
        ("votes ORDER BY 1", "SQL|is not one"),
        ("1); DROP VIEW features; SELECT (1", "closes nothing"),
        (" ", "rule: it is empty"),
    ],
)
def test_what_is_no_rule_is_refused_and_changes_nothing(store, rule, said):
    before = store.info()
    with pytest.raises(BadRequest, match=said):
        store.set_label_rule(rule)
    assert store.info() == before


def test_copies_of_best_labels_are_made_anew_when_rule_votes_or_scores_change(store):
    """A page reads the copy; it must never show a label that the view does not."""
    store.index()
    later = tiny.WHEN + datetime.timedelta(days=1)
    for change, wanted in (
        (lambda: store.vote(ID, BY_MODEL, -1), BY_TOKENS),
        (lambda: store.vote(ID, BY_MODEL, 1), BY_MODEL),
        (lambda: write_scores(store, score_rows(), score_rows(label=BY_MODEL, value=0.7)), BY_MODEL),
        (lambda: store.set_label_rule("score"), BY_TOKENS),
        (lambda: write_scores(store, score_rows(label=BY_MODEL, created_at=later, value=0.8)), BY_MODEL),
        (lambda: store.set_label_rule("-votes"), BY_TOKENS),
    ):
        store.compact()
        assert not any("looked up" in note for note in store.info().notes)
        change()
        assert best(store) == wanted
        store.compact()
        assert best(store) == wanted
    # Under this rule a score changes no best label, so no copy is made anew.
    write_scores(store, score_rows(judge="another"))
    assert not any("looked up" in note for note in store.info().notes)


def test_scores_are_read_the_same_through_every_door(store):
    newer = tiny.WHEN + datetime.timedelta(days=1)
    write_scores(store, score_rows(), score_rows(negatives="hard", value=None, low=None, high=None, n=0, failures=20))
    write_scores(store, score_rows(value=0.8, created_at=newer), score_rows(judge="n"), score_rows(feature=7))
    found = store.scores(ID)
    assert [(one.negatives, one.judge, one.value, one.failures) for one in found] == [
        ("hard", "m", None, 20),
        ("random", "m", 0.8, 3),
        ("random", "n", 0.75, 3),
    ]
    assert store.feature(ID).scores == tuple(found)
    rows = store.sql(
        "SELECT * EXCLUDE (id, dictionary, feature) FROM scores WHERE feature = 8 ORDER BY negatives, judge"
    ).to_pylist()
    assert [featurestore.Score(**row) for row in rows] == found
    with Client("http://x", transport=httpx2.WSGITransport(app=create_app(store))) as client:
        assert client.scores(ID) == found
        assert client.scores(ID).to_arrow() == found.to_arrow()
        assert client.feature(ID) == store.feature(ID)
    assert set(found.df()["id"]) == {ID} and found.df().columns[:2].tolist() == ["id", "label"]
    assert found[:1].to_arrow()["id"].to_pylist() == [ID]
    page = create_app(store).test_client().get(f"/features/{ID}").text
    assert "0.60 to 0.90" in page and "detection" in page
    assert [row["score"] for row in store.sql("FROM label_scores WHERE feature = 8").to_pylist()] == [
        pytest.approx((0.8 + 0.75) / 2)
    ]
    store.compact()
    assert store.scores(ID) == found, "merged parts say the same"
    assert store.info().parts["scores"] == 1
    assert store.check().problems == ()
    store.remove("tiny/0-res")
    assert "scores" not in store.info().rows


@pytest.mark.parametrize(
    "change",
    [{"value": 1.5}, {"value": float("nan")}, {"low": 0.95}, {"low": None}, {"n": 0}, {"failures": -1}, {"auc": -0.1}],
)
def test_a_score_that_cannot_be_is_refused(store, change):
    with pytest.raises(BadRequest, match="CHECK constraint failed"):
        write_scores(store, score_rows(**change))
    assert store.scores(ID) == []


def test_the_command_line_sets_labels_votes_and_rules(store, invoke):
    at = ["--store", store.location]
    done = invoke(main, ["label", "set", ID, "errors", "--as", "ann", *at])
    assert (done.exit_code, done.stdout) == (0, f"{ID}: errors\n"), done.output
    for indexed in (False, True):
        if indexed:
            store.index()
        assert best(store) == "errors", "a person's label is shown, whoever it is"
        assert store.feature(ID).labels[0].explainer == "human:ann"
    assert invoke(main, ["label", "vote", ID, "errors", "+1", "--as", "ann", *at]).stdout.startswith("+1  errors")
    done = invoke(main, ["label", "vote", ID, "errors", "-1", "--as", "ann", *at])
    assert (done.exit_code, "-1  errors" in done.stdout.splitlines()) == (0, True), done.output
    done = invoke(main, ["label", "vote", ID, "nothing", "+1", *at])
    assert (done.exit_code, "has no label 'nothing'" in done.stderr) == (3, True)
    assert "label_rule" not in invoke(main, ["label", "rule", *at]).stdout
    assert invoke(main, ["label", "rule", "votes", *at]).stdout == "votes\n"
    assert "best label: the largest of votes" in invoke(main, ["info", *at]).stdout
    assert "coalesce(score, 0.5)" in invoke(main, ["label", "rule", "--default", *at]).stdout
    for wrong in (["rule", "votes", "--default"], ["rule", "nose"], ["set", ID, " "]):
        done = invoke(main, ["label", *wrong, *at])
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output


def test_every_refused_label_is_named_with_its_limit(store):
    before = store.info().commit
    given = [featurestore.GivenLabel(id=f"tiny/0-res/{n}", label="12\u00a0km") for n in range(20)]
    for n, label in ((3, "x" * 10_001), (7, "a\nb")):
        given[n] = featurestore.GivenLabel(id=f"tiny/0-res/{n}", label=label)
    words = (
        "2 of 20 labels are refused, so none is written: tiny/0-res/3: label: it has 10,001 characters; 10,000 are "
        "taken at most; tiny/0-res/7: label: .* a line break"
    )
    with pytest.raises(BadRequest, match=words):
        store.add_labels(given)
    assert store.info().commit == before
    given = [label for n, label in enumerate(given) if n not in (3, 7)]
    store.add_labels(given)
    assert store.feature("tiny/0-res/1", 0).label == "12\u00a0km"
    with pytest.raises(BadRequest, match="and 5 more"):
        store.add_labels([featurestore.GivenLabel(id=f"tiny/0-res/{n}", label="\x00") for n in range(15)])
