"""Lists of features: kept, changed, searched and removed through every door, and whole after compact and check."""

import json

import httpx2
import pytest

import featurestore
from featurestore import BadRequest, Conflict, Forbidden, ListedFeature, NotFound
from featurestore.cli.main import main
from featurestore.client import Client
from featurestore.mcp.tools import Tools
from featurestore.storage.border import find_file_problem
from featurestore.web import Settings, create_app
from tests.support import tiny

IDS = ["tiny/0-res/8", "tiny/1-res/3", "tiny/0-res/9"]


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s") as opened:
        yield opened


def test_a_list_is_kept_in_its_order_with_notes_and_labels(door, store):
    hit = door.search("exception handling", k=1)[0]
    given = [ListedFeature(id=IDS[0], note="the first"), "tiny@1-res:3", ("tiny/0-res", 9), hit]
    kept = door.save_list("brackets", given, note="two\nlines")
    assert kept.ids == (*IDS, hit.id)
    assert [each.note for each in kept.features] == ["the first", None, None, None]
    assert [each.label for each in kept.features] == [store.feature(id).label for id in kept.ids]
    assert all(each.in_store for each in kept.features)
    assert door.feature_list("brackets") == door.feature_list("@brackets") == store.feature_list("brackets") == kept
    (summary,) = door.lists()
    assert (summary.list, summary.note, summary.features) == ("brackets", "two\nlines", 4)
    assert door.lists() == store.lists()
    assert kept.to_arrow()["id"].to_pylist() == list(kept.ids)
    assert IDS[0] in kept._repr_html_() and "brackets" in door.lists()._repr_html_()


def test_names_that_differ_by_capitals_alone_are_refused(door):
    door.save_list("Few", IDS)
    with pytest.raises(Conflict, match="the store has a list Few, which differs from few by capitals alone"):
        door.save_list("few", IDS)
    door.save_list("Few", IDS[:1], replace=True)
    assert [each.list for each in door.lists()] == ["Few"]


def test_searches_take_a_list_by_name(door):
    door.save_list("few", IDS)
    hits = door.search("exception handling", among="@few", k=10, all=True)
    assert {hit.id for hit in hits} <= set(IDS) and len(hits) > 0
    same = door.search("exception handling", among=IDS, k=10, all=True)
    assert [(hit.id, hit.score) for hit in hits] == [(hit.id, hit.score) for hit in same]
    near = door.nearest("tiny/0-res/8", among=["@few", "tiny/1-res/5"], k=10, all=True)
    assert {hit.id for hit in near} == {*IDS[1:], "tiny/1-res/5"}
    assert {hit.id for hit in door.rerank("exception handling", "@few")} <= set(IDS)
    rows = door.sql("select dictionary, feature from nearest('tiny/0-res/8', among := '@few', \"all\" := true)")
    assert rows.num_rows == 2
    with pytest.raises(NotFound, match="no list 'few2', did you mean few"):
        door.search("x", among="@few2")
    door.save_list("empty")
    empty = door.search("exception handling", among="@empty")
    assert (len(empty), "the list @empty is empty" in empty.notes) == (0, True)


def test_features_are_added_noted_and_taken_out(door):
    door.save_list("some", IDS[:2])
    assert door.change_list("some", add=IDS, note="about").ids == tuple(IDS)
    changed = door.change_list("some", add=[ListedFeature(id=IDS[1], note="said")], remove=[IDS[0]])
    assert [(each.id, each.note) for each in changed.features] == [(IDS[1], "said"), (IDS[2], None)]
    assert door.change_list("some", add=[IDS[1]]).features[0].note == "said"
    assert door.change_list("some", add=[ListedFeature(id=IDS[1], note="")]).features[0].note is None
    assert changed.note == "about" and door.change_list("some", note="").note is None
    with pytest.raises(NotFound, match="the list some has no feature tiny/0-res/8"):
        door.change_list("some", remove=[IDS[0]])
    with pytest.raises(NotFound, match="no feature 99 in tiny/0-res"):
        door.change_list("some", add=["tiny/0-res/99"])
    door.remove_list("some")
    with pytest.raises(NotFound, match="no list 'some'; there are: none"):
        door.feature_list("some")


def test_bad_lists_are_refused_and_nothing_is_written(door, store):
    commit = store.info().commit
    for name in ("", ".hidden", "a b", "x" * 101, "a/b", "naïve"):
        with pytest.raises((BadRequest, NotFound)):
            door.save_list(name, IDS)
    with pytest.raises(NotFound, match="the store has no features tiny/0-res/98, tiny/0-res/99; nothing was written"):
        door.save_list("x", ["tiny/0-res/98", "tiny/0-res/8", "tiny/0-res/99"])
    with pytest.raises(BadRequest):
        door.save_list("x", ["nonsense"])
    with pytest.raises(BadRequest, match="note of tiny/0-res/8"):
        door.save_list("x", [ListedFeature(id=IDS[0], note="a\x07b")])
    with pytest.raises(BadRequest, match=r"10,001 are more than the 10,000"):
        door.save_list("x", [f"tiny/0-res/{n}" for n in range(10_001)])
    assert store.info().commit == commit
    door.save_list("x", IDS)
    with pytest.raises(Conflict, match="the store has a list x"):
        door.save_list("x", IDS[:1])
    assert door.save_list("x", IDS[:1], replace=True).ids == (IDS[0],)


def test_missing_features_stay_in_a_list_and_searches_say_so(door, store):
    door.save_list("old", [IDS[0], "gone/0-res/5", "tiny/0-res/99"], keep_missing=True)
    kept = door.feature_list("old")
    assert [each.in_store for each in kept.features] == [True, False, False]
    hits = door.nearest("tiny/1-res/3", among="@old", all=True)
    assert [hit.id for hit in hits] == [IDS[0]]
    assert "2 of the 3 features of @old are not in the store" in hits.notes
    store.remove("tiny/0-res")
    assert [each.in_store for each in door.feature_list("old").features] == [False, False, False]
    assert store.check().problems == ()


def test_lists_live_through_maintenance_and_sql_shows_them(store):
    store.save_list("a", [ListedFeature(id=IDS[0], note="n"), IDS[1]])
    store.save_list("b", IDS)
    store.compact()
    store.index()
    assert store.check().problems == ()
    rows = store.sql("select list, position, dictionary, feature, note from list_features order by all").to_pylist()
    assert rows[0] == {"list": "a", "position": 0, "dictionary": "tiny/0-res", "feature": 8, "note": "n"}
    assert [row["position"] for row in rows] == [0, 1, 0, 1, 2]
    counts = store.sql("select list, features from lists order by list").to_pylist()
    assert counts == [{"list": "a", "features": 2}, {"list": "b", "features": 3}]
    assert find_file_problem("lists/a/00000-0123456789ab-1.parquet") is None


def test_the_command_line_keeps_exports_and_imports(store, tmp_path, invoke):
    def run(*arguments, **options):
        return invoke(main, ["list", *arguments, "--store", store.location], **options)

    result = run("create", "mine", *IDS[:2], "--note", "all mine")
    assert result.output == "mine: 2 features; searches take it as --among @mine\n"
    assert run("add", "mine", IDS[2], "--note", "later").exit_code == 0
    for form in ("json", "csv", "txt"):
        file = tmp_path / f"copy.{form}"
        assert run("export", "mine", "-o", str(file)).exit_code == 0
        assert run("import", str(file), "--name", f"from-{form}").exit_code == 0
        copy = store.feature_list(f"from-{form}")
        assert [(each.id, each.note) for each in copy.features] == [*((id, None) for id in IDS[:2]), (IDS[2], "later")]
        assert copy.note == ("all mine" if form == "json" else None)
    assert store.feature_list("from-json").ids == tuple(IDS)
    hits = invoke(main, ["search", "exception handling", "--json", "--store", store.location, "-k", "3"]).stdout
    assert run("import", "-", "--name", "hits", input=hits).exit_code == 0
    assert len(store.feature_list("hits")) == 3
    assert json.loads(run("show", "mine", "--json").stdout.splitlines()[2])["note"] == "later"
    assert "all mine" in run("all").output
    assert run("drop", "mine", IDS[0]).output.startswith("mine: 2 features")
    assert run("note", "mine", "").exit_code == 0 and store.feature_list("mine").note is None
    among = invoke(main, ["nearest", IDS[0], "--among", "@mine", "--json", "--store", store.location]).stdout
    assert {json.loads(line)["id"] for line in among.splitlines()} == set(IDS[1:])
    assert run("remove", "mine").output == "removed mine\n"
    missing = run("show", "mine")
    assert (missing.exit_code, "no list 'mine'" in missing.output) == (4, True) or missing.exit_code != 0
    (tmp_path / "bad.json").write_text("{nonsense")
    assert "bad.json: it is not a list of features" in run("import", str(tmp_path / "bad.json")).output


def test_assistants_search_in_a_list(store):
    store.save_list("few", IDS)
    answer = json.loads(Tools(store).nearest(to=IDS[0], among=["@few"]))
    assert {hit["id"] for hit in answer["hits"]} <= set(IDS[1:])


def test_a_service_without_writes_takes_none(store):
    store.save_list("few", IDS)
    http = create_app(store).test_client()
    assert http.get("/v1/lists/few").json["features"][0]["id"] == IDS[0]
    assert http.put("/v1/lists/other", json={"features": IDS}).status_code == 403
    assert http.post("/v1/lists/few", json={"add": IDS}).status_code == 403
    assert http.delete("/v1/lists/few").status_code == 403
    assert http.post("/lists/few", data={"delete": "yes"}).status_code == 403
    found = http.get("/v1/search?text=exception&among=@few&all=true")
    assert found.status_code == 200 and found.json["query"]["among"] == ["@few"]
    page = http.get("/lists/few").text
    assert "Take out" not in page and IDS[1] in page
    assert http.get("/lists/few?format=txt").text == "".join(f"{id}\n" for id in IDS)
    assert http.get("/lists/none", headers={"Accept": "text/html"}).status_code == 404


def test_forms_change_lists(store):
    http = create_app(store, Settings(writes=True)).test_client()
    own = {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}

    def post(path, **form):
        return http.post(path, data=form, headers=own)

    made = post("/lists", name="mine", note="about", features=f"{IDS[0]}  a note\n\n{IDS[1]}\n")
    assert (made.status_code, made.headers["Location"]) == (303, "/lists/mine")
    assert [each.note for each in store.feature_list("mine").features] == ["a note", None]
    again = post("/lists", name="mine", features=IDS[0])
    assert again.status_code == 409 and "the store has a list mine" in again.text and IDS[0] in again.text
    assert post("/add-to-list", name="mine", id=IDS[2], note="").status_code == 303
    assert post("/add-to-list", name="fresh", id=IDS[2], note="new").headers["Location"] == "/lists/fresh"
    assert post("/lists/mine", drop=IDS[0]).status_code == 303
    assert post("/lists/mine", id=IDS[1], note="noted").status_code == 303
    assert post("/lists/mine", about="").status_code == 303
    mine = store.feature_list("mine")
    assert ([(each.id, each.note) for each in mine.features], mine.note) == ([(IDS[1], "noted"), (IDS[2], None)], None)
    wrong = post("/lists/mine", add="nonsense")
    assert wrong.status_code == 400 and "nonsense" in wrong.text
    assert post("/lists/mine", delete="yes").headers["Location"] == "/lists"
    assert [each.list for each in store.lists()] == ["fresh"]
    assert http.post("/lists", data={"name": "x"}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_over_a_remote_store_a_service_says_where_to_write(store):
    http = create_app(featurestore.connect("http://127.0.0.1:9"), Settings(writes=True)).test_client()
    assert http.put("/v1/lists/x", json={"features": IDS}).status_code == 503
    with pytest.raises(Forbidden), Client("http://x", transport=httpx2.WSGITransport(app=create_app(store))) as client:
        client.save_list("x", IDS)
