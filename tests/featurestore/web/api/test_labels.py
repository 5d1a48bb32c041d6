"""Labels over HTTP: what is written is what everybody sees then, and who may not write, does not."""

import re
import threading
import time

import pytest

import featurestore
from featurestore.values.feature import GivenLabel
from featurestore.web import Settings, create_app
from featurestore.web.security import keys
from featurestore.web.security.keys import Keys
from tests.support import tiny

ID = "tiny/0-res/3"
FORM = {"Origin": "http://localhost", "Accept": "text/html"}


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        yield opened


@pytest.fixture
def http(store):
    return create_app(store, Settings(writes=True)).test_client()


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def rows_of(store):
    return store.info().rows["labels"]


def test_a_label_is_seen_by_the_next_request(http, store):
    before = http.get(f"/v1/features/{ID}")
    answer = http.put(f"/v1/labels/{ID}", json={"label": " it says  when ", "prompt": "by hand/1", "examples": 7})
    assert answer.status_code == 200, answer.text
    first, *others = answer.json["labels"]
    assert (first["label"], first["explainer"], first["prompt"], first["examples"]) == (
        *("it says  when", "human"),
        *("by hand/1", 7),
    )
    assert re.fullmatch(r"featurestore [0-9.]+ serve", first["tool"])
    assert others == before.json["labels"]
    after = http.get(f"/v1/features/{ID}", headers={"If-None-Match": before.headers["ETag"]})
    assert (after.status_code, after.json["label"], after.json["labels"]) == (
        200,
        "it says  when",
        answer.json["labels"],
    )
    assert http.get(f"/v1/labels/{ID}").json == answer.json
    assert (
        store.sql("SELECT label FROM features WHERE dictionary = 'tiny/0-res' AND feature = 3")["label"][0].as_py()
        == "it says  when"
    )


def test_an_explainer_replaces_what_it_said_before(http):
    for text in ("one", "two"):
        labels = http.put(f"/v1/labels/{ID}", json={"label": text, "explainer": "gpt-y"}).json["labels"]
    assert [one["label"] for one in labels if one["explainer"] == "gpt-y"] == ["two"]


def test_votes_are_counted_once_a_voter_and_kept_with_who_sent_them(store, tmp_path):
    path = tmp_path / "keys.json"
    key = keys.create(path, "ann", ("read", "write"))
    http = create_app(store, Settings(writes=True, keys=Keys(path))).test_client()
    text = store.feature(ID, 0).labels[0].label
    for vote in (1, -1):
        answer = http.post(f"/v1/votes/{ID}", json={"label": text, "vote": vote, "voter": "ben"}, headers=bearer(key))
    assert (answer.status_code, answer.json["labels"][0]["votes"]) == (200, -1)
    tools = store.sql("SELECT DISTINCT tool FROM stored.votes")["tool"].to_pylist()
    assert [tool.partition("serve")[2] for tool in tools] == [", key ann"]


def test_many_labels_are_one_commit(http, store):
    before = store.info().commit
    given = [{"id": f"tiny/{source}/{n}", "label": f"number {n}"} for n in range(20) for source in tiny.SOURCES]
    answer = http.post("/v1/labels", json={"labels": given})
    assert (answer.status_code, answer.json) == (200, {"written": 40, "commit": before + 1})
    assert {store.feature(one["id"], 0).label for one in given} == {one["label"] for one in given}


@pytest.mark.parametrize(
    ("labels", "status", "words"),
    [
        ([{"id": "tiny/0-res/24", "label": "x"}], 404, "no feature 24 in tiny/0-res"),
        ([{"id": "tiny/9-res/1", "label": "x"}], 404, "tiny/9-res"),
        ([{"id": "tiny/0-res", "label": "x"}], 400, "is not a feature id"),
        ([{"id": ID, "label": "  "}], 400, "label: it is empty"),
        ([{"id": ID, "label": "x", "explainer": " "}], 400, "explainer: it is empty"),
        ([{"id": ID, "label": "two\nlines"}], 400, "not one line"),
        ([{"id": ID, "label": "x" * 10_001}], 400, f"{ID}: label: it has 10,001 characters; 10,000 are taken at most"),
        ([{"id": ID, "label": "a\u202eb"}], 400, "has a control of the direction of text, U+202E"),
        ([{"id": ID, "label": "x"}, {"id": ID, "label": "y"}], 400, "human says two things of tiny/0-res/3"),
        ([{"id": ID, "label": "x", "examples": -1}], 400, "labels: "),
        ([{"id": ID, "label": "x", "by": "me"}], 400, "labels: unknown field 'by'"),
        ([], 400, "labels: "),
    ],
)
def test_what_cannot_be_written_is_named_and_nothing_is(http, store, labels, status, words):
    before = rows_of(store), store.info().commit
    answer = http.post(
        "/v1/labels", json={"labels": [{"id": "tiny/0-res/1", "label": "fine"}, *labels] if labels else []}
    )
    assert (answer.status_code, words in answer.json["detail"]) == (status, True), answer.json
    assert (rows_of(store), store.info().commit) == before


def test_nothing_is_written_unless_it_was_allowed(store):
    http = create_app(store).test_client()
    for answer in (
        http.put(f"/v1/labels/{ID}", json={"label": "x"}),
        http.post("/v1/labels", json={"labels": [{"id": ID, "label": "x"}]}),
        http.post(f"/v1/votes/{ID}", json={"label": "x", "vote": 1}),
        http.post(f"/features/{ID}", data={"label": "x"}, headers=FORM | {"Accept": "application/json"}),
    ):
        assert (answer.status_code, "--allow-writes" in answer.json["detail"]) == (403, True)
    assert '<form class="say"' not in http.get(f"/features/{ID}").text
    assert store.feature(ID).labels[0].explainer != "human"


def test_a_key_writes_with_the_scope_and_its_name_is_kept(store, tmp_path):
    path = tmp_path / "keys.json"
    reader, writer = keys.create(path, "reader"), keys.create(path, "ann", ("read", "write"))
    http = create_app(store, Settings(writes=True, keys=Keys(path))).test_client()
    assert http.put(f"/v1/labels/{ID}", json={"label": "x"}).status_code == 401
    refused = http.put(f"/v1/labels/{ID}", json={"label": "x"}, headers=bearer(reader))
    assert (refused.status_code, "needs the scope write" in refused.json["detail"]) == (403, True)
    answer = http.put(f"/v1/labels/{ID}", json={"label": "x"}, headers=bearer(writer))
    assert answer.json["labels"][0]["tool"].endswith("serve, key ann")
    assert '<form class="say"' not in http.get(f"/features/{ID}", headers=bearer(reader)).text
    assert '<form class="say"' in http.get(f"/features/{ID}", headers=bearer(writer)).text


def test_a_label_is_taken_back(http, store):
    """By a program and by the button of the page; the history shows what was said."""
    before = http.get(f"/v1/features/{ID}").json
    http.put(f"/v1/labels/{ID}", json={"label": "a slip"})
    assert http.delete(f"/v1/labels/{ID}").json["labels"] == before["labels"]
    http.put(f"/v1/labels/{ID}", json={"label": "another", "explainer": "ann & co"})
    assert 'name="remove" value="ann &amp; co"' in http.get(f"/features/{ID}").text
    answer = http.post(f"/features/{ID}", data={"remove": "ann & co"}, headers=FORM)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/features/{ID}")
    assert http.get(f"/v1/features/{ID}").json["labels"] == before["labels"]
    changes = http.get(f"/v1/label-history/{ID}").json["changes"]
    assert [(change["label"], change["removed"]) for change in changes[:4]] == [
        ("another", True),
        ("another", False),
        ("a slip", True),
        ("a slip", False),
    ]
    page = http.get(f"/features/{ID}").text
    assert "took back" in page and "another" in page
    for answer, status in (
        (http.delete(f"/v1/labels/{ID}?explainer=nobody"), 404),
        (http.delete(f"/v1/labels/{ID}?explainr=human"), 400),
        (http.post(f"/features/{ID}", data={"remove": "nobody"}, headers=FORM), 404),
        (http.post(f"/features/{ID}", data={"remove": "a", "label": "b"}, headers=FORM), 400),
    ):
        assert answer.status_code == status, answer.text


def test_the_pages_form_writes_and_shows_it(http):
    assert f'<form class="say" method="post" action="/features/{ID}">' in http.get(f"/features/{ID}").text
    answer = http.post(f"/features/{ID}", data={"label": "<b>seen</b>"}, headers=FORM)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/features/{ID}")
    page = http.get(answer.headers["Location"]).text
    assert "&lt;b&gt;seen&lt;/b&gt;" in page
    assert "<b>seen" not in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [({}, "one field"), ({"label": " "}, "it is empty"), ({"label": "x", "explainer": "y"}, "one field")],
)
def test_the_pages_form_tells_what_is_wrong(http, fields, words):
    answer = http.post(f"/features/{ID}", data=fields, headers=FORM)
    assert (answer.status_code, words in answer.text) == (400, True)


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "null"}, {"Origin": "https://evil.example"}, {"Origin": "http://localhost:81"}]
)
def test_another_sites_form_writes_nothing(http, store, headers):
    before = rows_of(store)
    assert http.post(f"/features/{ID}", data={"label": "x"}, headers=headers).status_code == 403
    if headers:
        assert http.put(f"/v1/labels/{ID}", json={"label": "x"}, headers=headers).status_code == 403
    # What a form can send without being asked about is no request of a program.
    plain = {"data": b'{"label": "x"}', "content_type": "text/plain"}
    answer = http.put(f"/v1/labels/{ID}", **plain)
    assert (answer.status_code, "application/json" in answer.json["detail"]) == (400, True)
    assert rows_of(store) == before


def test_sites_that_were_named_write_with_json_and_not_with_forms(store):
    http = create_app(store, Settings(writes=True, origins=frozenset({"https://ours.example"}))).test_client()
    origin = {"Origin": "https://ours.example"}
    assert http.post(f"/features/{ID}", data={"label": "x"}, headers=origin).status_code == 403
    assert http.put(f"/v1/labels/{ID}", json={"label": "x"}, headers=origin).status_code == 200


def test_labels_of_many_at_once_are_all_kept(store):
    app = create_app(store, Settings(writes=True, threads=16))
    found = []

    def say(n):
        http = app.test_client()
        answer = http.put(f"/v1/labels/tiny/0-res/{n}", json={"label": f"by {n}"})
        while answer.status_code == 429:
            time.sleep(0.01)  # without it, one that asks on and on takes this process from the one that writes
            answer = http.put(f"/v1/labels/tiny/0-res/{n}", json={"label": f"by {n}"})
        found.append(answer.status_code)

    threads = [threading.Thread(target=say, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 6
    assert [store.feature(f"tiny/0-res/{n}", 0).label for n in range(6)] == [f"by {n}" for n in range(6)]


def test_a_service_of_a_service_says_where_to_write(store):
    class Remote(featurestore.FeatureStore):
        """The interface alone, as a client has it."""

        location = "http://elsewhere"

    Remote.__abstractmethods__ = frozenset()
    http = create_app(Remote(), Settings(writes=True)).test_client()
    answer = http.put(f"/v1/labels/{ID}", json={"label": "x"})
    assert (answer.status_code, "write to that" in answer.json["detail"]) == (503, True)


def test_labels_are_added_in_python_too(store):
    store.add_labels([GivenLabel(id=ID, label="said here")], "tests")
    assert (store.feature(ID).label, store.feature(ID).labels[0].tool) == ("said here", "tests")


def test_strangers_write_only_with_keys(store):
    from featurestore.extension.serving import serve_store

    with pytest.raises(featurestore.BadRequest, match="name --keys, or listen on loopback"):
        serve_store(store.location, "0.0.0.0", 0, allow_writes=True)


def test_buttons_of_the_page_vote(http, store, tmp_path):
    """A voter's newest vote counts; with keys the voter is the key, so that two of them are two votes."""
    (label,) = {label["label"] for label in http.get(f"/v1/features/{ID}").json["labels"]} or {"x"}
    for vote, votes in (("1", 1), ("-1", -1), ("0", 0), ("1", 1)):
        answer = http.post(f"/features/{ID}", data={"of": label, "vote": vote}, headers=FORM)
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/features/{ID}")
        assert http.get(f"/v1/features/{ID}").json["labels"][0]["votes"] == votes
    page = http.get(f"/features/{ID}").text
    assert ", votes +1" in page and 'aria-label="Vote against this label"' in page
    path = tmp_path / "keys.json"
    key = keys.create(path, "ann", ("read", "write"))
    with_keys = create_app(store, Settings(writes=True, keys=Keys(path))).test_client()
    with_keys.post(f"/features/{ID}", data={"of": label, "vote": "1"}, headers=bearer(key) | FORM)
    assert store.feature(ID).labels[0].votes == 2
    for data, status in (
        ({"of": label, "vote": "2"}, 400),
        ({"of": label, "vote": "x" * 100}, 400),
        ({"of": "no such label", "vote": "1"}, 404),
        ({"vote": "1"}, 400),
        ({"of": label}, 400),
        ({"of": label, "vote": "1", "label": "y"}, 400),
    ):
        assert http.post(f"/features/{ID}", data=data, headers=FORM).status_code == status
