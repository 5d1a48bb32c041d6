"""The pages of attribution graphs, without a browser: what they list, and what their forms write."""

import pytest

from featurestore.graphs.view_edit import read_groups, read_names, read_pins
from featurestore.web import create_app
from featurestore.web.settings import Settings

PATH = "/graphs/colons"
HTML = {"Accept": "text/html"}
FORM = HTML | {"Origin": "http://localhost"}


@pytest.fixture(scope="module")
def http(graph_store):
    return create_app(graph_store).test_client()


@pytest.fixture(scope="module")
def writing(graph_store):
    return create_app(graph_store, Settings(writes=True)).test_client()


def test_all_graphs_are_listed(http):
    page = http.get("/graphs").text
    assert f'<a href="{PATH}">colons</a>' in page and "def x(" in page


def test_a_chosen_node_shows_its_links_and_its_feature(http):
    page = http.get(f"{PATH}?node=0_8_2&share=1").text
    assert 'class="feature chosen' in page and 'href="/features/tiny/0-res/8"' in page
    leads = page[page.index(">It leads to<") :]
    assert "2_4_2" in leads[: leads.index("</section>")]
    assert "Nothing that is shown leads to it." in page
    assert "exception" in page[page.index('id="node"') :]
    assert http.get(f"{PATH}?node=tiny/0-res/8&share=1").text.count("chosen") == page.count("chosen")


@pytest.mark.parametrize(
    ("query", "status"), [("node=9_9_9", 404), ("share=0", 400), ("share=2", 400), ("nodes=1", 400)]
)
def test_what_is_not_in_the_graph_is_an_error(http, query, status):
    assert http.get(f"{PATH}?{query}", headers=HTML).status_code == status
    assert http.get("/graphs/nothing", headers=HTML).status_code == 404


def test_a_feature_page_names_its_graphs(http):
    assert f'<a href="{PATH}?node=0_8_2#graph">colons</a>' in http.get("/features/tiny/0-res/8").text
    assert "In graphs" not in http.get("/features/tiny/0-res/9").text


def test_a_feature_page_waits_for_no_sql(graph_store, http, monkeypatch):
    monkeypatch.setattr(graph_store, "sql", lambda *given, **named: pytest.fail("a page waits for no SQL"))
    assert "In graphs" in http.get("/features/tiny/0-res/8").text


def test_forms_pin_group_and_name(graph_store, writing):
    for form in (
        {"pin": "0_8_2"},
        {"group": "words", "nodes": "0_8_2, 1_5_2"},
        {"named": "1_5_2", "name": "<b>it</b>"},
    ):
        answer = writing.post(PATH, data=form, headers=FORM)
        assert answer.status_code == 303 and answer.location == f"{PATH}#graph"
    view = graph_store.graph("colons").view
    assert read_pins(view) == ["0_8_2"] and read_groups(view)["words"] == ["0_8_2", "1_5_2"]
    assert read_names(view)["1_5_2"] == "<b>it</b>"
    page = writing.get(PATH).text
    assert "&lt;b&gt;it&lt;/b&gt;" in page and "<b>it" not in page and "words" in page
    for form in ({"unpin": "0_8_2"}, {"ungroup": "words"}, {"named": "1_5_2", "name": ""}):
        assert writing.post(PATH, data=form, headers=FORM).status_code == 303
    view = graph_store.graph("colons").view
    assert not read_pins(view) and "words" not in read_groups(view) and not read_names(view)


def test_a_wrong_form_is_an_error_on_the_page_and_a_reader_sees_no_form(graph_store, http, writing):
    before = graph_store.graph("colons").view
    answer = writing.post(PATH, data={"group": "words", "nodes": "9_9_9"}, headers=FORM)
    assert answer.status_code in (400, 404) and 'role="alert"' in answer.text
    assert writing.post(PATH, data={"nose": "1"}, headers=FORM).status_code == 400
    assert http.post(PATH, data={"pin": "0_8_2"}, headers=FORM).status_code == 403
    assert graph_store.graph("colons").view == before
    assert 'method="post"' not in http.get(f"{PATH}?node=0_8_2").text
